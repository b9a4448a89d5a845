"""Freezing under DDP: its reducer knows the parameters that needed gradients when it was made, and no others."""

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch.nn.parallel import DistributedDataParallel


def refuse_sharded(trainer: Trainer) -> None:
    """Raises a sentence where ``requires_grad`` cannot be changed during the run."""
    strategy = trainer.strategy
    if not (isinstance(strategy, SingleDeviceStrategy) or type(strategy) is DDPStrategy):
        raise ValueError(
            f"gradual unfreezing changes requires_grad during the run, and {type(strategy).__name__} has laid out the "
            "weights by then; train on one device or with strategy='ddp'"
        )
    if getattr(strategy.model, "static_graph", False):
        raise ValueError(
            "gradual unfreezing changes the graph during the run, and DDP was promised a static one "
            "(static_graph=True); leave static_graph out"
        )


def rewrap(trainer: Trainer) -> None:
    """Wraps the module into DDP anew, so that the reducer knows exactly the parameters that need gradients now.

    Does nothing without DDP. Without it, parameters unfrozen later would train on each process by themselves
    (Lightning issue 20340), and frozen ones would be waited for.
    """
    strategy = trainer.strategy
    if isinstance(strategy.model, DistributedDataParallel):
        strategy.model = strategy.lightning_module
        strategy.configure_ddp()


def compare_ranks(trainer: Trainer, pl_module: LightningModule) -> None:
    """Compares a checksum of every parameter between the processes.

    Raises:
        RuntimeError: naming the parameters that differ; on every process.
    """
    if trainer.world_size == 1:
        return
    names, parameters = zip(*pl_module.named_parameters(), strict=True)
    sums = torch.stack([parameter.detach().double().sum() for parameter in parameters])
    ranks = [torch.empty_like(sums) for _ in range(trainer.world_size)]
    torch.distributed.all_gather(ranks, sums)
    columns = torch.stack(ranks, 1).nan_to_num().tolist()
    differ = [name for name, column in zip(names, columns, strict=True) if len(set(column)) > 1]
    if differ:
        raise RuntimeError(
            f"after a change of depth the processes train different weights: {', '.join(differ[:3])}"
            f"{f' and {len(differ) - 3} more' if len(differ) > 3 else ''}; a hook that freezes or unfreezes by itself, "
            "or another seed on each process, does that"
        )
