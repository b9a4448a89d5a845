"""The command line: Hydra's entry, and its errors said in one sentence."""

import difflib
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from lightcycle.app.schema import PROJECT, register


def main(config_name: str, job: Callable[[DictConfig], Any]) -> None:
    """Composes ``conf/CONFIG_NAME.yaml`` with the command line and runs the job; teaching errors end in one line.

    A stack of calls is printed for bugs only, or for everything with ``HYDRA_FULL_ERROR=1``.
    """
    register()
    wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting, and `sentence` can speak
    entry = hydra.main(version_base="1.3", config_path=str(PROJECT / "conf"), config_name=config_name)(job)
    try:
        entry()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if wanted or not is_lesson(error):
            raise
        sys.exit(f"error: {sentence(error)}")


def is_lesson(error: BaseException) -> bool:
    """Whether an error is about what the user typed: Hydra's, OmegaConf's, or a ValueError raised in this project."""
    if not isinstance(error, ValueError) or isinstance(error, HydraException | OmegaConfBaseException):
        return True
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and f"{os.sep}lightcycle{os.sep}" in trace.tb_frame.f_code.co_filename


def sentence(error: BaseException) -> str:
    """Hydra's and OmegaConf's errors as one sentence with the key, the value and a fix; others as they are."""
    text = _whole_text(error)
    for pattern, say in _LESSONS:
        if match := re.search(pattern, text, re.DOTALL):
            return say(*match.groups())
    return " ".join(str(error).split())


def _whole_text(error: BaseException | None) -> str:
    """The error and its causes: Hydra wraps OmegaConf's, which know the key."""
    parts = []
    while error is not None:
        parts.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(parts)


def _unknown_key(key: str, owner: str, path: str) -> str:
    fields = _fields_of(owner, path)
    close = difflib.get_close_matches(key, fields, n=1)
    hint = f"did you mean {path.rpartition('.')[0] + '.' if '.' in path else ''}{close[0]}? " if close else ""
    return f"{path} is not an option; {hint}There are: {', '.join(fields)}"


def _fields_of(owner: str, path: str) -> list[str]:
    from dataclasses import fields

    from lightcycle.app.schema import GROUPS, RootConfig

    schemas = [schema for group in GROUPS.values() for schema in group.values()] + [RootConfig]
    return sorted(f.name for schema in schemas if schema.__name__ == owner for f in fields(schema))


def _unknown_struct_key(key: str, path: str) -> str:
    return f"{path} is not an option here; to add a new key put a plus in front: +{path}=..."


def _wrong_type(value: str, given: str, wanted: str, path: str) -> str:
    kinds = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}
    return f"{path} must be {kinds.get(wanted, wanted)} (got {value!r})"


def _unknown_option(option: str, group: str, listed: str) -> str:
    options = sorted(listed.split())
    close = difflib.get_close_matches(option.rpartition("/")[2], options, n=1)
    hint = f"did you mean {group}={close[0]}? " if close else ""
    return f"{group}={option.rpartition('/')[2]} does not exist; {hint}There are: {', '.join(options)}"


def _unknown_override(path: str) -> str:
    from dataclasses import fields

    from lightcycle.app.schema import RootConfig

    names = sorted(f.name for f in fields(RootConfig))
    close = difflib.get_close_matches(path, names, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{path} is not an option; {hint}There are: {', '.join(names)}"


_LESSONS: list[tuple[str, Callable[..., str]]] = [
    (r"Could not find '([^']+)'\n\nAvailable options in '([^']+)':\n(.*?)\n(?:\n|Config search|$)", _unknown_option),
    (r"Key '([^']+)' not in '([^']+)'\n\s+full_key: (\S+)", _unknown_key),
    (r"Key '([^']+)' is not in struct\n\s+full_key: (\S+)", _unknown_struct_key),
    (r"Value '([^']*)' of type '(\w+)' could not be converted to (\w+)\n\s+full_key: (\S+)", _wrong_type),
    (r"Could not override '([^'.]+)'", _unknown_override),
]
