"""What an error says: one sentence with the key, the value, the legal range and a fix."""

import difflib
import linecache
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, fields

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from lightcycle.app.schema import GROUPS, PROJECT, RootConfig

_KINDS = {"Integer": "a whole number", "Float": "a number", "bool": "true or false"}


def is_lesson(error: BaseException) -> bool:
    """Whether an error is about what the user typed: Hydra's, OmegaConf's, or raised on purpose in this project.

    A ``ValueError`` or ``OSError`` counts where the line it comes from is a ``raise`` of ours: what ``int("x")``
    raises inside our code is a bug, and keeps its stack of calls.
    """
    if isinstance(error, HydraException | OmegaConfBaseException):
        return True
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    if trace is None or not isinstance(error, ValueError | OSError):
        return False
    file = trace.tb_frame.f_code.co_filename
    known = any(f"{os.sep}{package}{os.sep}" in file for package in ("lightcycle", "hydra"))
    return known and linecache.getline(file, trace.tb_lineno).strip().startswith("raise ")


def sentence(error: BaseException) -> str:
    """Hydra's and OmegaConf's errors as one sentence; others as they are, on one line."""
    if isinstance(error, HydraException | OmegaConfBaseException):
        text = _whole_text(error)
        for pattern, say in _LESSONS:
            if match := re.search(pattern, text, re.DOTALL):
                return say(*match.groups())
    return " ".join(str(error).split())


def unknown(path: str, options: Iterable[str], owner: str = "") -> str:
    """The sentence for a key that is none of those beside it.

    >>> unknown("schedule.cyclse", ["decay", "cycles"], "SGDR")
    'schedule.cyclse is not an option of SGDR; did you mean schedule.cycles? There are: cycles, decay'
    """
    before, dot, key = path.rpartition(".")
    return f"{path} is not an option{owner and ' of '}{owner}; {_among(key, options, before + dot)}"


def _among(word: str, options: Iterable[str], prefix: str = "") -> str:
    options = sorted(options)
    close = difflib.get_close_matches(word, options, n=1)
    hint = f"did you mean {prefix}{close[0]}? There are" if close else "there are"
    return f"{hint}: {', '.join(options)}"


def _whole_text(error: BaseException | None) -> str:
    """The error and its causes: Hydra wraps OmegaConf's, which know the key."""
    parts = []
    while error is not None:
        parts.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(parts)


def _fields_of(owner: str) -> dict[str, Field]:
    schemas = [RootConfig, *(schema for group in GROUPS.values() for schema in group.values())]
    return {f.name: f for schema in schemas if schema.__name__ == owner for f in fields(schema)}


def _default(path: str, owner: str) -> str:
    """A fix: the default that the schema has."""
    field = _fields_of(owner).get(path.rpartition(".")[2])
    if field is None:
        return "leave it out for the default"
    value = field.default if field.default is not MISSING else field.default_factory()
    return f"{yaml(value)} is the default"


def yaml(value: object) -> str:
    """A value as it is typed on the command line.

    >>> yaml(None), yaml(True), yaml([0.5, 1]), yaml("last")
    ('null', 'true', '[0.5,1]', 'last')
    """
    if isinstance(value, list):
        return f"[{','.join(map(yaml, value))}]"
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


# -- the sentences ---------------------------------------------------------------------------------------------------


def _unknown_key(key: str, owner: str, path: str) -> str:
    return unknown(path, _fields_of(owner), "" if owner == "RootConfig" else owner.removesuffix("Config"))


def _unknown_struct_key(path: str) -> str:
    return f"{path} is not an option here; is it spelled right? A key that is not listed needs a plus: +{path}=..."


def _wrong_type(value: str, wanted: str, path: str, owner: str) -> str:
    return f"{path} must be {_KINDS.get(wanted, wanted)} (got {value!r}); {_default(path, owner)}"


def _null(path: str, owner: str) -> str:
    return f"{path} cannot be null; {_default(path, owner)}"


def _no_list(override: str, path: str, owner: str) -> str:
    return f"{path} must be a list (got {override}); write {path}=[...]; {_default(path, owner)}"


def _unknown_option(option: str, group: str, listed: str) -> str:
    name = option.rpartition("/")[2]
    return f"{group}={name} does not exist; {_among(name, listed.split(), group + '=')}"


def _missing_extra(extra: str) -> str:
    return f'{extra} must be installed for this; it is an extra: pip install -e ".[{extra}]"'


def _raised(text: str) -> str:
    return text


def _unknown_in_list(group: str, name: str) -> str:
    options = [file.stem for file in (PROJECT / "conf" / group).glob("*.yaml")]
    return f"{group}={name} does not exist; {_among(name, options)}"


def _several(override: str) -> str:
    key, _, values = override.partition("=")
    return f"{override} gives {key} several values; add -m to run one after the other, or make it a list: [{values}]"


def _unreadable(override: str) -> str:
    return f"{override!r} cannot be read; overrides are key=value, such as lr=0.1 or schedule.cycles=2"


def _not_there(path: str) -> str:
    return f"~{path} leaves out what is not there; is it spelled right? python train.py --cfg job lists all that is"


def _taken(path: str) -> str:
    return f"+{path} adds what is there already; to change it leave out the plus: {path}=..."


_LESSONS: list[tuple[str, Callable[..., str]]] = [
    (r"Could not (?:find|load) 'hydra/(?:launcher|sweeper)/(joblib|optuna|submitit)", _missing_extra),
    (r"^ValueError raised while resolving interpolation: ([^\n]*)", _raised),
    (r"Could not find '([^']+)'\n\nAvailable options in '([^']+)':\n(.*?)\n(?:\n|Config search|$)", _unknown_option),
    (r"Could not load '([^'/]+)/([^']+)'", _unknown_in_list),
    (r"Key '([^']+)' not in '([^']+)'\n\s+full_key: (\S+)", _unknown_key),
    (r"Key '[^']+' is not in struct\n\s+full_key: (\S+)", _unknown_struct_key),
    (r"Value '(.*?)' of type '\w+' could not be converted to (\w+)\n\s+full_key: (\S+).*=(\w+)", _wrong_type),
    (r"Value '(.*?)' is not a valid (\w+) \(type \w+\)\n\s+full_key: (\S+).*=(\w+)", _wrong_type),
    (r"field '(\S+)' is not Optional.*object_type=(\w+)", _null),
    (r"override (\S+)\n.*is not a ListConfig, list or tuple\.\n\s+full_key: (\S+)\n.*object_type=(\w+)", _no_list),
    (r"Ambiguous value for argument '([^']+)'", _several),
    (r"Error parsing override '([^']*)'", _unreadable),
    (r"LexerNoViableAltException: ([^\n]*)", _unreadable),
    (r"Could not delete from config. '([^']+)' does not exist", _not_there),
    (r"Could not append to config. An item is already at '([^']+)'", _taken),
]
