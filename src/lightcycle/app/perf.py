"""``perf``: how the same net is computed faster on this machine, chosen by what the machine can, never by timing it.

So a resumed run on the same machine makes the same choice, and its numbers are those of the straight run.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightcycle.app import memory
from lightcycle.data.count import count, pair

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import nn

    from lightcycle.app.settings import Settings

AUTO, FULL, HALF = "auto", "32-true", "bf16-mixed"
HALVES = (HALF, "bf16")  # Lightning has two names for it
SMALL = 28  # pixels of a side below which neither pays: docs/perf.md has the figures
CPU_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
SWITCH = (AUTO, True, False)
COMPILERS = ("c++", "g++", "clang++", "cl")


@dataclass(kw_only=True)
class PerfConfig:
    """What is done for speed.

    Args:
        channels_last: memory order of the net and, by it, of what goes through: ``auto``, ``true`` or ``false``.
        precision: where ``trainer.precision`` is null: ``auto``, or one of Lightning's names.
        depthwise: ``auto``: on a processor under ``bf16-mixed``, the depthwise convolutions that bfloat16 has no fast
            way for are computed in single precision; ``false``: all are as autocast has them.
        keep_memory: whether the process keeps what it frees for its next step: ``auto`` (on a processor), ``true`` or
            ``false``.
        compile: whether the net goes through ``torch.compile``, a graph for each size of its images.

    Raises:
        ValueError: in a sentence, for another value of these.
    """

    channels_last: Any = AUTO
    precision: str = AUTO
    depthwise: Any = AUTO
    keep_memory: Any = AUTO
    compile: bool = False

    def __post_init__(self) -> None:
        for name, legal in {"channels_last": SWITCH, "depthwise": (AUTO, False), "keep_memory": SWITCH}.items():
            if (value := getattr(self, name)) not in legal:
                words = " or ".join(str(one).lower() for one in legal)
                raise ValueError(f"perf.{name} must be {words} (got {value!r}); auto is the default")


def precision(settings: Settings) -> str:
    """Lightning's name of the precision: what the trainer was told, or what ``perf`` says, or by the machine."""
    told = settings.trainer.precision or settings.perf.precision
    if told != AUTO:
        return str(told)
    return HALF if not _is_small(settings) and has_fast_bf16(settings.trainer.accelerator) else FULL


def has_fast_bf16(accelerator: str) -> bool:
    """Whether the device of a run has units for bfloat16: NVIDIA's from Ampere on, processors with AMX or AVX512."""
    import torch

    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return is_processor(accelerator) and bool(CPU_FLAGS & cpu_flags())


def is_processor(accelerator: str) -> bool:
    """Whether a run computes on the processor: told so, or for want of a GPU."""
    import torch

    return accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())


def cpu_flags(path: str = "/proc/cpuinfo") -> frozenset[str]:
    """What the processor can, as Linux says it; nothing elsewhere."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def is_channels_last(settings: Settings) -> bool:
    """Whether the net is kept in that order."""
    wanted = settings.perf.channels_last
    return not _is_small(settings) if wanted == AUTO else bool(wanted)


def keeps_memory(settings: Settings) -> bool:
    """Whether the run keeps what it frees."""
    wanted = settings.perf.keep_memory
    if wanted == AUTO:
        wanted = not _is_small(settings) and is_processor(settings.trainer.accelerator)
    return bool(wanted) and memory.can_keep()


def spares_depthwise(settings: Settings) -> bool:
    """Whether slow depthwise convolutions are left in single precision."""
    half = precision(settings) in HALVES and is_processor(settings.trainer.accelerator)
    return half and bool(settings.perf.depthwise)


def prepare(settings: Settings, net: nn.Module) -> nn.Module:
    """The net itself, in the memory order and compiled as ``perf`` says; memory is kept from now on, where it says so.

    Raises:
        ValueError: where there is nothing to compile with.
    """
    import torch

    from lightcycle.models.depthwise import keep_single_precision

    memory.keep_freed(keeps_memory(settings))
    if is_channels_last(settings):
        net.to(memory_format=torch.channels_last)
    if spares_depthwise(settings):
        keep_single_precision(net)
    if settings.perf.compile:
        if not torch.cuda.is_available() and not any(map(shutil.which, COMPILERS)):
            raise ValueError(
                "perf.compile=true needs a C++ compiler on a CPU (got none of c++, g++, clang++ on the path); install "
                "g++, or take perf=default"
            )
        net.compile(dynamic=False)  # in place: the names of its parameters stay
    return net


def describe(settings: Settings) -> str:
    """What was chosen, in a line."""
    order = "channels_last" if is_channels_last(settings) else "channels first"
    more = {"freed memory kept": keeps_memory(settings), "compiled": settings.perf.compile}
    return ", ".join([f"computed in {precision(settings)}", order, *(words for words, is_so in more.items() if is_so)])


def figures(settings: Settings) -> dict[str, Any]:
    """What summary.json says of it."""
    found = {"precision": precision(settings), "channels_last": is_channels_last(settings)}
    found |= {"single_precision_depthwise": spares_depthwise(settings), "keeps_memory": keeps_memory(settings)}
    return {**found, "compiled_graphs": graphs()} if settings.perf.compile else found


def graphs() -> int:
    """Graphs that torch has compiled in this process."""
    from torch._dynamo.utils import counters  # torch counts them nowhere else; tests/app/test_perf.py holds it

    return counters["stats"]["unique_graphs"]


def most_graphs() -> int:
    """Graphs of one net at which torch stops to compile it."""
    from torch._dynamo import config  # torch says it nowhere else; tests/app/test_perf.py holds it

    return config.recompile_limit


def _is_small(settings: Settings) -> bool:
    return max(pair(settings.data.size) or count(settings.data).size) < SMALL
