"""The cells of a suite: each is one command with its own directory.

The directory of a cell is WORKDIR/GAME/SEED/KIND/NAME. It depends on nothing but the config, so
cells that ran on several machines can be copied into one WORKDIR.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pvn.errors import UserError
from pvn.suite.plan import Plan, Section

_FOLDERS = {"dataset": "data", "pretraining": "pretrain", "agent": "evaluate", "probe": "probe"}
_SEED_FLAGS = {
    "pvn.collect": "seed",
    "pvn.pretrain": "config.seed",
    "pvn.evaluate": "config.seed",
    "pvn.probe": "seed",
}
_PLACEHOLDER = re.compile(r"\{(\w+)(?::(\w+))?\}")


class Cell(NamedTuple):
    """One command of a suite."""

    name: str  # GAME/SEED/KIND/NAME
    command: tuple[str, ...]  # "pvn.collect", "--game=Pong", ...
    needs: tuple[str, ...]  # names of the cells that must be complete before
    workdir: str  # its directory: a run directory, or a dataset

    @property
    def kind(self) -> str:
        """KIND/NAME: cells of one kind take about the same time."""
        return self.name.split("/", 2)[2]


Choices = Mapping[str, Any]
"""One value for each field that is varied: "pretraining.pvn.num_tasks" -> 1000."""


def expand(plan: Plan, workdir: str) -> list[Cell]:
    """All cells of a plan: those of the first seed of all games first, and needed cells first.

    Raises:
      UserError: a section names another one that does not exist, or that depends on itself.
    """
    resolved = _Sections(plan)
    cells = [
        cell
        for seed in plan.seeds
        for game in plan.games
        for cell in resolved.cells(game, seed, workdir)
    ]
    return list({cell.name: cell for cell in cells}.values())


class _Source(NamedTuple):
    """A cell, or a text that is used as it is, that a flag names."""

    text: str  # with {} for the directory of the cell
    section: Section | None = None


class _Sections:
    """Resolves what sections name."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self._order: list[Section] = []
        self._visit_all()

    def _visit_all(self) -> None:
        """Sorts the sections so that each comes after those that it names."""
        done: set[tuple[str, str]] = set()

        def visit(section: Section, path: tuple[tuple[str, str], ...]) -> None:
            key = section.kind, section.name
            if key in path:
                raise UserError(f"config: {section.kind} {section.name} depends on itself")
            if key not in done:
                for source in self._sources(section):
                    if source.section:
                        visit(source.section, (*path, key))
                done.add(key)
                self._order.append(section)

        for sections in self._plan.sections.values():
            for section in sections.values():
                visit(section, ())

    def _find(self, kind: str, name: str, place: str) -> Section:
        known = self._plan.sections.get(kind, {})
        if name not in known:
            names = ", ".join(known) or "none"
            raise UserError(f"{place}: there is no {kind} {name!r}; the config has {names}")
        return known[name]

    def _source(self, section: Section, field: str, name: str) -> _Source:
        """What `field` of a section names."""
        place = f"config: {section.kind} {section.name}, {field}"
        if "/" in name or (field == "features" and name in ("random", "none")):
            return _Source(name)
        if field == "dataset":
            return _Source("{}", self._find("dataset", name, place))
        if name.startswith("agent:"):  # the features that this agent learned
            return _Source("{}/policy", self._find("agent", name.partition(":")[2], place))
        return _Source("{}", self._find("pretraining", name, place))

    def _agents(self, section: Section) -> list[Section]:
        """The agents that a section of probes names."""
        place = f"config: probe {section.name}, agents"
        agents = [self._find("agent", name, place) for name in section.sources.get("agents", ())]
        for agent in agents:
            if agent.sources["features"] == ("none",):
                raise UserError(f"{place}: agent {agent.name} has no features")
        return agents

    def _sources(self, section: Section) -> Iterator[_Source]:
        """Everything that a section names."""
        for field, names in section.sources.items():
            if field != "agents":
                yield from (self._source(section, field, name) for name in names)
        for agent in self._agents(section):
            yield from self._sources(agent)
        for value in (*section.flags.values(), *section.overrides.values()):
            for kind, name in _PLACEHOLDER.findall(str(value)):
                if name:
                    place = f"config: {section.kind} {section.name}, {value}"
                    yield _Source("{}", self._find(kind, name, place))

    def choices(self, section: Section) -> list[Choices]:
        """The combinations of the varied values of a section and of all that it names."""
        own = [
            [(f"{section.kind}.{section.name}.{field}", value) for value in values]
            for field, values in section.vary.items()
        ]
        found: list[Choices] = [dict(pairs) for pairs in itertools.product(*own)]
        for source in self._sources(section):
            if source.section:
                others = self.choices(source.section)
                found = [a | b for a in map(dict, found) for b in map(dict, others) if _agree(a, b)]
        return [
            dict(pairs) for pairs in dict.fromkeys(tuple(sorted(each.items())) for each in found)
        ]

    def cells(self, game: str, seed: int, workdir: str) -> Iterator[Cell]:
        """The cells of one game and seed."""
        for section in self._order:
            agents: list[Section | None] = list(self._agents(section)) or [None]
            for agent in agents:
                choices = self.choices(section._replace(sources=_only(section, agent)))
                for chosen in choices:
                    yield _Builder(self, section, agent, chosen, game, seed, workdir).cell()


def _only(section: Section, agent: Section | None) -> Mapping[str, tuple[str, ...]]:
    """The sources of a section, with one agent only."""
    return dict(section.sources) | ({"agents": (agent.name,)} if agent else {})


def _agree(one: Choices, two: Choices) -> bool:
    return all(two.get(name, value) == value for name, value in one.items())


def _suffix(choices: Choices) -> str:
    """The part of a cell's name that tells the varied values: -num_tasks=1000."""
    parts = (f"-{name.rpartition('.')[2]}={value}" for name, value in sorted(choices.items()))
    return re.sub(r"[^\w.=+-]", "_", "".join(parts))


class _Builder:
    """Makes one cell."""

    def __init__(
        self,
        sections: _Sections,
        section: Section,
        agent: Section | None,
        chosen: Choices,
        game: str,
        seed: int,
        workdir: str,
    ):
        self._sections, self._section, self._agent = sections, section, agent
        self._chosen, self._game, self._seed, self._workdir = chosen, game, seed, workdir
        self._needs: list[str] = []

    def _label(self, section: Section) -> str:
        """The name of a section with the values chosen for it and for what it names."""
        relevant = {name for choices in self._sections.choices(section) for name in choices}
        return section.name + _suffix({k: v for k, v in self._chosen.items() if k in relevant})

    def _home(self, section: Section, label: str) -> str:
        return f"{self._game}/{self._seed}/{_FOLDERS[section.kind]}/{label}"

    def _path(self, source: _Source) -> str:
        """The path of a source, which becomes a need of the cell."""
        if not source.section:
            return self._fill(source.text)
        name = self._home(source.section, self._label(source.section))
        self._needs.append(name)
        return source.text.format(f"{self._workdir}/{name}")

    def _fill(self, value: Any) -> str:
        """The text of a value, with its placeholders replaced."""
        known = {"game": self._game, "seed": str(self._seed), "run": str(self._seed + 1)}

        def replace(match: re.Match[str]) -> str:
            word, name = match.groups()
            if name:
                place = f"config: {self._section.kind} {self._section.name}, {value}"
                return self._path(_Source("{}", self._sections._find(word, name, place)))
            return known.get(word, match[0])

        return _PLACEHOLDER.sub(replace, str(value))

    def _named(self, section: Section, field: str) -> list[str]:
        """The path that `field` of a section names, as a list with at most one item."""
        names = section.sources.get(field, ())
        return [self._path(self._sections._source(section, field, name)) for name in names]

    def cell(self) -> Cell:
        section, agent = self._section, self._agent
        label = f"{section.name}-{agent.name}" if agent else section.name
        name = self._home(section, label + _suffix(self._chosen))
        target = f"{self._workdir}/{name}"
        flags: dict[str, Any] = {}
        if section.config:
            flags["config"] = section.config
        if section.kind in ("dataset", "agent"):
            flags["game"] = self._game
        if section.kind == "pretraining":
            flags["config.dataset"] = self._named(section, "dataset")[0]
        if section.kind in ("agent", "probe"):
            flags |= self._features(section, agent or section)
        if section.command in _SEED_FLAGS:
            flags[_SEED_FLAGS[section.command]] = self._seed
        flags |= {f"config.{field}": self._fill(x) for field, x in section.overrides.items()}
        prefix = "config." if section.config else ""
        for field in section.vary:
            flags[prefix + field] = self._chosen[f"{section.kind}.{section.name}.{field}"]
        flags["dataset" if section.kind == "dataset" else "workdir"] = target
        flags |= {flag: self._fill(value) for flag, value in section.flags.items()}
        words = (f"--{flag}={value}" for flag, value in flags.items())
        needs = tuple(dict.fromkeys(self._needs))
        return Cell(name, (section.command, *words), needs, target)

    def _features(self, section: Section, agent: Section) -> dict[str, Any]:
        """The flags about features of an agent or of a probe of an agent's features."""
        flags: dict[str, Any] = {
            "features": self._named(agent, "features")[0],
            "agent": self._label(agent),
        }
        if like := self._named(agent, "like"):
            flags["like"] = like[0]
        if dataset := self._named(section, "dataset"):
            flags["dataset"] = dataset[0]
        return flags
