"""Reads the documents: their code, their commands, and what a command composes to."""

import re
import shlex
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from lightcycle.app import command, recipe
from lightcycle.app.schema import PROJECT
from lightcycle.app.settings import Settings

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = re.compile(r"python (?:train|scripts/(?:bench/)?\w+)\.py\b(?!.* -sc |.*<TAB>).*")
FLAGS = ("-m", "--cfg", "job", "--resolve", "--info", "defaults", "--help", "...")
OWN_ARGUMENTS = ("bench/", "compare.py")
"""Scripts that parse their arguments themselves."""
EXTRAS = {
    "sweep=optuna": "hydra-optuna-sweeper",
    "joblib": "hydra-joblib-launcher",
    "submitit": "hydra-submitit-launcher",
    "launcher=slurm": "hydra-submitit-launcher",
}
INSTALLED = {d.name for d in distributions()}


def fenced(text: str, *languages: str) -> list[str]:
    """The blocks of code in these languages; "" is none."""
    return [block for language, block in FENCE.findall(text) if language in languages]


def inline(text: str) -> list[str]:
    """The pieces of code inside sentences and tables."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def commands(path: Path) -> list[str]:
    """The commands of a document, in blocks and in sentences."""
    text = path.read_text(encoding="utf-8")
    lines = [line for block in fenced(text, "", "bash") for line in block.replace("\\\n", "").splitlines()]
    return [line for line in [*lines, *inline(text)] if RUN.match(line)]


def rows(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """The rows of migrating.md's tables: their call, our commands with their beginning, our Python."""
    for line in text.splitlines():
        if line.count("|") == 4 and not line.startswith("|---"):
            theirs, ours, python = line.split("|")[1:4]
            found = [code if code.startswith("python ") else f"python train.py {code}" for code in _overrides(ours)]
            yield theirs.strip(), found, [code for code in inline(python) if re.match(r"[A-Za-z_]\w*\(", code)]


def _overrides(cell: str) -> list[str]:
    return [code for code in inline(cell) if "=" in code or code.startswith("python scripts/")]


def of_help(text: str) -> list[str]:
    """The examples of --help, and what it lists as overrides: `  key=value   what it is`."""
    lines = text.splitlines()
    found = [re.split(r"\s{2,}", match[0])[0] for line in lines if (match := RUN.search(line))]
    listed = [re.split(r"\s{2,}", line.strip())[0] for line in lines if re.match(r"  [\w+~'-][^ ]*=", line)]
    return [*found, *(f"python train.py {override}" for override in listed)]


def read(line: str, folder: Path) -> list[Settings]:
    """Composes a command as it stands and holds it against the rules; the settings of its last job's stages.

    Nothing for commands that do not train, or that need an extra which is not there.
    """
    _, script, *arguments = shlex.split(line, comments=True)
    if not (PROJECT / script).exists():
        raise ValueError(f"there is no {script}")
    lacking = any(word in line and extra not in INSTALLED for word, extra in EXTRAS.items())
    if lacking or any(name in script for name in OWN_ARGUMENTS):
        return []
    stages: list[Settings] = []
    for job in spread([command.quoted(argument) for argument in arguments if argument not in FLAGS]):
        with initialize_config_dir(version_base="1.3", config_dir=str(PROJECT / "conf")):
            config = compose(Path(script).stem, job, return_hydra_config=True)
        OmegaConf.set_readonly(config.hydra, False)
        config.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(config)
        if "data" in config:
            stages = recipe.read(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))
    return stages


def spread(overrides: list[str]) -> list[list[str]]:
    """The overrides of each job of a sweep, until every value was in one; a search among all numbers is left out."""
    parsed = [each for each in OverridesParser.create().parse_overrides(overrides) if not each.is_interval_sweep()]
    values = [
        [f"{each.get_key_element()}={value}" for value in each.sweep_string_iterator()]
        if each.is_sweep_override()
        else [each.input_line]
        for each in parsed
    ]
    return [[options[job % len(options)] for options in values] for job in range(max(map(len, values), default=1))]
