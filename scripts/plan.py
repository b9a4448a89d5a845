"""Draw the plan before the run: ``python scripts/plan.py schedule=sgdr data=fashion_mnist`` writes timeline.png."""

from lightcycle.app import cli


def job(config):
    """Counts only: no pixels are read and no torch is imported."""
    from lightcycle.app.overview import show

    return show(config)


if __name__ == "__main__":
    cli.main("plan", job)
