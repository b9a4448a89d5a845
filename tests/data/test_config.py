import pickle
from dataclasses import fields
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, ValidationError

from lightcycle.data.config import CONFIGS, ArraysConfig, DigitsConfig, ImageFolderConfig, SyntheticConfig
from lightcycle.data.rules import RULES

YAML = Path(__file__).parents[2] / "conf" / "data"


@pytest.mark.parametrize(
    ("config", "values", "sentence"),
    [
        (DigitsConfig, {"batch_size": 0}, "data.batch_size must be >= 1 (got 0); 64 is usual."),
        (
            DigitsConfig,
            {"size": 0},
            "data.size must be pixels, [height, width] or null (got 0); null keeps the stored size.",
        ),
        (DigitsConfig, {"size": [8, 8, 8]}, "data.size must be pixels, [height, width] or null (got [8, 8, 8])"),
        (DigitsConfig, {"size": "big"}, "data.size must be pixels, [height, width] or null (got 'big')"),
        (DigitsConfig, {"size": True}, "data.size must be pixels, [height, width] or null (got True)"),
        (DigitsConfig, {"limit": 0}, "data.limit must be >= 1 or null (got 0); null uses every training image."),
        (DigitsConfig, {"eval_batch_size": 0}, "data.eval_batch_size must be >= 1 or null (got 0)"),
        (DigitsConfig, {"val_size": 0}, "data.val_size must be a fraction below 1 or a whole number of images (got 0)"),
        (
            DigitsConfig,
            {"val_size": 1.5},
            "data.val_size must be a fraction below 1 or a whole number of images (got 1.5)",
        ),
        (DigitsConfig, {"split_seed": -1}, "data.split_seed must be >= 0 (got -1)"),
        (DigitsConfig, {"crop": -1}, "data.crop must be >= 0 pixels of padding (got -1); 0 is off"),
        (
            DigitsConfig,
            {"erase": 1.1},
            "data.erase must be a probability in [0, 1] (got 1.1); 0 is off, 0.25 is usual.",
        ),
        (DigitsConfig, {"name": ""}, "data.name must be the name of a set (got ''); digits is the embedded one."),
        (ArraysConfig, {"path": ""}, "data.path must be an .npz file (got ''); for example data.path="),
        (ImageFolderConfig, {"root": ""}, "data.root must be a folder (got ''); for example data.root="),
        (ImageFolderConfig, {"on_bad": "ignore"}, "data.on_bad must be error or skip (got 'ignore'); skip leaves"),
        (ImageFolderConfig, {"scale": [0.5, 1.5]}, "data.scale must be 0 < low <= high <= 1 (got [0.5, 1.5])"),
        (ImageFolderConfig, {"ratio": [2, 1]}, "data.ratio must be 0 < low <= high (got [2, 1])"),
        (ImageFolderConfig, {"test_size": -1}, "data.test_size must be a fraction below 1 or a whole number"),
        (
            ImageFolderConfig,
            {"num_workers": -1},
            "data.num_workers must be >= 0 or null (got -1); null is one per core.",
        ),
        (ImageFolderConfig, {"mean": [0.5]}, "data.mean must be three numbers in 0..1 units (got [0.5])"),
        (ImageFolderConfig, {"std": [1, 1, 0]}, "data.std must be three numbers > 0 (got [1, 1, 0])"),
        (ImageFolderConfig, {"size": None}, "data.size must be pixels or [height, width] for image_folder (got None)"),
        (SyntheticConfig, {"size": None}, "data.size must be pixels or [height, width] for synthetic (got None)"),
        (SyntheticConfig, {"n_train": 0}, "data.n_train must be >= 1 (got 0); 1000 is usual."),
        (SyntheticConfig, {"n_val": 0}, "data.n_val must be >= 1 (got 0); 200 is usual."),
        (SyntheticConfig, {"n_test": 0}, "data.n_test must be >= 1 (got 0); 200 is usual."),
        (SyntheticConfig, {"classes": 1}, "data.classes must be >= 2 (got 1); 10 is usual."),
        (SyntheticConfig, {"channels": 2}, "data.channels must be 1 or 3 (got 2); 3 is color."),
    ],
)
def test_errors_teach(config, values, sentence):
    with pytest.raises(ValueError, match="must be") as error:
        config(**values)
    assert str(error.value).startswith(sentence)
    assert str(error.value).endswith(".")


def test_every_rule_belongs_to_a_key():
    keys = {f.name for config in CONFIGS.values() for f in fields(config)}
    assert set(RULES) <= keys
    assert keys - set(RULES) == {"drop_last", "flip", "check", "download"}  # booleans need no range


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_schema_and_object(name):
    schema = OmegaConf.structured(CONFIGS[name])
    config = OmegaConf.to_object(OmegaConf.merge(schema, {"batch_size": 7, "limit": 5}))
    assert type(config) is CONFIGS[name]
    assert (config.name, config.batch_size, config.limit) == (name, 7, 5)
    assert pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(ConfigKeyError):
        OmegaConf.merge(schema, {"batchsize": 7})
    with pytest.raises(ValidationError):
        OmegaConf.merge(schema, {"batch_size": "many"})


def test_digits_are_not_mirrored():
    assert not any(CONFIGS[name]().flip for name in ("digits", "mnist", "kmnist"))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_yaml_file_fits_its_schema(name):
    text = (YAML / f"{name}.yaml").read_text()
    assert [line.split(":")[0] for line in text.splitlines()[:3]] == ["# What", "# Source", "# Units"]
    OmegaConf.register_new_resolver("project", lambda path: f"/repository/{path}", replace=True)
    content = OmegaConf.create(text)
    assert content.pop("defaults") == [f"/schema/data/{name}@_here_", "_self_"]
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(CONFIGS[name]), content))
    assert config.name == name
    where = getattr(config, "root", getattr(config, "path", None))
    assert where is None or where.startswith("/repository/data")


def test_there_is_a_yaml_file_for_every_set():
    assert {path.stem for path in YAML.glob("*.yaml")} == set(CONFIGS)
