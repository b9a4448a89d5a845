"""The room stands on the standard library alone."""

import subprocess
import sys


def test_importing_the_schedules_imports_nothing_heavy():
    code = (
        "import sys, lightcycle.schedules\n"
        "heavy = {'torch', 'numpy', 'lightning', 'hydra', 'omegaconf', 'matplotlib'}\n"
        "print(','.join(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""
