"""What a run's net wants to be given: everything about its inputs that is not in its weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lightcycle.report.files import write_json

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor

    from lightcycle.data.module import ImageData

FILE = "inputs.json"


@dataclass(frozen=True)
class Inputs:
    """How an image becomes the input of a net, and what its outputs are called.

    Args:
        classes: names, in the order of the logits.
        channels: 1 (gray) or 3 (RGB).
        size: (height, width) in pixels of an image that is evaluated.
        trained_size: the same of the images that the net was built for.
        mean, std: per channel, in 0..1 units: x becomes (x / 255 - mean) / std.
        middle: share of the largest box of the right shape that is cut out of an image; None takes the whole image,
            whatever its shape.
    """

    classes: tuple[str, ...]
    channels: int
    size: tuple[int, int]
    trained_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    middle: float | None

    def read(self, path: str) -> Tensor:
        """One file as the run's evaluation sees its images: uint8 `(channels, height, width)`, upright."""
        return self._middle(path) if self.middle else self._whole(path)

    def normalize(self, images: Tensor) -> Tensor:
        """Turn uint8 images `(batch, channels, height, width)` into the net's float32 inputs."""
        import torch

        # as ImageData.normalize does it, to the last bit
        mean, std = (
            torch.tensor(v, dtype=torch.float32, device=images.device).view(-1, 1, 1) for v in (self.mean, self.std)
        )
        return images.to(torch.float32).mul_(1 / (255 * std)).add_(-mean / std)

    def _middle(self, path: str) -> Tensor:
        from lightcycle.data.config import ImageFolderConfig
        from lightcycle.data.folder import ImageFiles

        return ImageFiles([(path, 0)], ImageFolderConfig(), size=self.size)[0, 0][0]

    def _whole(self, path: str) -> Tensor:
        import numpy as np
        import torch

        from lightcycle.data.folder import read_rgb
        from lightcycle.data.resize import resized

        image = read_rgb(path).convert("L" if self.channels == 1 else "RGB")
        pixels = torch.from_numpy(np.array(image)).view(image.height, image.width, self.channels).permute(2, 0, 1)
        return resized(pixels[None], self.size)[0]


def of_data(data: ImageData) -> Inputs:
    """The inputs of a set, after its ``setup``."""
    from lightcycle.data.config import ImageFolderConfig
    from lightcycle.data.folder import CENTER

    middle = CENTER if isinstance(data.config, ImageFolderConfig) else None
    sizes = data.size_of("test"), tuple(data.size)
    return Inputs(tuple(data.classes), data.channels, *sizes, tuple(data.mean), tuple(data.std), middle)


def save(inputs: Inputs, folder: Path) -> Path:
    """Writes ``inputs.json``: with it a run's net can be used where its data is not."""
    return write_json(folder / FILE, asdict(inputs))


def load(folder: Path) -> Inputs | None:
    """Reads what ``save`` has left in a run's folder; None where there is nothing."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_text())
        return Inputs(**{name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()})
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not hold a run's inputs ({error}); delete it, and it is made anew") from error
