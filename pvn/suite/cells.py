"""The cells of a suite: each is one command with its own directory.

The directory of a cell is WORKDIR/GAME/SEED/KIND/NAME. It depends on nothing but the config, so
cells that ran on several machines can be copied into one WORKDIR.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pvn.errors import UserError
from pvn.suite.plan import PLACEHOLDER, Plan, Section, flag_text
from pvn.suite.sections import Choices, Probed, Sections, Source

_FOLDERS = {"dataset": "data", "pretraining": "pretrain", "agent": "evaluate", "probe": "probe"}
_SEED_FLAGS = {
    "pvn.collect": "seed",
    "pvn.pretrain": "config.seed",
    "pvn.evaluate": "config.seed",
    "pvn.probe": "seed",
}


class Cell(NamedTuple):
    """One command of a suite."""

    name: str  # GAME/SEED/KIND/NAME
    command: tuple[str, ...]  # "pvn.collect", "--game=Pong", ...
    needs: tuple[str, ...]  # names of the cells that must be complete before
    workdir: str  # its directory: a run directory, or a dataset
    inputs: str = ""  # a digest of the commands of the cells that it needs, directly or not

    @property
    def root(self) -> str:
        """The directory of the suite."""
        return self.workdir.removesuffix(f"/{self.name}")

    @property
    def movable_command(self) -> tuple[str, ...]:
        """The command with {workdir} for the suite's directory where that leads to a cell."""
        places = (f"{self.name.rpartition('/')[0]}/", *self.needs)
        words = self.command
        for place in places:
            words = tuple(x.replace(f"{self.root}/{place}", f"{{workdir}}/{place}") for x in words)
        return words

    @property
    def kind(self) -> str:
        """KIND/NAME: cells of one kind take about the same time."""
        return "/".join(self.name.rsplit("/", 2)[1:])  # a game's name may have a slash


def expand(plan: Plan, workdir: str) -> list[Cell]:
    """All cells of a plan: those of the first seed of all games first, and needed cells first.

    Raises:
      UserError: a section names what does not exist, or depends on itself; or two cells with
        different commands have the same name.
    """
    sections = Sections(plan)
    found: dict[str, Cell] = {}
    for seed in plan.seeds:
        for game in plan.games:
            for cell in _cells(sections, game, seed, workdir):
                other = found.setdefault(cell.name, cell)
                if other.command != cell.command:
                    differ = sorted({*other.command} ^ {*cell.command})
                    raise UserError(
                        f"config: two cells are called {cell.name}, expected different names; they "
                        f"differ in {' '.join(differ)}"
                    )
    _check_probes(found.values())
    return _with_inputs(found.values())


def _with_inputs(cells: Iterable[Cell]) -> list[Cell]:
    """The cells with their `inputs`. cells: needed cells come before the cells that need them."""
    done: dict[str, Cell] = {}
    for cell in cells:
        needed = [(done[name].movable_command, done[name].inputs) for name in cell.needs]
        digest = hashlib.sha256(json.dumps(needed).encode()).hexdigest() if needed else ""
        done[cell.name] = cell._replace(inputs=digest)
    return list(done.values())


def _check_probes(cells: Iterable[Cell]) -> None:
    """Refuses two probes whose rows differ in their dataset only: a report could not tell them.

    Raises:
      UserError: there are two such cells.
    """
    seen: dict[frozenset[str], tuple[Cell, str]] = {}
    for cell in cells:
        if cell.command[0] != "pvn.probe":
            continue
        words = {word.partition("=")[0]: word for word in cell.command}
        dataset = words.pop("--dataset", "")
        del words["--workdir"]
        other, of_other = seen.setdefault(frozenset(words.values()), (cell, dataset))
        if dataset != of_other:
            raise UserError(
                f"config: the probes {other.name} and {cell.name} differ in their dataset only, "
                'expected different names of what they probe: flags {"agent": ...} of a section'
            )


def _cells(sections: Sections, game: str, seed: int, workdir: str) -> Iterator[Cell]:
    """The cells of one game and seed."""
    for section in sections.in_order:
        subjects: list[Probed | None] = list(sections.probed(section)) or [None]
        for subject in subjects:
            for chosen in sections.choices(section._replace(sources=_only(section, subject))):
                yield _Builder(sections, section, subject, chosen, game, seed, workdir).cell()


def _only(section: Section, subject: Probed | None) -> dict[str, tuple[str, ...]]:
    """The sources of a section, with one agent only."""
    if subject is None:
        return dict(section.sources)
    name = f"agent:{subject.agent.name}" if subject.learned else subject.agent.name
    return dict(section.sources) | {"agents": (name,)}


def _suffix(choices: Choices) -> str:
    """The part of a cell's name that tells the varied values: -num_tasks=1000."""
    parts = (f"-{name.rpartition('.')[2]}={value}" for name, value in sorted(choices.items()))
    return re.sub(r"[^\w.=+-]", "_", "".join(parts))


class _Builder:
    """Makes one cell."""

    def __init__(
        self,
        sections: Sections,
        section: Section,
        subject: Probed | None,
        chosen: Choices,
        game: str,
        seed: int,
        workdir: str,
    ):
        self._sections, self._section, self._subject = sections, section, subject
        self._chosen, self._game, self._seed, self._workdir = chosen, game, seed, workdir
        self._needs: list[str] = []
        label = section.name
        if subject:
            label += f"-{subject.agent.name}" + ("_features" if subject.learned else "")
        self._name = self._home(section, label + _suffix(chosen))
        self._target = f"{workdir}/{self._name}"

    def _label(self, section: Section) -> str:
        """The name of a section with the values chosen for it and for what it names."""
        relevant = {name for choices in self._sections.choices(section) for name in choices}
        return section.name + _suffix({k: v for k, v in self._chosen.items() if k in relevant})

    def _home(self, section: Section, label: str) -> str:
        return f"{self._game}/{self._seed}/{_FOLDERS[section.kind]}/{label}"

    def _path(self, source: Source) -> str:
        """The path of a source, which becomes a need of the cell."""
        if not source.section:
            return self._fill(source.text)
        name = self._home(source.section, self._label(source.section))
        self._needs.append(name)
        return source.text.format(f"{self._workdir}/{name}")

    def _fill(self, text: str) -> str:
        """A text with its placeholders replaced."""
        known = {"game": self._game, "seed": str(self._seed), "run": str(self._seed + 1)}
        known["workdir"] = self._target
        cells = dict(self._sections.placeholders(self._section, text))

        def replace(match: re.Match[str]) -> str:
            source = cells.get(match[0])
            return self._path(source) if source else known[match[1]]

        return PLACEHOLDER.sub(replace, text)

    def _named(self, section: Section, field: str) -> list[str]:
        """The paths that `field` of a section names."""
        names = section.sources.get(field, ())
        return [self._path(self._sections.source(section, field, name)) for name in names]

    def cell(self) -> Cell:
        section = self._section
        flags: dict[str, Any] = {}
        if section.config:
            flags["config"] = section.config
        if section.kind in ("dataset", "agent"):
            flags["game"] = self._game
        if section.kind == "pretraining":
            flags["config.dataset"] = ",".join(self._named(section, "dataset"))
        if section.kind in ("agent", "probe"):
            flags |= self._features()
        if section.command in _SEED_FLAGS:
            flags[_SEED_FLAGS[section.command]] = self._seed
        flags |= {f"config.{field}": self._fill(str(x)) for field, x in section.overrides.items()}
        for field in section.vary:
            value = self._chosen[f"{section.kind}.{section.name}.{field}"]
            flags |= {f"config.{field}": value} if section.config else {field: flag_text(value)}
        flags["dataset" if section.kind == "dataset" else "workdir"] = self._target
        targets = flag_text(section.flags.get("targets", "")).split(",")
        if section.command == "pvn.probe" and "advantage" in targets:
            # Each agent has a cell of its own; the rollouts are the same.
            flags["rollouts_dir"] = f"{self._workdir}/{self._home(section, 'rollouts')}"
        flags |= {flag: self._fill(flag_text(value)) for flag, value in section.flags.items()}
        words = (f"--{flag}={value}" for flag, value in flags.items())
        needs = tuple(dict.fromkeys(self._needs))
        return Cell(self._name, (section.command, *words), needs, self._target)

    def _subject_label(self) -> str:
        """The name in tables; for features that an agent learned, as pvn.evaluate saves them."""
        if self._subject is None:
            return self._label(self._section)
        # With the values that tell the data of the probe: a report tells rows by the name.
        own = f"{self._section.kind}.{self._section.name}."
        chosen = {k: v for k, v in self._chosen.items() if not k.startswith(own)}
        label = self._subject.agent.name + _suffix(chosen)
        return f"{label}_features" if self._subject.learned else label

    def _features(self) -> dict[str, Any]:
        """The flags about features of an agent or of a probe."""
        section, subject = self._section, self._subject
        flags: dict[str, Any] = {}
        agent = subject.agent if subject else section
        if subject and subject.learned:
            flags["features"] = self._path(Source("{}/policy", agent))
            like = []
        else:
            flags["features"] = self._named(agent, "features")[0]
            like = self._named(agent, "like")
        flags["agent"] = self._subject_label()
        if like:
            flags["like"] = like[0]
        if dataset := self._named(section, "dataset"):
            flags["dataset"] = ",".join(dataset)
        return flags
