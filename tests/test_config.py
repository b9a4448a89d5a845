"""conf/ and the schemas say the same; every option of every group becomes a checked object."""

from dataclasses import MISSING, asdict, fields
from importlib.metadata import distributions
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from lightcycle.app.schema import GROUPS, PROJECT, RootConfig, direction, register
from lightcycle.app.settings import DEFAULT_EPOCHS, read
from lightcycle.schedules import SCHEDULES

CONF = PROJECT / "conf"
OPTIONS = [
    (folder.name, file.stem)
    for folder in sorted(CONF.iterdir())
    if folder.is_dir() and folder.name != "hydra"
    for file in sorted(folder.glob("*.yaml"))
]


@pytest.fixture
def composed(tmp_path):
    """Composes as the command line does; ``hydra:`` can be asked."""
    register()

    def make(*overrides, name="train"):
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            config = compose(name, [*overrides, f"hydra.run.dir={tmp_path}"], return_hydra_config=True)
        OmegaConf.set_readonly(config.hydra, False)
        config.hydra.runtime.output_dir = str(tmp_path)
        HydraConfig.instance().set_config(config)
        return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])

    yield make
    HydraConfig.instance().cfg = None


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_is_checked(group, option, composed):
    if (group, option) == ("sweep", "optuna") and not any(d.name == "hydra-optuna-sweeper" for d in distributions()):
        pytest.skip('needs the extra: pip install -e ".[optuna]"')
    added = "+" if group == "callbacks" and option != "checkpoint" else ""
    settings = read(composed(f"{added}{group}={option}"))
    for name in GROUPS:
        schemas = tuple(GROUPS[name].values())
        assert isinstance(getattr(settings, name), schemas)


@pytest.mark.parametrize("option", [option for group, option in OPTIONS if group in ("callbacks", "logger")])
def test_every_callback_and_logger_can_be_built(option, composed, tmp_path):
    from lightning.pytorch import Callback
    from lightning.pytorch.loggers import Logger

    from lightcycle.app.build import entries

    group = next(group for group, name in OPTIONS if name == option)
    config = composed(f"{'+' * (option not in ('checkpoint', 'csv'))}{group}={option}")
    built = entries(config[group], group)
    assert option in built
    assert all(isinstance(each, Callback if group == "callbacks" else Logger) for each in built.values())


@pytest.mark.parametrize("option", sorted(SCHEDULES))
def test_the_yaml_of_a_schedule_is_its_dataclass(option, composed):
    written = OmegaConf.load(CONF / "schedule" / f"{option}.yaml")
    keys = [key for key in written if key != "defaults"]
    assert sorted(keys) == sorted(f.name for f in fields(SCHEDULES[option]))
    assert asdict(read(composed(f"schedule={option}")).schedule) == asdict(SCHEDULES[option]())


def test_there_is_a_yaml_for_every_schema():
    named = {"snapshot"}  # another policy's schema with values of its own
    assert {option for group, option in OPTIONS if group == "schedule"} == set(SCHEDULES) | named
    for group in ("data", "optimizer"):
        assert {option for g, option in OPTIONS if g == group} == set(GROUPS[group])
    assert {option for group, option in OPTIONS if group == "model"} >= set(GROUPS["model"])


def test_the_yaml_of_the_top_level_is_its_dataclass(composed):
    config = composed()
    assert set(config) == {f.name for f in fields(RootConfig)}
    for f in fields(RootConfig):
        if f.default not in (MISSING, None):
            assert config[f.name] == f.default, f.name


def test_the_yaml_of_the_trainer_is_its_dataclass(composed):
    schema = GROUPS["trainer"]["base"]
    assert OmegaConf.to_object(composed().trainer) == schema()


@pytest.mark.parametrize("file", sorted(CONF.rglob("*.yaml")), ids=lambda file: str(file.relative_to(CONF)))
def test_a_yaml_starts_with_what_it_is(file: Path):
    first = file.read_text().splitlines()[0]
    assert first.startswith("# ")


def test_natural_lengths_and_stretching(composed):
    def run(*overrides):
        settings = read(composed(*overrides))
        return settings.epochs, settings.schedule

    assert run() == (7.0, SCHEDULES["sgdr"]())
    assert run("schedule.cycles=2", "schedule.warmup=1")[0] == 4.0
    assert run("schedule=clr")[0] == 8.0
    assert run("schedule=one_cycle")[0] == DEFAULT_EPOCHS
    assert run("epochs=10") == (10.0, SCHEDULES["sgdr"](cycle_len=None))
    assert run("epochs=2.5", "schedule=clr") == (2.5, SCHEDULES["clr"](step_size=None))
    # what is in epochs stays in epochs: nothing to stretch
    assert run("epochs=3", "schedule=step", "schedule.milestones=[1,2]") == (3.0, SCHEDULES["step"](milestones=[1, 2]))


def test_the_rate_is_the_optimizers_unless_given(composed):
    assert [read(composed(f"optimizer={name}")).lr for name in ("sgd", "adamw", "adagrad")] == [0.1, 0.001, 0.01]
    assert read(composed("optimizer=adamw", "lr=3")).lr == 3.0
    assert isinstance(read(composed("lr=3")).lr, float)


def test_a_loss_is_better_when_it_is_small(composed):
    assert (direction("val/acc"), direction("val/loss"), direction("train/loss_epoch")) == ("max", "min", "min")
    for metric, mode in (("val/acc", "max"), ("val/loss", "min")):
        config = composed("+callbacks=early_stopping", f"monitor={metric}")
        assert (config.callbacks.checkpoint.mode, config.callbacks.early_stopping.mode) == (mode, mode)
        assert read(composed("schedule=plateau", f"schedule.monitor={metric}")).schedule.mode == mode
    assert composed("callbacks.checkpoint.monitor=val/loss").callbacks.checkpoint.mode == "min"


def test_settings_hide_no_mistake_of_ours(composed):
    settings = read(composed())
    assert settings.seed == 0
    with pytest.raises(AttributeError, match="sede"):
        _ = settings.sede


def test_the_plan_takes_what_training_takes(composed):
    assert composed(name="plan") == composed(name="train")
