"""Finds probes that share a column of a report but cannot be compared."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from pvn.evaluation.records import ProbeRow
from pvn.statistics.summary import ProbeKind, probe_kind
from pvn.statistics.tables import Column, agent_name

_NOTE = (
    "do not compare the probes below. They share a column, a game and a seed, but not the dataset "
    "or max_rows. Probe all features on one dataset, with one --max_rows."
)


def mixed_probes(probes: Sequence[ProbeRow], columns: Sequence[Column]) -> list[str]:
    """Lines that name the probes of one kind, game and seed whose dataset or max_rows differ.

    columns: those of the report; the lines use their titles and their order.
    """
    groups: defaultdict[tuple[ProbeKind, str, int], list[ProbeRow]] = defaultdict(list)
    for probe in probes:
        groups[probe_kind(probe), probe.game, probe.seed].append(probe)
    titles = {column.kind: column.title for column in columns}
    order = list(titles)
    lines = []
    for kind, game, seed in sorted(groups, key=lambda key: (order.index(key[0]), *key[1:])):
        mine = groups[kind, game, seed]
        differences = [
            _difference(mine, "dataset", "fingerprint"),
            _difference(mine, "settings", "max_rows"),
        ]
        if any(differences):
            text = "; ".join(filter(None, differences))
            lines.append(f"{titles[kind]}, {game}, seed {seed}: {text}")
    return [_NOTE, *lines] if lines else []


def _difference(probes: Sequence[ProbeRow], field: str, name: str) -> str:
    """The agents by the value of a row's fact, or "" if all have the same."""
    groups: defaultdict[Any, list[ProbeRow]] = defaultdict(list)
    for probe in probes:
        groups[getattr(probe, field).get(name)].append(probe)
    if len(groups) < 2:
        return ""
    return ", ".join(
        f"{_words(value, field, mine[0])} ({', '.join(agent_name(each.agent) for each in mine)})"
        for value, mine in groups.items()
    )


def _words(value: Any, field: str, probe: ProbeRow) -> str:
    if field == "settings":
        return f"max_rows {'not recorded' if value is None else value}"
    path = probe.dataset.get("path", "")
    known = "without a fingerprint" if value is None else str(value)[:8]
    return " ".join(filter(None, ["dataset", path, known]))
