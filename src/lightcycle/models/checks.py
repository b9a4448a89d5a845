"""One sentence for every value out of range."""


def check(ok: bool, key: str, legal: str, got: object, fix: str) -> None:
    """Raise a `ValueError` that names the key as typed, the legal range, the value and one fix.

    >>> check(2 >= 4, "model.width", ">= 4", 2, "16 is the default")
    Traceback (most recent call last):
    ValueError: model.width must be >= 4 (got 2); 16 is the default
    """
    if not ok:
        raise ValueError(f"{key} must be {legal} (got {got}); {fix}")
