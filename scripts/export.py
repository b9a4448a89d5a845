"""One portable file: ``python scripts/export.py run=outputs/...``; ``--help`` lists the options."""

from lightcycle.app import command


def job(config):
    """Imported late, so that --help and --cfg answer at once."""
    from lightcycle.app.export import export

    return export(config)


if __name__ == "__main__":
    command.main("export", job)
