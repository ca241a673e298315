"""What a suite consists of: games, seeds, and sections of datasets, pretrainings, agents, probes.

`read_plan` checks the values of a config (configs/suite_small.py) and returns them as a `Plan`.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pvn.envs.games import find_game
from pvn.errors import UserError
from pvn.fields import check_seed


class Section(NamedTuple):
    """How one kind of cell is made. Each section makes a cell for each game and seed."""

    kind: str  # "dataset", "pretraining", "agent" or "probe"
    name: str
    command: str  # "pvn.collect", ...
    config: str  # file of --config; empty if the command has none
    sources: Mapping[str, tuple[str, ...]]  # "dataset", "features", "like", "agents" -> names
    overrides: Mapping[str, Any]  # field of the config, such as "dqn.learning_rate" -> value
    flags: Mapping[str, Any]  # any other flag -> value
    vary: Mapping[str, tuple[Any, ...]]  # field (without config: flag) -> values


class Plan(NamedTuple):
    """A checked config of a suite."""

    games: tuple[str, ...]
    seeds: tuple[int, ...]
    sections: Mapping[str, Mapping[str, Section]]  # kind -> name -> section


class _Kind(NamedTuple):
    field: str  # of the config
    command: str  # unless the section names one
    config: str  # unless the section names one
    needs: tuple[str, ...]  # fields that name other cells
    may_need: tuple[str, ...] = ()


KINDS = {
    "dataset": _Kind("datasets", "pvn.collect", "", ()),
    "pretraining": _Kind("pretrainings", "pvn.pretrain", "configs/pretrain.py", ("dataset",)),
    "agent": _Kind(
        "agents", "pvn.evaluate", "configs/evaluate.py", ("features",), ("dataset", "like")
    ),
    "probe": _Kind("probes", "pvn.probe", "", ("agents", "dataset")),
}
# Fields that may name several.
_SEVERAL = ("agents", "dataset")
_NAME = re.compile(r"[A-Za-z0-9_]+")
PLACEHOLDER = re.compile(r"\{(\w+)(?::([^{}]*))?\}")  # {game}, {agent:dqn}


def read_plan(values: Mapping[str, Any]) -> Plan:
    """Checks the values of a suite's config.

    Raises:
      UserError: a field is missing, unknown or invalid; the message names it.
    """
    known = ("games", "seeds", *(kind.field for kind in KINDS.values()))
    for name in values:
        if name not in known:
            raise UserError(f"config.{name}: there is no such field; expected {', '.join(known)}")
    games = _names(values.get("games", ()), "config.games")
    seeds = tuple(check_seed(x, "config.seeds") for x in _tuple(values.get("seeds", (0,))))
    for field, given in (("games", games), ("seeds", seeds)):
        if not given or len(set(given)) < len(given):
            raise UserError(f"config.{field}: {given!r}, expected one or more, each once")
    sections: dict[str, dict[str, Section]] = {}
    for kind, described in KINDS.items():
        named = _mapping(values.get(described.field, {}), f"config.{described.field}")
        sections[kind] = {
            name: _section(kind, name, fields, f"config.{described.field}.{name}")
            for name, fields in named.items()
        }
    if not any(sections.values()):
        raise UserError("config: names no dataset, pretraining, agent or probe")
    return Plan(tuple(find_game(game).name for game in games), seeds, sections)


def _section(kind: str, name: str, given: Any, place: str) -> Section:
    described = KINDS[kind]
    fields = dict(_mapping(given, place))
    if not _NAME.fullmatch(name):
        raise UserError(f"{place}: expected a name of letters, digits and _")
    known = (
        *("command", "config", "overrides", "flags", "vary"),
        *(*described.needs, *described.may_need),
    )
    for field in fields:
        if field not in known:
            raise UserError(f"{place}.{field}: there is no such field; expected {', '.join(known)}")
    sources = {}
    for field in (*described.needs, *described.may_need):
        names = _names(fields.get(field, ()), f"{place}.{field}")
        if not names and field in described.needs:
            raise UserError(f"{place}.{field}: is missing")
        if len(names) > 1 and field not in _SEVERAL:
            raise UserError(f"{place}.{field}: {','.join(names)}, expected one")
        sources[field] = names
    vary = _flatten(_mapping(fields.get("vary", {}), f"{place}.vary"))
    for field, choices in vary.items():
        if not isinstance(choices, tuple | list) or not choices:
            raise UserError(f"{place}.vary.{field}: {choices!r}, expected a tuple of values")
        for value in choices:
            if found := PLACEHOLDER.search(str(value)):
                raise UserError(f"{place}.vary.{field}: {found[0]}, expected no placeholders")
    return Section(
        kind,
        name,
        str(fields.get("command", described.command)),
        str(fields.get("config", described.config)),
        sources,
        _flatten(_mapping(fields.get("overrides", {}), f"{place}.overrides")),
        _flatten(_mapping(fields.get("flags", {}), f"{place}.flags")),
        {field: tuple(map(_hashable, choices)) for field, choices in vary.items()},
    )


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def flag_text(value: Any) -> str:
    """The value of a flag as text; commas between the items of a tuple."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"dqn": {"batch_size": 32}} as {"dqn.batch_size": 32}."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{place}: {value!r}, expected a section with fields")
    return value


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _names(value: Any, place: str) -> tuple[str, ...]:
    """The names in a tuple, or in a text such as "Pong,Breakout"."""
    found: list[str] = []
    for item in _tuple(value):
        if not isinstance(item, str):
            raise UserError(f"{place}: {item!r}, expected names, such as a,b")
        found += [name.strip() for name in item.split(",") if name.strip()]
    return tuple(found)
