"""A small residual net for small images."""

from itertools import pairwise

from torch import Tensor, nn

STRIDES = (1, 2, 2, 2, 2)


class ResNet(nn.Module):
    """Stem, five stages of basic blocks, global average pool, linear head.

    The stages have `width x (1, 2, 4, 8, 16)` channels and each but the first halves the image (rounding up), so it
    takes any size from 1 x 1 up. 1.23 M parameters and 28 MMAC for a 28 x 28 image at the default width.

    Args:
        channels: channels of the images.
        classes: number of logits.
        width: channels of the stem.
        blocks: residual blocks in each stage.
        dropout: fraction of pooled features set to zero in training.

    >>> import torch
    >>> ResNet(1, 10)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])

    References: He et al., Deep residual learning, arXiv:1512.03385; average pooling in the shortcut: He et al., Bag of
    tricks, arXiv:1812.01187; last scale starts at zero: Goyal et al., arXiv:1706.02677.
    """

    def __init__(self, channels: int, classes: int, width: int = 16, blocks: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        widths = [width, *(width * 2**i for i in range(len(STRIDES)))]
        self.stem = nn.Sequential(_conv(channels, width, 3), nn.BatchNorm2d(width), nn.ReLU())
        edges = zip(pairwise(widths), STRIDES, strict=True)
        self.stages = nn.Sequential(*[_stage(*pair, stride, blocks) for pair, stride in edges])
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(widths[-1], classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(batch, classes)` of images `(batch, channels, height, width)`."""
        return self.head(self.pool(self.stages(self.stem(images))))


class Block(nn.Module):
    """`relu(conv-bn-relu-conv-bn(x) + shortcut(x))`, the identity at the start because the last scale is zero.

    The stride sits in the second convolution: the first sees the full resolution, which costs more and learns better.

    >>> import torch
    >>> Block(4, 8, stride=2)(torch.zeros(2, 4, 7, 7)).shape
    torch.Size([2, 8, 4, 4])
    """

    def __init__(self, n_in: int, n_out: int, stride: int = 1) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _conv(n_in, n_out, 3),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            _conv(n_out, n_out, 3, stride),
            nn.BatchNorm2d(n_out),
        )
        nn.init.zeros_(self.residual[-1].weight)
        self.shortcut = _shortcut(n_in, n_out, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, n_in, height, width)` to `(batch, n_out, ceil(height / stride), ceil(width / stride))`."""
        return self.relu(self.residual(x) + self.shortcut(x))


def _stage(n_in: int, n_out: int, stride: int, blocks: int) -> nn.Sequential:
    rest = [Block(n_out, n_out) for _ in range(blocks - 1)]
    return nn.Sequential(Block(n_in, n_out, stride), *rest)


def _shortcut(n_in: int, n_out: int, stride: int) -> nn.Sequential:
    pool = [nn.AvgPool2d(stride, ceil_mode=True)] if stride > 1 else []
    conv = [_conv(n_in, n_out, 1)] if n_in != n_out else []
    return nn.Sequential(*pool, *conv)


def _conv(n_in: int, n_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return conv
