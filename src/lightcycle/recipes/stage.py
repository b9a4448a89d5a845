"""``Stage``: one fit of a recipe, said in a few words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning.pytorch import Callback, LightningModule

from lightcycle.schedules import Constant, Schedule
from lightcycle.transfer.rates import check_lr

WORDS = ("auto", "same")
"""What ``lr`` may say instead of rates. A finder that sees nothing leaves the rate of the stage before."""


@dataclass(kw_only=True)
class Stage:
    """One fit: what changes in it, and for how long.

    Args:
        name: what it is called in files and pictures.
        epochs: its length, whole; `None` is the schedule's own.
        schedule: of the learning rate and the momentum.
        lr: base rate: a number for the fastest group, a list or ``{"first": ..., "last": ...}`` for the layer groups,
            ``"auto"`` finds one, ``"same"`` is that of the stage before, `None` is the module's own.
        depth: layer groups that train, counted from the head; `None` is all.
        groups: the layer groups, as in ``GradualUnfreezing``.
        callbacks: of this stage alone; every fit has fresh copies.
        data: a datamodule of this stage's own, or makes it out of the run's: the same images in another size, otherwise
            augmented, or the features that a frozen body gives for them.
        module: makes this stage's module out of the run's, such as a head over cached features; both share the net.
        until: ``"overfitting"`` ends the stage at the cycle behind which it only over-fits.

    Raises:
        ValueError: in a sentence, for values that are out of range or do not go together.

    >>> from lightcycle.schedules import SGDR
    >>> Stage(name="all", schedule=SGDR(cycles=3)).length
    7
    """

    name: str
    epochs: int | None = None
    schedule: Schedule = field(default_factory=Constant)
    lr: float | Sequence[float] | Mapping[str, float] | str | None = None
    depth: int | None = None
    groups: Any = None
    callbacks: Sequence[Callback] = ()
    data: Any = None
    module: Callable[[LightningModule], LightningModule] | None = None
    until: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError(f"a stage needs a name (got {self.name!r}); head, say")
        if self.lr not in (None, *WORDS):
            check_lr(self.lr)
        whole = self.depth is None or (isinstance(self.depth, int) and not isinstance(self.depth, bool))
        if not whole or (self.depth is not None and self.depth < 1):
            raise ValueError(f"depth must be a whole number >= 1 (got {self.depth!r}); 1 is the head, None is all")
        if self.until not in (None, "overfitting"):
            raise ValueError(f"until must be overfitting or None (got {self.until!r})")
        if self.length != int(self.length) or self.length < 1:
            raise ValueError(
                f"stage {self.name} would be {self.length:g} epochs long; a stage is a whole number of epochs >= 1"
            )

    @property
    def length(self) -> int:
        """Epochs of the stage.

        Raises:
            ValueError: if neither the stage nor its schedule says so.
        """
        epochs = self.schedule.epochs if self.epochs is None else self.epochs
        if epochs is None:
            raise ValueError(
                f"stage {self.name} does not say how long it is, nor does {type(self.schedule).__name__}; "
                f"give it epochs=1, say"
            )
        return int(epochs) if epochs == int(epochs) else epochs

    @property
    def stretches(self) -> bool:
        """Whether the schedule has to be fitted into the epochs."""
        return self.schedule.misfit(float(self.length)) is not None
