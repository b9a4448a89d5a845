"""No wall of warnings: what Lightning says at every run, and this project has decided, is not repeated."""

import logging
import sys
import warnings

_SETTLED = (
    "does not have many workers",  # in-memory sets need none, folders have their own
    "is not resumable",  # ours are; other people's loaders are theirs to choose
    "LeafSpec",  # between Lightning and torch
    "exists and is not empty",  # the folder holds config.yaml already
    "smaller than the logging interval",
    "GPU available but not used",
    "The dirpath has changed",  # a run resumed in a folder of its own
    "could not find the monitored key",  # the first epochs where validation is not after every one
)

_GREETINGS = ("available:", "Tip:", "` stopped:", "litlogger", "Loaded model", "distributed_backend=", "Restor")


def silence() -> None:
    """Hides settled warnings and Lightning's greetings; errors and everything else stay."""
    for text in _SETTLED:
        warnings.filterwarnings("ignore", message=f".*{text}.*")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(_no_greetings)


def _no_greetings(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    return not any(part in text for part in _GREETINGS)


def is_interactive() -> bool:
    """Whether somebody watches: a bar is drawn on terminals only."""
    return sys.stdout.isatty()
