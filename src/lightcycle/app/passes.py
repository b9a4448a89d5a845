"""Passes of a net over a run's own images, with any weights and any view of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lightcycle.app.command import bar
from lightcycle.data.in_turn import InTurn
from lightcycle.ensembling import FIXED, each_probabilities, mix

if TYPE_CHECKING:
    from lightcycle.app.tta import TTAConfig
    from lightcycle.data.module import ImageData

State = Mapping[str, Tensor]
States = Sequence[State | None]
OWN: States = (None,)
"""The net's own weights."""


class Passes:
    """What a net says of the samples of a part, train, val or test, in stored order; one process sees them all.

    Args:
        data: after its setup.
        device: of the net.
        tta: what ``tta`` does; None where it is not asked for.
        precision: makes the context that the net runs in.
        limits: part to the batches of it that count: so many, or a share; all unless given.
    """

    def __init__(
        self,
        data: ImageData,
        device: torch.device,
        tta: TTAConfig | None = None,
        precision: Callable[[], AbstractContextManager] = nullcontext,
        limits: Mapping[str, int | float] | None = None,
    ) -> None:
        self.data, self.device, self.views, self.precision, self.limits = data, device, tta, precision, limits or {}

    def plain(self, net: nn.Module, part: str, states: States = OWN, text: str = "") -> Tensor:
        """Probabilities ``(states, n, classes)`` by states of the net, or by itself; the text stands beside the bar."""
        return self._pass(net, part, self._images(part), states, text)

    def tta(self, net: nn.Module, part: str, plain: Tensor, states: States = OWN, text: str = "") -> Tensor:
        """Probabilities of the images, which are there already, mixed with those of their views.

        Random views are keyed by the data's seed: they are the same whenever they are asked for.
        """
        if self.views.views == "augment":
            views = [self._images(part, k) for k in range(self.views.n)]
        else:
            views = [map(view, self._images(part)) for view in FIXED[self.views.views]]
        seen = torch.stack([self._pass(net, part, images, states, f"{text}, TTA") for images in views])
        return mix(plain, seen, self.views.share)

    def labels(self, part: str) -> Tensor:
        """Of the samples that are passed over."""
        rule = self._rule(part)
        return self.data.labels(part)[: min(rule.n, self._count(part) * rule.batch_size)].cpu()

    def train_images(self, batches: int) -> Iterator[Tensor]:
        """So many whole batches of training images, not augmented."""
        rule = self._rule("train")
        return islice(self._load("train", rule), min(batches, rule.n // rule.batch_size or 1))

    def _pass(self, net: nn.Module, part: str, images: Iterator[Tensor], states: States, text: str) -> Tensor:
        with self.precision():
            return each_probabilities(net, bar(images, text, self._count(part)), states)

    def _images(self, part: str, view: int | None = None) -> Iterator[Tensor]:
        rule = self._rule(part, None if view is None else self.data.seed)
        return islice(self._load(part, rule, view or 0), self._count(part))

    def _load(self, part: str, rule: InTurn, epoch: int = 0) -> Iterator[Tensor]:
        for images, labels in self.data.make_loader(part, rule).once(epoch):
            there = [images.to(self.data.device), labels]
            yield self.data.on_after_batch_transfer(there, 0)[0].to(self.device)

    def _rule(self, part: str, seed: int | None = None) -> InTurn:
        size = self.data.config.eval_batch_size or 2 * self.data.config.batch_size
        return InTurn(n=getattr(self.data.counts, part), batch_size=size, seed=seed)

    def _count(self, part: str) -> int:
        every, limit = len(self._rule(part)), self.limits.get(part, 1.0)
        return min(every, limit) if isinstance(limit, int) else max(1, math.floor(every * limit))
