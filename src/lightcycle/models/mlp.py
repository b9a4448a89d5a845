"""A multi-layer perceptron."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class MLP(nn.Module):
    """Flatten, then `Linear - ReLU - Dropout` for each hidden size, then a linear head.

    Args:
        in_features: values in one image, channels x height x width.
        classes: number of logits.
        hidden: units of each hidden layer.
        dropout: fraction of hidden units set to zero in training.

    >>> import torch
    >>> MLP(64, 10)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(self, in_features: int, classes: int, hidden: Sequence[int] = (256, 128), dropout: float = 0) -> None:
        super().__init__()
        sizes = [in_features, *hidden]
        self.layers = nn.Sequential(*[_layer(*pair, dropout) for pair in pairwise(sizes)])
        self.head = nn.Linear(sizes[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(batch, classes)` of images `(batch, channels, height, width)`."""
        return self.head(self.layers(images.flatten(1)))


def _layer(n_in: int, n_out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout))
