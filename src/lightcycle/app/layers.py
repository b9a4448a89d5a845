"""Layer groups on the command line: ``groups``, several rates in ``lr``, ``lr_decay_per_group``, the unfreezing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from lightcycle.app.say import yaml
from lightcycle.schedules import BoundSchedule, Unfreezing
from lightcycle.transfer.rates import check_decay, check_lr, rates

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import nn

    from lightcycle.app.settings import Settings
    from lightcycle.data.count import Counts


def how(config: DictConfig) -> Any:
    """How the net is split into layer groups: a number, ``stages`` or patterns; ``None`` is not at all.

    Unless ``groups`` says so, a list of rates splits the net into as many groups by depth, and what needs groups and
    does not say how many (a first and a last rate, a decay, an unfreezing) into its stages.
    """
    groups, lr = plain(config.groups), plain(config.lr)
    if groups is not None:
        return None if groups == 1 else groups
    if isinstance(lr, list):
        return len(lr) if len(lr) > 1 else None
    return "stages" if isinstance(lr, Mapping) or config.lr_decay_per_group > 1 or unfreezing(config) else None


def check(config: DictConfig) -> None:
    """Refuses what does not go together; raises ValueError."""
    groups, lr = plain(config.groups), plain(config.lr)
    if not (groups in (None, "stages") or _is_number(groups) or _are_patterns(groups)):
        raise ValueError(
            f"groups must be a number >= 1, stages, or patterns of parameter names (got {yaml(groups)}); "
            "groups=stages are the net's own, null is one unless several rates are given"
        )
    if isinstance(lr, Mapping | list):
        check_lr(lr)
    check_decay(lr, config.lr_decay_per_group)
    several = {
        f"groups={yaml(groups)}": groups not in (None, 1),
        f"lr={yaml(lr)}": isinstance(lr, Mapping) or (isinstance(lr, list) and len(lr) > 1),
        f"lr_decay_per_group={config.lr_decay_per_group:g}": config.lr_decay_per_group > 1,
        "callbacks.gradual_unfreezing": unfreezing(config) is not None,
    }
    needs = [name for name, asked in several.items() if asked]
    if needs and groups == 1:
        raise ValueError(
            f"{needs[0]} needs several layer groups (got groups=1); leave groups out, or set groups=stages"
        )
    if needs and config.features == "cached":
        raise ValueError(
            f"{needs[0]} is about layer groups, and with features=cached only the head trains; set features=live"
        )


def unfreezing(config: DictConfig) -> Unfreezing | None:
    """The plan of ``callbacks.gradual_unfreezing``, checked; ``None`` where there is no such callback."""
    for entry in config.callbacks.values():
        if entry and str(entry.get("_target_")).endswith(".GradualUnfreezing"):
            given = plain(entry)
            return Unfreezing(**{f.name: given[f.name] for f in fields(Unfreezing) if f.name in given})
    return None


def of_net(settings: Settings, net: nn.Module) -> dict[str, Any]:
    """``groups`` and ``rates`` for the classifier; nothing where the net is one group."""
    if (split := how(settings.config)) is None:
        return {}
    from lightcycle.models import head_name
    from lightcycle.transfer.groups import layer_groups

    groups = layer_groups(net, split, head_name(net))
    lr = settings.lr if settings.finds_lr else plain(settings.config.lr)
    return {"groups": groups, "rates": rates(lr, groups, settings.lr_decay_per_group)}


def planned(settings: Settings, counts: Counts) -> dict[str, float]:
    """Base rate of each layer group by name, for a picture without a run: the net is built, no weights are read."""
    if how(settings.config) is None:
        return {}
    model = replace(settings.model, weights=None) if hasattr(settings.model, "weights") else settings.model
    net = model.build(channels=counts.channels, size=tuple(counts.size), classes=counts.classes)
    return by_name(**of_net(settings, net))


def by_name(groups: list[Any] | None = None, rates: list[float] | None = None) -> dict[str, float]:
    """What ``of_net`` gave, as rates by the groups' names."""
    return dict(zip((group.name for group in groups or []), rates or [], strict=True))


def depth(settings: Settings, plan: BoundSchedule, groups: int) -> list[tuple[int, int]]:
    """How many groups train, from which step on; empty where nothing is unfrozen."""
    schedule, run = unfreezing(settings.config), plan.horizon
    if schedule is None or not groups:
        return []
    return schedule.bind(run, groups, cut=settings.cuts_short(run)).points


def describe(settings: Settings) -> str:
    """The learning rate in a few characters, for titles."""
    lr, decay = plain(settings.config.lr), settings.lr_decay_per_group
    shown = (
        yaml(lr) if isinstance(lr, list) else f"{lr['first']:g} to {lr['last']:g}" if isinstance(lr, Mapping) else ""
    )
    shown = shown or ("auto" if settings.finds_lr else f"{settings.lr:g}")
    return f"{shown}, {decay:g} times lower per group" if decay > 1 else shown


def plain(value: Any) -> Any:
    """Lists and dictionaries of the config as Python's own."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _is_number(groups: Any) -> bool:
    return isinstance(groups, int) and not isinstance(groups, bool) and groups >= 1


def _are_patterns(groups: Any) -> bool:
    values = groups.values() if isinstance(groups, dict) else groups if isinstance(groups, list) else []
    return len(values) > 1 and all(isinstance(value, str) for value in values)
