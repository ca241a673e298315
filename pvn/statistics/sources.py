"""Where the rows behind a number are: files and lines."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from pvn.evaluation.records import EpisodeRow, ProbeRow


class Group(NamedTuple):
    """What rows have in common that are counted together."""

    game: str
    agent: str
    head: str  # "" for probes, which belong to features
    what: str  # "eval", "train", or the target and the metric of a probe
    agent_step: int | None  # of evaluation episodes
    seed: int


class Source(NamedTuple):
    """The rows of one group in one file."""

    group: Group
    file: str
    first: int  # line number
    last: int
    num_rows: int  # rows of the group in these lines; others may lie between

    @property
    def text(self) -> str:
        """For example `runs/eval/scores.jsonl:3-12`."""
        lines = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.file}:{lines}"


def of_episode(row: EpisodeRow) -> Group:
    """The group of an episode."""
    step = row.agent_step if row.phase == "eval" else None
    return Group(row.game, row.agent, row.head, row.phase, step, row.seed)


def of_probe(row: ProbeRow) -> Group:
    """The group of a probe."""
    return Group(row.game, row.agent, "", f"{row.target} {row.metric}", None, row.seed)


def sources(places: Iterable[tuple[Group, str, int]]) -> list[Source]:
    """The sources of rows at (group, file, line), sorted."""
    lines: defaultdict[tuple[Group, str], list[int]] = defaultdict(list)
    for group, file, line in places:
        lines[group, file].append(line)
    found = [
        Source(group, file, min(numbers), max(numbers), len(numbers))
        for (group, file), numbers in lines.items()
    ]

    def order(source: Source) -> tuple[object, ...]:
        *names, step, seed = source.group
        return *names, -1 if step is None else step, seed, source.file

    return sorted(found, key=order)
