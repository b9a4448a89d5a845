"""``tta``: test-time augmentation as it stands on the command line, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from lightcycle.data.config import DataConfig

KEYS = ("n", "beta", "views")
VIEWS = ("augment", "flips", "shifts")
RANDOM = ("crop", "flip", "erase", "scale")
"""Settings of the data that make a training image look another way each time."""


@dataclass(kw_only=True)
class TTAConfig:
    """Views of each image beside the image itself.

    Args:
        n: how many, of random ones; a fixed set has its own number.
        beta: share of the plain image; None is 0.25 for random views, and as much as each view for a fixed set.
        views: ``augment`` (as in training, keyed by the seed), ``flips`` (the mirror image) or ``shifts`` (mirror
            image, and both moved by a pixel to two corners).
    """

    n: int = 4
    beta: float | None = None
    views: str = "augment"

    @property
    def share(self) -> float | None:
        """What ``beta`` stands for; None is equal shares."""
        return 0.25 if self.beta is None and self.views == "augment" else self.beta


def settled(config: DictConfig) -> TTAConfig | None:
    """The settings with their defaults; None is off.

    Raises:
        ValueError: for a key or a value that cannot be.
    """
    # not part of the schema: OmegaConf 2.3 cannot merge a mapping into an optional dataclass that is null
    if config.tta is None:
        return None
    if not isinstance(config.tta, DictConfig) or not set(config.tta) <= set(KEYS):
        raise ValueError(
            f"tta must be null or some of n, beta and views (got {config.tta}); {{n: 4, beta: 0.25}} is fast.ai's"
        )
    tta = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TTAConfig), config.tta))
    if tta.views not in VIEWS:
        raise ValueError(f"tta.views must be one of {', '.join(VIEWS)} (got {tta.views}); augment is usual")
    if tta.n < 1:
        raise ValueError(f"tta.n must be >= 1 (got {tta.n}); 4 is usual, tta=null is off")
    if tta.beta is not None and not 0.0 <= tta.beta <= 1.0:
        raise ValueError(f"tta.beta must be between 0 and 1 (got {tta.beta:g}); 0.25 is fast.ai's")
    return tta


def check(config: DictConfig, data: DataConfig) -> None:
    """Refuses what cannot be in a run; raises ValueError."""
    tta = settled(config)
    if tta is None:
        return
    if config.features == "cached":
        raise ValueError("tta looks at images, and features=cached has none; set features=live, or drop tta")
    if tta.views == "augment" and not any(getattr(data, name, None) for name in RANDOM):
        raise ValueError(
            "tta.views=augment repeats the training augmentation, and there is none; switch some on, such as "
            "data.flip=true, or take tta.views=shifts"
        )
