"""Run by test_gradual_unfreezing: fits under DDP with two gloo processes, and once alone, and saves every step."""

import os
import sys
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule
from torch import nn
from torch.utils.data import DistributedSampler

from lightcycle.callbacks import GradualUnfreezing
from toys import quiet_trainer, toy_loader


class Net(LightningModule):
    """Layers whose outputs do not depend on the other samples of a batch, so that halves add up to the whole."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(*[nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(3)])
        self.head = nn.Linear(6, 3)
        self.steps = []

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.head(self.body(batch[0])), batch[1])

    def on_train_batch_end(self, outputs, batch, batch_idx):
        weights = {name: p.detach().clone() for name, p in self.named_parameters()}
        trains = [name for name, p in self.named_parameters() if p.requires_grad]
        self.steps.append({"weights": weights, "trains": trains})

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5, momentum=0.9)


class Meddle(Callback):
    """Changes the weights of one process alone."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        with torch.no_grad():
            pl_module.head.weight += trainer.global_rank


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    plan = {"at": [0.5, 1.25, 1.5]}
    strategy = {"devices": 2, "strategy": "ddp", "use_distributed_sampler": False}
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    every_second = DistributedSampler(toy_loader(64).dataset, num_replicas=2, rank=rank, shuffle=False)
    half = toy_loader(64, 8, sampler=every_second)

    module = Net()
    trainer = quiet_trainer(max_epochs=2, callbacks=[GradualUnfreezing(**plan)], **strategy)
    trainer.fit(module, half)
    torch.save(module.steps, folder / f"ddp-{rank}.pt")

    trainer = quiet_trainer(max_epochs=2, callbacks=[Meddle(), GradualUnfreezing(**plan)], **strategy)
    try:
        trainer.fit(Net(), half)
    except RuntimeError as error:
        torch.save(str(error), folder / f"apart-{rank}.pt")

    if rank == 0:
        module = Net()
        trainer = quiet_trainer(max_epochs=2, callbacks=[GradualUnfreezing(**plan)])
        trainer.fit(module, toy_loader(64, 16))
        torch.save(module.steps, folder / "alone.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
