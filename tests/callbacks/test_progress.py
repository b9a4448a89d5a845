"""What one reads while it trains."""

import re

from lightning.pytorch.callbacks import RichProgressBar

from lightcycle.callbacks import ParamScheduler
from lightcycle.callbacks.progress import EpochLines, Progress
from lightcycle.data.config import SyntheticConfig
from lightcycle.data.module import build
from lightcycle.models import MLPConfig, SGDConfig
from lightcycle.models.classifier import Classifier
from lightcycle.schedules import StepDecay
from toys import quiet_trainer


def fit(lines, epochs=3, **options):
    config = SyntheticConfig(n_train=24, n_val=6, n_test=6, size=6, batch_size=6)
    module = Classifier(MLPConfig(hidden=[8]).build(channels=3, size=(6, 6), classes=10), SGDConfig().build)
    trainer = quiet_trainer(
        max_epochs=epochs, callbacks=[ParamScheduler(StepDecay(every=1)), lines], log_every_n_steps=1, **options
    )
    trainer.fit(module, datamodule=build(config))
    return trainer


def test_a_line_for_each_epoch_with_its_own_means(capsys):
    class Means(EpochLines):
        means: list[float]

        def on_train_batch_end(self, trainer, *_):
            self.losses = getattr(self, "losses", [])
            self.losses.append(float(trainer.callback_metrics["train/loss"]))

    lines = Means("val/acc")
    fit(lines)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3
    for epoch, line in enumerate(said):
        found = re.fullmatch(
            r"epoch (\d)/3  train/loss (\d\.\d{4})  val/acc (\d\.\d{4})  lr (\S+)  \d+\.\d s", line
        ).groups()
        mean = sum(lines.losses[4 * epoch : 4 * epoch + 4]) / 4
        assert found[0] == str(epoch + 1)
        assert abs(float(found[1]) - mean) < 1e-4
        assert float(found[3]) == float(f"{0.1 * 0.1**epoch:.2e}")


def test_a_cut_epoch_has_a_line_too(capsys):
    fit(EpochLines(), max_steps=6)
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()] == ["epoch 1/3", "epoch 2/3"]


def test_a_watched_training_metric_is_not_said_twice(capsys):
    fit(EpochLines("train/loss_epoch"), epochs=1)
    assert capsys.readouterr().out.count("train/loss") == 1


def test_the_bar_shows_the_rate():
    bar = Progress()
    assert isinstance(bar, RichProgressBar)
    shown = []

    class Watching(Progress):
        def get_metrics(self, trainer, pl_module):
            shown.append(super().get_metrics(trainer, pl_module))
            return shown[-1]

    fit(Watching(refresh_rate=1), epochs=1, enable_progress_bar=True)
    rates = [metrics["lr"] for metrics in shown if "lr" in metrics]
    assert rates
    assert set(rates) == {"1.00e-01"}
    assert all("v_num" not in metrics for metrics in shown)
