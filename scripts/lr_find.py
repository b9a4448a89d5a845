"""Find a learning rate and train nothing: ``python scripts/lr_find.py data=fashion_mnist model=resnet``."""

from lightcycle.app import cli


def job(config):
    """Imported late, so that --help and --cfg answer at once."""
    from lightcycle.app.find import find

    return find(config)


if __name__ == "__main__":
    cli.main("lr_find", job)
