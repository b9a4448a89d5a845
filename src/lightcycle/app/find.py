"""The LR range test alone: its picture, its numbers, a table of what each rule says."""

import json
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig

from lightcycle.app.build import AHEAD
from lightcycle.app.plan import bound, chosen, horizon, title
from lightcycle.app.run import assemble
from lightcycle.app.settings import read
from lightcycle.callbacks import LRFinder
from lightcycle.data.count import count
from lightcycle.report.table import print_table


class OnlyFind(Callback):
    """Runs the finder before the first step and ends the fit there."""

    def __init__(self, finder: LRFinder) -> None:
        self.finder = finder

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.finder.find(trainer, pl_module)
        trainer.should_stop = True


def find(config: DictConfig) -> float | None:
    """Writes lr_find.json and lr_find.png, prints every rule's answer and returns the chosen rule's."""
    settings = read(config)
    folder, counts = Path(HydraConfig.get().runtime.output_dir), count(settings.data)
    trainer, data, module = assemble(settings, folder, counts, bound(settings, horizon(settings, counts)))
    finder = next(callback for callback in trainer.callbacks if isinstance(callback, LRFinder))
    finder.apply = False
    first = [callback for callback in trainer.callbacks if isinstance(callback, AHEAD)]
    trainer.callbacks = [*first, OnlyFind(finder)]
    trainer.fit(module, datamodule=data)
    if trainer.is_global_zero:
        tell(folder, title(settings, chosen(HydraConfig.get().runtime.choices)))
    return finder.found[0]["suggestion"]


def tell(folder: Path, line: str) -> None:
    """The table of the rules' answers, and where the files are."""
    found = json.loads((folder / "lr_find.json").read_text())
    rows = [
        [
            ("* " if each["rule"] == found["chosen"] else "  ") + each["rule"],
            "-" if each["lr"] is None else f"{each['lr']:.3g}",
            f"x{each['spread']:.2g}" if each["spread"] else "",
            each["reason"],
        ]
        for each in found["suggestions"]
    ]
    print_table(line, ["rule", "lr", "spread", "what was seen"], rows)
    if found["run"]["high"] is not None:
        print(f"for schedule=clr or one_cycle: {found['run']['low']:.3g} to {found['run']['high']:.3g}")
    print(folder / "lr_find.png")
