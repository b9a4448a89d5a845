"""Run by test_no_trace: fits under DDP with two gloo processes, without and with range tests, and saves the rest."""

import sys
from pathlib import Path

import torch

from lightcycle.callbacks import ParamScheduler
from lightcycle.callbacks.range_test import range_test
from lightcycle.finder.ramp import Ramp
from lightcycle.schedules import SGDR
from toys import Toy, quiet_trainer, toy_loader


class WithRangeTests(ParamScheduler):
    """The scheduler, with a range test before the steps 0 and 4 when asked."""

    active, curve = False, None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.active and trainer.global_step in (0, 4):
            self.curve = range_test(trainer, pl_module, Ramp(min_lr=1e-4, max_lr=10.0, steps=12), seed=3)
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    for name in ("without", "with"):
        torch.manual_seed(0)
        module, scheduler = Toy(), WithRangeTests(SGDR(cycles=2))
        scheduler.active = name == "with"
        trainer = quiet_trainer(max_epochs=3, callbacks=[scheduler], devices=2, strategy="ddp")
        trainer.fit(module, toy_loader(shuffle=True))
        left = {"weights": [p.detach() for p in module.parameters()], "curve": scheduler.curve}
        torch.save(left, folder / f"{name}-{trainer.global_rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
