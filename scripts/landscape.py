"""Are snapshots different minima? ``python scripts/landscape.py run=outputs/...`` draws the loss between them."""

from lightcycle.app import command


def job(config):
    """Imported late, so that --help and --cfg answer at once."""
    from lightcycle.app.landscape import landscape

    return landscape(config)


if __name__ == "__main__":
    command.main("landscape", job)
