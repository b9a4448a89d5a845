"""Run by test_snapshot_ensemble: fits under DDP with two gloo processes, and once alone, with snapshots."""

import json
import os
import sys
from pathlib import Path

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.utils.data import DistributedSampler

from lightcycle.callbacks import ParamScheduler, SnapshotEnsemble, snapshot_ensemble
from lightcycle.schedules import SGDR
from toys import quiet_trainer, toy_loader


class Net(LightningModule):
    """Outputs do not depend on the other samples of a batch, so that halves add up to the whole."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5, momentum=0.9)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    save = snapshot_ensemble.save_snapshot

    def noted(*args):
        (folder / f"writer-{os.environ.get('LOCAL_RANK', '0')}").touch()
        return save(*args)

    snapshot_ensemble.save_snapshot = noted
    every_second = DistributedSampler(toy_loader(64).dataset, num_replicas=2, rank=rank, shuffle=False)
    half = toy_loader(64, 8, sampler=every_second)
    trainer = quiet_trainer(
        max_epochs=2, callbacks=callbacks(folder / "ddp"), devices=2, strategy="ddp", use_distributed_sampler=False
    )
    trainer.fit(Net(), half)
    trainer.strategy.barrier()
    if trainer.global_rank == 0:
        writers = sorted(int(path.name.rpartition("-")[2]) for path in folder.glob("writer-*"))
        (folder / "writers.json").write_text(json.dumps(writers))
        snapshot_ensemble.save_snapshot = save
        quiet_trainer(max_epochs=2, callbacks=callbacks(folder / "alone")).fit(Net(), toy_loader(64, 16))


def callbacks(folder: Path) -> list:
    return [ParamScheduler(SGDR(cycles=2, cycle_mult=1)), SnapshotEnsemble(folder=folder)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
