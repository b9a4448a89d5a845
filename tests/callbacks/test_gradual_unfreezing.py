"""GradualUnfreezing: each step trains what the plan says, and a run resumed anywhere is the straight run."""

import os
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from lightcycle.callbacks import GradualUnfreezing, GroupTable, LRFinder, ParamScheduler, StepSeed
from lightcycle.callbacks.ranks import refuse_sharded
from lightcycle.data.config import SyntheticConfig
from lightcycle.data.module import build
from lightcycle.models.param_groups import param_groups
from lightcycle.schedules import Horizon, OneCycle
from lightcycle.transfer.groups import LayerGroup
from toys import Toy, quiet_trainer, toy_loader

STAGES = ["body.0", "body.1", "body.2", "head"]
STEPS = 4  # an epoch


def block(n_in, n_out):
    return nn.Sequential(nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU(), nn.Dropout(0.3))


class Deep(LightningModule):
    """Three blocks with BatchNorm and dropout, and a head; writes down what every step was taken with."""

    def __init__(self, optimizer="sgd", lrs=(0.01, 0.02, 0.05, 0.1)):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(block(108, 8), block(8, 8), block(8, 8))
        self.head = nn.Linear(8, 3)
        self.kind, self.lrs, self.trace = optimizer, lrs, []

    def forward(self, images):
        return self.head(self.body(images.flatten(1)))

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.loss = loss.item()
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def on_before_optimizer_step(self, optimizer):
        rates = tuple(group["lr"] for group in optimizer.param_groups)
        self.trace.append((depth_of(self), modes_of(self), rates, self.loss))

    def configure_optimizers(self):
        groups = [LayerGroup(path, tuple(names_below(self, path))) for path in STAGES]
        made = param_groups(self, groups=groups, rates=self.lrs)
        return torch.optim.SGD(made, momentum=0.9, weight_decay=0.1) if self.kind == "sgd" else torch.optim.AdamW(made)


def names_below(module, path):
    return [name for name, _ in module.named_parameters() if name.startswith(f"{path}.")]


def depth_of(module):
    """How many groups train, and nothing in between: a group trains as a whole."""
    trains = [{p.requires_grad for p in module.get_submodule(path).parameters()} for path in STAGES]
    depth = sum(True in group for group in trains)
    assert trains == [{False}] * (4 - depth) + [{True}] * depth
    return depth


def modes_of(module):
    """Whether everything in each group is in training mode: 0 nothing, 1 all, between: some."""
    parts = [list(module.get_submodule(path).modules()) for path in STAGES]
    return tuple(sum(part.training for part in of) / len(of) for of in parts)


def data():
    return build(SyntheticConfig(n_train=26, n_val=6, n_test=6, size=6, classes=3, batch_size=6, flip=True), seed=3)


def fit(*callbacks, module=None, unfreezing=None, ckpt=None, loader=None, **options):
    """A run of three epochs of four steps; groups join after the steps 3, 4 and 9 unless told otherwise."""
    module = module or Deep()
    unfreezing = unfreezing or GradualUnfreezing(at=[0.75, 1, 2.25])
    saves = any(isinstance(c, ModelCheckpoint) for c in callbacks)
    called = [StepSeed(1), unfreezing, *callbacks, ParamScheduler(OneCycle())]
    trainer = quiet_trainer(callbacks=called, enable_checkpointing=saves, **{"max_epochs": 3, **options})
    source = {"datamodule": data()} if loader is None else {"train_dataloaders": loader}
    trainer.fit(module, **source, ckpt_path=ckpt, weights_only=True)
    return module, trainer


def left(module, trainer):
    """Everything a run leaves in tensors."""
    state = trainer.optimizers[0].state
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return tensors | {f"{n} {k}": torch.as_tensor(v) for n, p in module.named_parameters() for k, v in state[p].items()}


def same(one, other):
    assert one.keys() == other.keys()
    assert [name for name, tensor in one.items() if not torch.equal(tensor, other[name])] == []


class SaveAtEnds(Callback):
    """Saves where a checkpoint by steps does not: at the end of an epoch, and of a validation."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.save_checkpoint(self.folder / f"epoch-{trainer.global_step}.ckpt", weights_only=False)

    def on_validation_end(self, trainer, pl_module):
        trainer.save_checkpoint(self.folder / f"validation-{trainer.global_step}.ckpt", weights_only=False)


# -- what trains when ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "depths"),
    [
        ({}, [1] * 4 + [2] * 4 + [3] * 2),  # after every epoch; the run is cut short before the third
        ({"every": 0.5}, [1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 4, 4]),
        ({"at": [0.75, 1, 2.25]}, [1, 1, 1, 2, 3, 3, 3, 3, 3, 4, 4, 4]),
        ({"at": [1, 1]}, [1] * 4 + [3] * 8),
        ({"fractions": [0.25, 0.5]}, [1] * 3 + [2] * 3 + [3] * 6),
        ({"all_at": 1}, [1] * 4 + [4] * 8),
        ({"all_at": 2, "start": 2}, [2] * 8 + [4] * 4),
    ],
    ids=str,
)
def test_every_step_trains_the_groups_of_the_plan(plan, depths):
    options = {} if plan else {"max_steps": 10}
    module, _ = fit(unfreezing=GradualUnfreezing(**plan), **options)
    assert [step[0] for step in module.trace] == depths
    assert [step[1] for step in module.trace] == [(0.0,) * (4 - depth) + (1.0,) * depth for depth in depths]


@pytest.mark.parametrize("accumulate", [2, 3])
def test_steps_are_optimizer_steps(accumulate):
    module, _ = fit(unfreezing=GradualUnfreezing(at=[0.5, 2]), accumulate_grad_batches=accumulate)
    assert [step[0] for step in module.trace] == [1, 2, 2, 2, 3, 3]


def test_what_is_frozen_does_not_move_and_what_trains_does(tmp_path):
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    module, _ = fit(saver)
    weights = [dict(Deep().state_dict())]
    weights += [torch.load(tmp_path / f"step={i}.ckpt", weights_only=True)["state_dict"] for i in range(1, 13)]
    for step, (before, after) in enumerate(pairwise(weights)):
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        paths = STAGES[4 - module.trace[step][0] :]
        trains = {name for name in before if name.startswith(tuple(f"{path}." for path in paths))}
        assert {name for name in trains if name.endswith(("0.weight", "head.weight", "running_var"))} <= moved <= trains


def test_it_is_the_loop_by_hand():
    """Gradients, momentum, weight decay: against plain torch, with nothing but requires_grad and eval()."""
    module, _ = fit(unfreezing=GradualUnfreezing(at=[1, 2]))
    twin = Deep()
    optimizer, source = twin.configure_optimizers(), data()
    source.setup("fit")
    step, seed, plan = 0, StepSeed(1), OneCycle().bind(Horizon.of_epochs([STEPS] * 3))
    loader = source.train_dataloader()
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        for path in STAGES[: 3 - epoch]:
            twin.get_submodule(path).requires_grad_(False).eval()
        for path in STAGES[3 - epoch :]:
            twin.get_submodule(path).requires_grad_(True).train()
        for index, batch in enumerate(loader):
            images, labels = source.on_after_batch_transfer(batch, 0)
            clock = SimpleNamespace(current_epoch=epoch, global_rank=0)
            seed.on_train_batch_start(clock, twin, None, index)
            _, _, rates, loss = module.trace[step]
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"], group["momentum"] = rate, plan.momentum(step)
            optimizer.zero_grad()
            value = nn.functional.cross_entropy(twin(images), labels)
            assert value.item() == loss
            value.backward()
            optimizer.step()
            step += 1
    same(dict(module.named_parameters()), dict(twin.named_parameters()))
    same(dict(module.named_buffers()), dict(twin.named_buffers()))


def test_all_from_the_first_step_is_the_run_without_it():
    with_it, trainer = fit(unfreezing=GradualUnfreezing(all_at=1e-6))
    plain = Deep()
    without = quiet_trainer(callbacks=[StepSeed(1), ParamScheduler(OneCycle())], max_epochs=3)
    without.fit(plain, datamodule=data())
    assert [step[2:] for step in with_it.trace] == [step[2:] for step in plain.trace]
    same(left(with_it, trainer), left(plain, without))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_momenta_of_what_trains_are_kept_and_others_do_not_exist_yet(optimizer, tmp_path):
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    fit(saver, module=Deep(optimizer))
    key = {"sgd": "momentum_buffer", "adamw": "exp_avg"}[optimizer]

    def momenta(step):
        state = torch.load(tmp_path / f"step={step}.ckpt", weights_only=True)["optimizer_states"][0]["state"]
        return {index: entry[key] for index, entry in state.items() if entry[key] is not None}

    assert len(momenta(3)) == 2  # weight and bias of the head
    assert len(momenta(4)) == 2 + 3
    assert len(momenta(12)) == 2 + 3 * 3
    if optimizer == "adamw":
        counts = torch.load(tmp_path / "step=12.ckpt", weights_only=True)["optimizer_states"][0]["state"]
        assert [int(counts[i]["step"]) for i in sorted(counts)] == [3] * 3 + [8] * 3 + [9] * 3 + [12] * 2


# -- what frozen parts still do --------------------------------------------------------------------------------------


class Statistics(Callback):
    """Running means of the first BatchNorm and the inputs it met, while it is frozen."""

    def __init__(self):
        self.means, self.inputs = [], []

    def on_train_start(self, trainer, pl_module):
        self.means.append(pl_module.body[0][1].running_mean.clone())
        pl_module.body[0][1].register_forward_pre_hook(
            lambda part, args: self.inputs.append(args[0].detach()) if pl_module.training else None
        )

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.means.append(pl_module.body[0][1].running_mean.clone())


@pytest.mark.parametrize("policy", ["frozen", "stats", "train"])
def test_batchnorm_of_frozen_groups(policy):
    seen, module = Statistics(), Deep()
    norm, linear = module.body[0][1], module.body[0][0].weight.clone()
    unfreezing = GradualUnfreezing(at=[1], batchnorm=policy)
    trainer = quiet_trainer(callbacks=[StepSeed(1), unfreezing, seen], max_epochs=2)
    module.on_before_optimizer_step = lambda optimizer: None
    trainer.fit(module, datamodule=data())
    assert torch.equal(module.body[0][0].weight, linear)
    for before, after, x in zip(seen.means[:-1], seen.means[1:], seen.inputs, strict=True):
        if policy == "frozen":
            assert torch.equal(before, after)
        else:
            torch.testing.assert_close(after, 0.9 * before + 0.1 * x.mean(0))
            assert not torch.equal(before, after)
    assert torch.equal(norm.weight, torch.ones(8)) == (policy != "train")
    assert all(parameter.requires_grad for parameter in module.parameters())  # the next fit finds them so


@pytest.mark.parametrize("policy", ["frozen", "stats"])
def test_there_is_no_backward_pass_through_a_frozen_body(policy):
    depths = {}

    class Look(Callback):
        def on_before_backward(self, trainer, pl_module, loss):
            depths[trainer.global_step] = leaves(loss.grad_fn, {id(p): n for n, p in pl_module.named_parameters()})

    fit(Look(), unfreezing=GradualUnfreezing(at=[1], batchnorm=policy), max_epochs=2)
    assert depths[0] == {"head.weight", "head.bias"}
    assert depths[4] == depths[0] | set(names_below(Deep(), "body.2"))


def leaves(node, names):
    """The parameters that autograd will reach from here."""
    found, todo, seen = set(), [node], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(names[id(node.variable)])
        todo += [child for child, _ in node.next_functions]
    return found


class Waker(Deep):
    """Somebody else's module that sets its mode whenever it likes."""

    def on_train_epoch_start(self):
        self.train()

    def on_validation_end(self):
        self.train()


@pytest.mark.parametrize("module", [Deep, Waker])
def test_modes_hold_through_validations_and_through_train(module):
    plain, _ = fit()
    woken, _ = fit(module=module(), val_check_interval=2, num_sanity_val_steps=1)
    assert [step[:2] for step in woken.trace] == [step[:2] for step in plain.trace]
    assert all(part.training for part in woken.modules())  # as it was before


def test_a_range_test_inside_leaves_no_trace_and_tests_the_depth_of_its_step(tmp_path):
    depths = []

    class Spy(Deep):
        def training_step(self, batch, batch_idx):
            depths.append((self.trainer.global_step, depth_of(self)))
            return super().training_step(batch, batch_idx)

        def on_before_optimizer_step(self, optimizer):
            if self.trainer.callbacks:  # a range test has none
                super().on_before_optimizer_step(optimizer)

    options = {"unfreezing": GradualUnfreezing(at=[1, 2])}
    finder = LRFinder(at=[0, 1, 2], num_steps=10, max_lr=1.0, folder=tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LR finder.*")
        tested, one = fit(finder, module=Spy(), **options)
    plain, two = fit(unfreezing=GradualUnfreezing(at=[1, 2]))
    assert len(finder.found) == 3
    assert len(depths) > 12
    assert all(depth == 1 + step // 4 for step, depth in depths)
    assert tested.trace == plain.trace
    same(left(tested, one), left(plain, two))


# -- resume ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "options"),
    [
        ({"at": [0.75, 1, 2.25]}, {}),
        ({"at": [1, 2]}, {"val_check_interval": 2}),
        ({"fractions": [0.25, 0.5], "batchnorm": "stats"}, {"accumulate_grad_batches": 2}),
        ({"all_at": 1, "batchnorm": "train"}, {"limit_val_batches": 0}),
    ],
    ids=str,
)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_run_resumed_anywhere_is_the_straight_run(plan, options, optimizer, tmp_path):
    saver = ModelCheckpoint(tmp_path, "step-{step}", every_n_train_steps=1, save_top_k=-1)

    def make():
        return {"module": Loose(optimizer), "unfreezing": GradualUnfreezing(**plan), **options}

    straight, trainer = fit(saver, SaveAtEnds(tmp_path), **make())
    checkpoints = sorted(tmp_path.glob("*.ckpt"))
    assert len(checkpoints) >= 9
    for ckpt in checkpoints:
        resumed, again = fit(ckpt=ckpt, **make())
        step = torch.load(ckpt, weights_only=True)["global_step"]
        assert resumed.trace == straight.trace[step:], ckpt.name
        same(left(resumed, again), left(straight, trainer))


class Loose(Deep):
    """Writes the whole map down: with ``batchnorm=train`` a frozen group has parameters that train."""

    def on_before_optimizer_step(self, optimizer):
        trains = tuple(name for name, p in self.named_parameters() if p.requires_grad)
        rates = tuple(group["lr"] for group in optimizer.param_groups)
        self.trace.append((trains, tuple(part.training for part in self.modules()), rates, self.loss))


def test_resume_with_another_plan_is_a_choice(tmp_path):
    fit(ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=6, save_top_k=-1))
    ckpt = tmp_path / "step=6.ckpt"

    def resumed(plan, **options):
        called = [StepSeed(1), GradualUnfreezing(**plan)]
        module = Deep()
        trainer = quiet_trainer(callbacks=called, **{"max_epochs": 3, **options})
        trainer.fit(module, datamodule=data(), ckpt_path=ckpt, weights_only=True)
        return [step[0] for step in module.trace]

    with pytest.raises(ValueError, match=r"planned as Unfreezing\(.*\) over 12 steps and the layer groups body.0, b"):
        resumed({"at": [1, 2]})
    with pytest.raises(ValueError, match=r"and this run is .* over 16 and .*: other layers would train. Run it as it"):
        resumed({"at": [0.75, 1, 2.25]}, max_epochs=4)
    with pytest.raises(ValueError, match=r"on_resume='keep'\) follows the old length, on_resume='replan' the new plan"):
        resumed({"at": [1, 2], "groups": 3})
    assert resumed({"at": [1, 2], "on_resume": "replan"}) == [2] * 2 + [3] * 4
    assert resumed({"at": [0.75, 1, 2.25], "on_resume": "keep"}, max_epochs=4) == [3] * 3 + [4] * 7


def test_a_second_fit_starts_its_plan_anew(tmp_path):
    module, unfreezing = Deep(), GradualUnfreezing(at=[1, 2])
    trainer = quiet_trainer(callbacks=[unfreezing], max_epochs=3)
    trainer.fit(module, datamodule=data())
    trainer.fit_loop.max_epochs = 6
    trainer.fit(module, datamodule=data())
    assert [step[0] for step in module.trace] == ([1] * 4 + [2] * 4 + [3] * 4) * 2


# -- groups, tables, refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "groups",
    [
        None,
        "stages",
        4,
        [r"body\.0", r"body\.1", r"body\.2", "head"],
        {"a": r"body\.0", "b": r"body\.1", "c": r"body\.2", "d": "head"},
        lambda module: [LayerGroup(path, tuple(names_below(module, path))) for path in STAGES],
    ],
    ids=["none", "stages", "number", "patterns", "names", "function"],
)
def test_groups_may_be_given_in_many_ways(groups):
    module, _ = fit(unfreezing=GradualUnfreezing(every=0.5, groups=groups), limit_train_batches=4)
    assert [step[0] for step in module.trace] == [1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 4, 4]


def test_the_modules_own_groups_come_first():
    module = Deep()
    body = tuple(name for name in names_below(module, "body"))
    module.layer_groups = [LayerGroup("body", body), LayerGroup("head", ("head.weight", "head.bias"))]
    unfreezing = GradualUnfreezing(at=[1])
    fit(module=module, unfreezing=unfreezing)
    assert [group.name for group in unfreezing.groups] == ["body", "head"]
    assert [step[0] for step in module.trace] == [1] * 4 + [4] * 8


def test_parameters_that_no_optimizer_has_are_left_alone():
    class WithTeacher(Deep):
        def __init__(self):
            super().__init__()
            self.teacher = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).requires_grad_(False).eval()
            self.scorer = nn.Linear(4, 4)  # trained elsewhere

        def configure_optimizers(self):
            return torch.optim.SGD([*self.body.parameters(), *self.head.parameters()], lr=0.1)

    module, unfreezing = WithTeacher(), GradualUnfreezing(groups={"body": "body", "head": "head", "rest": "teach|scor"})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*eval mode.*")
        fit(module=module, unfreezing=unfreezing)
    assert [group.name for group in unfreezing.groups] == ["body", "head"]
    assert not any(part.training for part in module.teacher.modules())
    assert all(p.requires_grad for p in module.scorer.parameters())


def test_the_table(capsys):
    fit(GroupTable(), unfreezing=GradualUnfreezing(at=[1, 2]))
    assert capsys.readouterr().out.splitlines() == [
        "layer groups",
        "group   parameters  lr    trainable  weight decay",
        "body.0  880         0.01  no         0.1, 0.0",
        "body.1  80          0.02  no         0.1, 0.0",
        "body.2  80          0.05  no         0.1, 0.0",
        "head    27          0.1   yes        0.1, 0.0",
    ]


def test_depth_is_told_and_logged(capsys, caplog):
    from witness import Memory

    memory = Memory()
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        fit(unfreezing=GradualUnfreezing(at=[1, 1, 2]), logger=memory)
    assert [line for line in memory.lines if "depth" in line[1]] == [(4, {"depth": 3}), (8, {"depth": 4})]
    assert "step 4: body.1, body.2 join, 3 of 4 layer groups train" in caplog.text


def test_refusals():
    def refused(text, plan=None, module=None, **options):
        with pytest.raises(ValueError, match=text):
            fit(unfreezing=GradualUnfreezing(**(plan or {})), module=module, **options)

    class Manual(Deep):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

    class HeadOnly(Deep):
        def configure_optimizers(self):
            return torch.optim.SGD(self.head.parameters(), lr=0.1)

    refused(r"Manual optimizes manually, so nobody can tell which step it is at; set automatic_opt", module=Manual())
    refused(r"HeadOnly has 1 layer group in its optimizer, so there is nothing to unfreeze", module=HeadOnly())
    refused(r"groups must be between 2 and 4, the layers of this Deep \(got 5\)", {"groups": 5})
    refused(r"1 of the 3 unfreezes of callbacks.gradual_unfreezing would come at or after the end of a run of 3 epoch")
    refused(r"start must be < 4, the number of layer groups \(got 4\)", {"start": 4})
    refused(r"batchnorm must be one of frozen, stats, train \(got 'eval'\)", {"batchnorm": "eval"})
    refused(r"on_resume must be one of same, keep, replan \(got 'no'\)", {"on_resume": "no"})
    fit(unfreezing=GradualUnfreezing(), fast_dev_run=True)  # cut short: what comes too late does not come


def test_sharded_strategies_and_static_graphs_are_refused():
    class Sharded(DDPStrategy):
        pass

    for strategy, name in ((FSDPStrategy(), "FSDPStrategy"), (Sharded(), "Sharded")):
        with pytest.raises(ValueError, match=rf"{name} has laid out the weights by then; train on one device or with"):
            refuse_sharded(SimpleNamespace(strategy=strategy))
    strategy = DDPStrategy()
    strategy.model = SimpleNamespace(static_graph=True)
    with pytest.raises(ValueError, match=r"DDP was promised a static one \(static_graph=True\); leave static"):
        refuse_sharded(SimpleNamespace(strategy=strategy))


class Endless(IterableDataset):
    def __iter__(self):
        return iter(toy_loader(samples=400, batch_size=1).dataset)


def test_data_without_a_length():
    def run(**options):
        module = Toy()
        depths = []
        module.on_before_optimizer_step = lambda optimizer: depths.append(module.body[0].weight.requires_grad)
        callback = GradualUnfreezing(**options)
        quiet_trainer(callbacks=[callback], max_steps=10).fit(module, DataLoader(Endless(), batch_size=8))
        return depths

    assert run(fractions=[0.3]) == [False] * 3 + [True] * 7
    assert run(at=[0.5], steps_per_epoch=8) == [False] * 4 + [True] * 6
    with pytest.raises(ValueError, match=r"unfreezing.every is in epochs and this run has none, because its data"):
        run()


# -- two processes ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes(tmp_path):
    """DDP over gloo: after every step both ranks hold the weights of one process with the whole batch."""
    script = Path(__file__).with_name("ddp_gradual_unfreezing.py")
    env = {**os.environ, "PYTHONPATH": str(script.parents[1])}
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, timeout=240, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = {path.stem: torch.load(path, weights_only=True) for path in tmp_path.glob("*.pt")}
    for one, other, alone in zip(runs["ddp-0"], runs["ddp-1"], runs["alone"], strict=True):
        assert one["trains"] == other["trains"] == alone["trains"]
        same(one["weights"], other["weights"])
        for name, weight in one["weights"].items():
            torch.testing.assert_close(weight, alone["weights"][name], rtol=1e-5, atol=1e-6)
    assert [len(step["trains"]) for step in runs["alone"]] == [2, 2, 4, 4, 4, 6, 8, 8]
    said = [runs[f"apart-{rank}"] for rank in "01"]
    assert said[0] == said[1]
    assert said[0].startswith("after a change of depth the processes train different weights: head.weight;")
