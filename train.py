"""Train an image classifier: ``python train.py schedule=sgdr``; ``python train.py --help`` lists the choices."""

from lightcycle.app import cli


def job(config):
    """Imported late, so that --help and --cfg answer at once."""
    from lightcycle.app.run import train

    return train(config)


if __name__ == "__main__":
    cli.main("train", job)
