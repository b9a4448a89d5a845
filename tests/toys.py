"""Toys for tests: a module, data and a trainer that take milliseconds, with BatchNorm and dropout in them."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Toy(LightningModule):
    """A tiny classifier of somebody else's: two groups, BatchNorm, dropout."""

    def __init__(self, optimizer: str = "sgd", groups: int = 1, lrs: tuple[float, ...] = (0.1, 0.01, 0.001)) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(8, 3)
        self.optimizer, self.groups, self.lrs = optimizer, groups, lrs
        self.trace: list[tuple[float, ...]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.trace.append(tuple(float(group["lr"]) for group in optimizer.param_groups))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val/loss", nn.functional.cross_entropy(logits, batch[1]))
        self.log("val/acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parts = (
            [list(self.parameters())] if self.groups == 1 else [[*self.body.parameters()], [*self.head.parameters()]]
        )
        groups = [{"params": part, "lr": lr} for part, lr in zip(parts, self.lrs, strict=False)]
        if self.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=0.1, momentum=0.9)
        return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "adagrad": torch.optim.Adagrad}[self.optimizer](
            groups, lr=0.1
        )


def toy_loader(samples: int = 40, batch_size: int = 8, **options: Any) -> DataLoader:
    """Random data that is the same at every call."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(samples, 6, generator=generator), torch.randint(0, 3, (samples,), generator=generator)
    return DataLoader(TensorDataset(x, y), batch_size=batch_size, **options)


def learnable_loader(samples: int = 256, batch_size: int = 16, **options: Any) -> DataLoader:
    """Three clusters that a linear net tells apart: a range test has something to see."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 3, (samples,), generator=generator)
    x = torch.randn(samples, 6, generator=generator) * 0.7 + torch.eye(6)[y] * 3
    return DataLoader(TensorDataset(x, y), batch_size=batch_size, **options)


def quiet_trainer(**options: Any) -> Trainer:
    """A trainer on one CPU that writes nothing and prints nothing."""
    defaults = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return Trainer(**{**defaults, **options})
