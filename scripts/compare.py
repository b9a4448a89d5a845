"""Compare runs: ``python scripts/compare.py outputs/a outputs/sweeps/x`` writes sweep.csv, sweep.html and sweep.png."""

import sys

from lightcycle.app.compare import main

if __name__ == "__main__":
    main(sys.argv[1:])
