"""Range checks that teach: the key as the user types it, the value, the legal range, a hint."""


def at_least(owner: object, name: str, low: float, hint: str) -> None:
    """Raises a sentence unless ``owner.name >= low``."""
    if not getattr(owner, name) >= low:
        raise ValueError(f"schedule.{name} must be >= {low:g} (got {getattr(owner, name)!r}); {hint}")


def above(owner: object, name: str, low: float, hint: str) -> None:
    """Raises a sentence unless ``owner.name > low``."""
    if not getattr(owner, name) > low:
        raise ValueError(f"schedule.{name} must be > {low:g} (got {getattr(owner, name)!r}); {hint}")


def within(owner: object, name: str, low: float, high: float, hint: str) -> None:
    """Raises a sentence unless ``low <= owner.name <= high``."""
    if not low <= getattr(owner, name) <= high:
        raise ValueError(f"schedule.{name} must be between {low:g} and {high:g} (got {getattr(owner, name)!r}); {hint}")


def one_of(owner: object, name: str, options: tuple[str, ...]) -> None:
    """Raises a sentence unless ``owner.name`` is one of the options."""
    if getattr(owner, name) not in options:
        raise ValueError(f"schedule.{name} must be one of {', '.join(options)} (got {getattr(owner, name)!r})")


def from_zero_to_below(owner: object, name: str, high: float, hint: str) -> None:
    """Raises a sentence unless ``0 <= owner.name < high``."""
    if not 0.0 <= getattr(owner, name) < high:
        raise ValueError(f"schedule.{name} must be >= 0 and < {high:g} (got {getattr(owner, name)!r}); {hint}")


def momenta(owner: object, count: int, example: str) -> None:
    """Raises a sentence unless ``owner.momentum`` is ``None`` or so many numbers from 0 to below 1."""
    values = owner.momentum
    if values is not None and (len(values) != count or not all(0.0 <= value < 1.0 for value in values)):
        raise ValueError(
            f"schedule.momentum must be {count} numbers >= 0 and < 1, like {example} (got {values!r}); "
            "null leaves momentum alone"
        )
