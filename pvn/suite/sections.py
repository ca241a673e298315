"""What the sections of a plan name: other sections, paths, and placeholders such as {agent:dqn}."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

from pvn.errors import UserError
from pvn.suite.plan import PLACEHOLDER, Plan, Section, flag_text

WORDS = ("game", "seed", "run", "workdir")  # placeholders that name no cell
_AGENT = "agent:"
_RATE = "dqn.encoder_learning_rate"
_TRAINING_CONFIGS = tuple(
    f"evaluate_{name}" for name in ("end_to_end", "finetuned", "minatar_dqn", "rainbow")
)

Choices = Mapping[str, Any]
"""One value for each field that is varied: "pretraining.pvn.num_tasks" -> 1000."""


class Source(NamedTuple):
    """A cell, or a text that is used as it is, that a flag names."""

    text: str  # with {} for the directory of the cell
    section: Section | None = None


class Probed(NamedTuple):
    """The features that a probe gets."""

    agent: Section
    learned: bool  # whether they are what the agent learned, not what it started from


class Sections:
    """Resolves what the sections of a plan name."""

    def __init__(self, plan: Plan):
        """Raises `UserError` if a section names what does not exist, or depends on itself."""
        self._plan = plan
        self.in_order: list[Section] = []  # each comes after those that it names
        self._sort()

    def _sort(self) -> None:
        done: set[tuple[str, str]] = set()

        def visit(section: Section, path: tuple[tuple[str, str], ...]) -> None:
            key = section.kind, section.name
            if key in path:
                raise UserError(f"config: {section.kind} {section.name} depends on itself")
            if key not in done:
                for source in self.sources(section):
                    if source.section:
                        visit(source.section, (*path, key))
                done.add(key)
                self.in_order.append(section)

        for sections in self._plan.sections.values():
            for section in sections.values():
                visit(section, ())

    def _find(self, kind: str, name: str, place: str) -> Section:
        known = self._plan.sections.get(kind, {})
        if name not in known:
            names = ", ".join(known) or "none"
            raise UserError(f"{place}: there is no {kind} {name!r}; the config has {names}")
        return known[name]

    def _find_agent(self, name: str, place: str) -> Section:
        """The agent NAME, whose features can be used. name: with or without `agent:` before it."""
        if name.startswith(_AGENT) and "/" in name:
            path = f"{{{name.partition('/')[0]}}}/{name.partition('/')[2]}"
            raise UserError(f"{place}: {name}, expected agent:NAME, or {path} for a path")
        agent = self._find("agent", name.removeprefix(_AGENT), place)
        if agent.sources["features"] == ("none",):
            raise UserError(f"{place}: agent {agent.name} has no features")
        return agent

    def source(self, section: Section, field: str, name: str) -> Source:
        """What `field` of a section names."""
        place = f"config: {section.kind} {section.name}, {field}"
        if field != "dataset" and name.startswith(_AGENT):  # the features that this agent learned
            return Source("{}/policy", self._find_agent(name, place))
        if "/" in name or (field == "features" and name in ("random", "none")):
            return Source(name)
        kind = "dataset" if field == "dataset" else "pretraining"
        return Source("{}", self._find(kind, name, place))

    def placeholders(self, section: Section, text: str) -> Iterator[tuple[str, Source]]:
        """The placeholders in a text that name cells, and what they name.

        Raises:
          UserError: there is no such placeholder, or no such cell.
        """
        place = f"config: {section.kind} {section.name}, {text}"
        for match in PLACEHOLDER.finditer(text):
            kind, name = match.groups()
            if name is not None and kind in self._plan.sections:
                yield match[0], Source("{}", self._find(kind, name, place))
            elif name is not None or kind not in WORDS:
                known = *WORDS, *(f"{each}:NAME" for each in ("dataset", "pretraining", "agent"))
                expected = ", ".join(f"{{{each}}}" for each in known)
                raise UserError(f"{place}: there is no {match[0]}; expected {expected}")

    def probed(self, section: Section) -> list[Probed]:
        """What the field `agents` of a section names.

        Raises:
          UserError: there is no such agent, or the config asks for the weights that an agent which
            trains its encoder started from.
        """
        place = f"config: {section.kind} {section.name}, agents"
        found = []
        for name in section.sources.get("agents", ()):
            agent, learned = self._find_agent(name, place), name.startswith(_AGENT)
            if not learned and _trains_encoder(agent):
                raise UserError(
                    f"{place}: {name} trains its encoder, and {name} names its starting weights; "
                    f"expected {_AGENT}{name}"
                )
            found.append(Probed(agent, learned))
        return found

    def sources(self, section: Section) -> Iterator[Source]:
        """Everything that a section names."""
        texts = [flag_text(x) for x in section.flags.values()]
        texts += [str(x) for x in section.overrides.values()]
        for field, names in section.sources.items():
            if field != "agents":
                found = [self.source(section, field, name) for name in names]
                yield from found
                texts += [source.text for source in found if not source.section]
        for agent, learned in self.probed(section):
            if learned:
                yield Source("{}/policy", agent)
            else:
                yield from self.sources(agent)
        for text in texts:
            for _, source in self.placeholders(section, text):
                yield source

    def choices(self, section: Section) -> list[Choices]:
        """The combinations of the varied values of a section and of all that it names."""
        own = [
            [(f"{section.kind}.{section.name}.{field}", value) for value in values]
            for field, values in section.vary.items()
        ]
        found: list[Choices] = [dict(pairs) for pairs in itertools.product(*own)]
        for source in self.sources(section):
            if source.section:
                others = self.choices(source.section)
                found = [a | b for a in map(dict, found) for b in map(dict, others) if _agree(a, b)]
        return [
            dict(pairs) for pairs in dict.fromkeys(tuple(sorted(each.items())) for each in found)
        ]


def _trains_encoder(agent: Section) -> bool:
    """Whether an agent trains its encoder too, by its section and the name of its config."""
    if agent.command != "pvn.evaluate":
        return False
    rates = agent.vary.get(_RATE, (agent.overrides.get(_RATE),))
    if rates == (None,):
        return PurePath(agent.config).stem in _TRAINING_CONFIGS
    return any(_number(rate) > 0 for rate in rates)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0  # pvn.evaluate says what is wrong


def _agree(one: Choices, two: Choices) -> bool:
    return all(two.get(name, value) == value for name, value in one.items())
