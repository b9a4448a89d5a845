import csv
import os
import subprocess
import sys

import pytest
import torch
from lightning import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch.nn.functional import cross_entropy
from torchmetrics.aggregation import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from lightcycle.models import Classifier, EpochMeans, MLPConfig, SGDConfig

CLASSES = 3


def make(**kwargs):
    torch.manual_seed(0)
    net = MLPConfig(hidden=[6], dropout=kwargs.pop("dropout", 0.0)).build(channels=1, size=(4, 4), classes=CLASSES)
    return Classifier(net, kwargs.pop("optimizer", SGDConfig(lr=0.1)).build, **kwargs)


class Batches:
    """Random batches that go on where a checkpoint was written, as the loaders of `lightcycle.data` do.

    Batches of 4, 4 and 2 with the defaults: a mean of batch means would be wrong.
    """

    def __init__(self, n=10, batch_size=4, seed=1):
        random = torch.Generator().manual_seed(seed)
        images = torch.randn(n, 1, 4, 4, generator=random)
        labels = torch.randint(0, CLASSES, (n,), generator=random)
        self.batches = list(zip(images.split(batch_size), labels.split(batch_size), strict=True))
        self.done = 0

    def __iter__(self):
        self.done %= len(self)  # Lightning does not ask for more than `len`, so no end is seen
        for batch in self.batches[self.done :]:
            self.done += 1
            yield batch

    def __len__(self):
        return len(self.batches)

    def state_dict(self):
        return {"done": self.done}

    def load_state_dict(self, state):
        self.done = state["done"]


def trainer(tmp_path, **kwargs):
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return Trainer(accelerator="cpu", devices=1, default_root_dir=tmp_path, **(quiet | kwargs))


class Losses(Callback):
    """The loss that each batch returned."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(float(outputs["loss"]))


class Epochs(Callback):
    """Loss and accuracy of each epoch; the module logs them after this hook, so at the start of the next."""

    def __init__(self):
        self.means = []

    def on_train_end(self, trainer, pl_module):
        self.means.append(tuple(float(trainer.callback_metrics[name]) for name in ("train/loss_epoch", "train/acc")))

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch:
            self.on_train_end(trainer, pl_module)


@torch.no_grad()
def by_hand(net, batches):
    """Mean loss and accuracy over all samples at once."""
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    logits = net.eval()(images)
    return float(cross_entropy(logits, labels)), float((logits.argmax(1) == labels).double().mean())


def loop(net, optimizer, batches, smoothing=0.0):
    """An epoch of the same training by hand; mean loss and accuracy over what each sample had."""
    losses, hits = [], []
    for images, labels in batches:
        logits = net(images)
        each = cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
        optimizer.zero_grad()
        each.mean().backward()
        optimizer.step()
        losses += each.tolist()
        hits += (logits.argmax(1) == labels).tolist()
    return sum(losses) / len(losses), sum(hits) / len(hits)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_training_equals_a_loop_by_hand_and_so_do_its_means(tmp_path, smoothing):
    module, batches, epochs = make(label_smoothing=smoothing), Batches(), Epochs()
    trainer(tmp_path, max_epochs=3, callbacks=[epochs]).fit(module, batches, Batches())
    twin = make()
    optimizer = twin.configure_optimizers()
    expected = [loop(twin.net, optimizer, batches, smoothing) for _ in range(3)]
    assert epochs.means == [pytest.approx(pair, rel=1e-6) for pair in expected]
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_the_logger_gets_the_loss_of_every_nth_step(tmp_path, every, accumulate):
    losses, logger = Losses(), CSVLogger(tmp_path, name="", version="")
    settings = {"accumulate_grad_batches": accumulate, "log_every_n_steps": every, "logger": logger}
    trainer(tmp_path, max_epochs=2, callbacks=[losses], **settings).fit(make(), Batches(n=16), Batches())
    with open(tmp_path / "metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    steps = range(every, 8 // accumulate + 1, every)
    assert [int(row["step"]) for row in rows] == [step - 1 for step in steps]
    # Lightning hands out the loss divided by the number of accumulated batches.
    assert [float(row["train/loss"]) for row in rows] == [accumulate * losses.seen[accumulate * n - 1] for n in steps]


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_validation_and_test_means_are_exact_whatever_the_batches(tmp_path, batch_size):
    module, batches = make(dropout=0.5, label_smoothing=0.3), Batches(batch_size=batch_size)
    (validated,) = trainer(tmp_path).validate(module, batches, verbose=False)
    (tested,) = trainer(tmp_path).test(module, batches, verbose=False)
    loss, acc = by_hand(module.net, batches)
    assert validated == {"val/loss": pytest.approx(loss, rel=1e-6), "val/acc": pytest.approx(acc, rel=1e-6)}
    assert tested == {"test/loss": pytest.approx(loss, rel=1e-6), "test/acc": pytest.approx(acc, rel=1e-6)}


def test_validation_starts_afresh_each_time(tmp_path):
    module, fit = make(), trainer(tmp_path)
    first = fit.validate(module, Batches(seed=2), verbose=False)
    fit.validate(module, Batches(seed=3), verbose=False)
    assert fit.validate(module, Batches(seed=2), verbose=False) == first


def test_means_agree_with_torchmetrics():
    ours, loss_mean, accuracy = EpochMeans(), MeanMetric(), MulticlassAccuracy(CLASSES, average="micro")
    for seed, n in enumerate([4, 1, 7]):
        random = torch.Generator().manual_seed(seed)
        logits = torch.randn(n, CLASSES, generator=random)
        labels = torch.randint(0, CLASSES, (n,), generator=random)
        loss = cross_entropy(logits, labels)
        ours.update(loss, logits, labels)
        loss_mean.update(loss, n)
        accuracy.update(logits, labels)
    means = ours.compute()
    torch.testing.assert_close(means["loss"], loss_mean.compute())
    torch.testing.assert_close(means["acc"], accuracy.compute())


def test_a_half_precision_loss_is_summed_in_single_precision():
    means = EpochMeans()
    for _ in range(300):
        means.update(torch.tensor(1.0, dtype=torch.bfloat16), torch.zeros(1, 2), torch.zeros(1, dtype=torch.long))
    assert float(means.compute()["loss"]) == 1.0  # in bfloat16 the sum would stop at 256


def test_predictions_are_probabilities(tmp_path):
    module, batches = make(), Batches()
    predicted = torch.cat(trainer(tmp_path).predict(module, batches))
    images = torch.cat([images for images, _ in batches])
    logits = module.net(images)
    torch.testing.assert_close(predicted, (logits.exp() / logits.exp().sum(1, keepdim=True)).detach())
    assert torch.equal(module.predict_step(images, 0), module.predict_step((images, None), 0))


def test_a_checkpoint_holds_nothing_but_plain_data(tmp_path):
    module, fit = make(), trainer(tmp_path, max_epochs=1)
    fit.fit(module, Batches(), Batches())
    fit.save_checkpoint(tmp_path / "last.ckpt")
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert checkpoint["state_dict"].keys() == {f"net.{name}" for name in module.net.state_dict()}
    assert [group["name"] for group in checkpoint["optimizer_states"][0]["param_groups"]] == ["decay", "no_decay"]
    copy = make()
    copy.load_state_dict(checkpoint["state_dict"])
    assert all(torch.equal(a, b) for a, b in zip(copy.parameters(), module.parameters(), strict=True))


@pytest.mark.parametrize("step", range(1, 6))
def test_a_resumed_run_reports_the_means_of_whole_epochs(tmp_path, step):
    path = tmp_path / "step.ckpt"
    straight = trainer(tmp_path, max_epochs=2, callbacks=[SaveAt(step, path)])
    straight.fit(make(), Batches(), Batches())
    resumed = trainer(tmp_path, max_epochs=2)
    resumed.fit(make(), Batches(), Batches(), ckpt_path=path)
    for name in ("train/loss_epoch", "train/acc", "val/loss", "val/acc"):
        assert resumed.callback_metrics[name] == straight.callback_metrics[name]


class SaveAt(Callback):
    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def test_no_decay_can_be_switched_off():
    groups = make(no_decay_on_norm_and_bias=False).configure_optimizers().param_groups
    assert [(group["name"], group["weight_decay"]) for group in groups] == [("decay", 5e-4)]


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_label_smoothing_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match=r"^label_smoothing must be in \[0, 1\) \(got .*\); 0 switches it off$"):
        make(label_smoothing=value)


RANK = """
import sys
import torch
import torch.distributed as dist
from lightcycle.models import EpochMeans
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
means = EpochMeans()
n = 1 + 2 * rank  # one sample of loss 5, right, and three of loss 1, wrong
means.update(torch.tensor(5.0 - 4 * rank), torch.eye(2)[[rank] * n], torch.zeros(n, dtype=torch.long))
print({name: float(value) for name, value in means.compute().items()})
dist.destroy_process_group()
"""


def test_two_processes_agree_on_the_mean_over_all_samples(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", RANK]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, env=environment, text=True
        )
        for rank in range(2)
    ]
    assert [rank.communicate(timeout=120)[0].strip() for rank in ranks] == ["{'loss': 2.0, 'acc': 0.25}"] * 2
