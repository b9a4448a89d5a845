"""Look at a finished run: ``python scripts/evaluate.py run=outputs/...``; ``--help`` lists the options."""

from lightcycle.app import command


def job(config):
    """Imported late, so that --help and --cfg answer at once."""
    from lightcycle.app.evaluate import evaluate

    return evaluate(config)


if __name__ == "__main__":
    command.main("evaluate", job)
