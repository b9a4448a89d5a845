"""Classes of image files: ``python scripts/predict.py run=outputs/... images=photos``; ``--help`` lists the options."""

from lightcycle.app import command


def job(config):
    """Imported late, so that --help and --cfg answer at once."""
    from lightcycle.app.predict import predict

    return predict(config)


if __name__ == "__main__":
    command.main("predict", job)
