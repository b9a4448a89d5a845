import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, ValidationError

from lightcycle.models import MODELS, OPTIMIZERS, MLPConfig, ResNetConfig, SGDConfig, TorchvisionConfig

REFUSED = [
    (lambda: MLPConfig(hidden=[32, 0]), "model.hidden must be sizes >= 1 (got [32, 0]); [256, 128] is the default"),
    (lambda: MLPConfig(dropout=1.0), "model.dropout must be in [0, 1) (got 1.0); 0 switches it off"),
    (lambda: ResNetConfig(width=2), "model.width must be >= 4 (got 2); 16 is the default"),
    (lambda: ResNetConfig(blocks=0), "model.blocks must be >= 1 (got 0); 1 block a stage is the default"),
    (lambda: ResNetConfig(dropout=-0.1), "model.dropout must be in [0, 1) (got -0.1); 0 switches it off"),
    (
        lambda: TorchvisionConfig(name=""),
        "model.name must be a torchvision classifier (got ''); resnet18 is the default",
    ),
    (lambda: TorchvisionConfig(weights=""), "model.weights must be DEFAULT, a file or null (got ''); null trains from"),
    (lambda: TorchvisionConfig(dropout=2.0), "model.dropout must be in [0, 1) (got 2.0); 0 switches it off"),
    (lambda: SGDConfig(lr=0.0), "optimizer.lr must be > 0 and finite (got 0.0); 0.1 is the default"),
    (lambda: SGDConfig(lr=float("nan")), "optimizer.lr must be > 0 and finite (got nan); 0.1 is the default"),
    (lambda: SGDConfig(momentum=1.0), "optimizer.momentum must be in [0, 1) (got 1.0); 0.9 is the default"),
    (
        lambda: SGDConfig(momentum=0.0),
        "optimizer.momentum must be > 0 with Nesterov (got 0.0); or set optimizer.nesterov=false",
    ),
    (lambda: OPTIMIZERS["adam"](beta1=-0.1), "optimizer.beta1 must be in [0, 1) (got -0.1); 0.9 is the default"),
    (lambda: OPTIMIZERS["adam"](beta2=1.0), "optimizer.beta2 must be in [0, 1) (got 1.0); 0.999 is the default"),
    (lambda: OPTIMIZERS["adamw"](eps=0.0), "optimizer.eps must be > 0 and finite (got 0.0); 1e-08 is the default"),
    (lambda: OPTIMIZERS["adagrad"](eps=-1.0), "optimizer.eps must be > 0 and finite (got -1.0); 1e-10 is the default"),
    (
        lambda: OPTIMIZERS["adagrad"](weight_decay=-1.0),
        "optimizer.weight_decay must be >= 0 and finite (got -1.0); 0 is",
    ),
    (lambda: OPTIMIZERS["rmsprop"](alpha=1.5), "optimizer.alpha must be in [0, 1) (got 1.5); 0.99 is the default"),
    (lambda: OPTIMIZERS["rmsprop"](momentum=1.5), "optimizer.momentum must be in [0, 1) (got 1.5); 0 is the default"),
]


@pytest.mark.parametrize(
    ("make", "text"), REFUSED, ids=[text.split(" must")[0] + str(i) for i, (_, text) in enumerate(REFUSED)]
)
def test_a_value_out_of_range_is_refused_in_a_sentence(make, text):
    with pytest.raises(ValueError, match="must be") as error:
        make()
    assert str(error.value).startswith(text)


@pytest.mark.parametrize("schema", [*MODELS.values(), *OPTIMIZERS.values()])
def test_the_class_is_a_schema_and_the_schema_gives_the_object_back(schema):
    node = OmegaConf.structured(schema)
    assert OmegaConf.to_object(node) == schema()
    with pytest.raises(ConfigKeyError, match="not_a_key"):
        OmegaConf.merge(node, {"not_a_key": 1})


def test_the_schema_refuses_a_wrong_type():
    with pytest.raises(ValidationError, match="could not be converted to Integer"):
        OmegaConf.merge(OmegaConf.structured(ResNetConfig), {"width": "wide"})


def test_the_schema_refines_in_yaml():
    node = OmegaConf.merge(OmegaConf.structured(MLPConfig), {"hidden": [8]})
    assert OmegaConf.to_object(node) == MLPConfig(hidden=[8])


def test_configs_come_without_torch():
    code = "import sys, lightcycle.models; assert not {'torch', 'lightning', 'omegaconf'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


DEFAULTS = {
    "sgd": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}),
    "adam": (torch.optim.Adam, {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}),
    "adamw": (torch.optim.AdamW, {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}),
    "adagrad": (torch.optim.Adagrad, {"lr": 0.01, "eps": 1e-10, "weight_decay": 0.0}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 1e-3, "alpha": 0.99, "momentum": 0.0, "eps": 1e-8, "weight_decay": 0.0}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_steps_as_torch_does_with_the_same_numbers(name):
    kind, arguments = DEFAULTS[name]
    ours, theirs = (torch.nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    optimizers = OPTIMIZERS[name]().build([ours]), kind([theirs], **arguments)
    assert type(optimizers[0]) is type(optimizers[1])
    for _ in range(3):
        for weight, optimizer in zip((ours, theirs), optimizers, strict=True):
            weight.grad = weight.detach() ** 2
            optimizer.step()
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_lr_and_weight_decay_reach_torch(name):
    config = replace(OPTIMIZERS[name](), lr=0.25, weight_decay=0.125)
    group = config.build([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.25, 0.125)
