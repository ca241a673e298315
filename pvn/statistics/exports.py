"""The numbers of a report as CSV, in full precision. An empty cell is a missing value."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pvn.statistics.curves import Curve
from pvn.statistics.over_games import STATISTICS, Aggregate, Improvement, ProbeCorrelation
from pvn.statistics.published import PUBLISHED, WINDOW
from pvn.statistics.sources import Group, Source
from pvn.statistics.summary import Estimate, Result
from pvn.statistics.tables import probe_columns
from pvn.statistics.windows import Window


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue()


def _ends(name: str) -> list[str]:
    return [name, f"{name}_low", f"{name}_high"]


def _numbers(estimate: Estimate | None) -> list[object]:
    if estimate is None:
        return [None, None, None]
    return [estimate.value, *(estimate.interval or (None, None))]


def results_csv(results: Sequence[Result]) -> str:
    """One row for each (game, agent, head)."""
    columns = probe_columns(results)
    header = ["game", "agent", "head"]
    for name in (*(column.name for column in columns), "episode_return"):
        header += _ends(name)
    header += ["episodes", "seeds", "human_normalised", "agent_step_min", "agent_step_max"]
    rows = []
    for result in results:
        row: list[object] = [result.game, result.agent, result.head]
        probes = (result.probes.get(column.kind) for column in columns)
        for estimate in (*probes, result.episode_return):
            row += _numbers(estimate)
        row += [result.num_episodes, result.num_seeds, result.normalised]
        rows.append([*row, *(result.agent_steps or (None, None))])
    return _csv(header, rows)


def aggregates_csv(aggregates: Sequence[Aggregate]) -> str:
    """One row for each (agent, head)."""
    header = ["agent", "head", "games", "runs"]
    for name in STATISTICS:
        header += _ends(name.lower().replace(" ", "_"))
    rows = []
    for each in aggregates:
        numbers = [cell for name in STATISTICS for cell in _numbers(each.estimates[name])]
        rows.append([each.agent, each.head, " ".join(each.games), each.num_runs, *numbers])
    return _csv(header, rows)


def improvements_csv(improvements: Sequence[Improvement]) -> str:
    """One row for each pair of (agent, head)s."""
    header = ["agent", "head", "other_agent", "other_head", "games", *_ends("probability")]
    return _csv(
        header,
        (
            [*each.ours, *each.theirs, " ".join(each.games), *_numbers(each.probability)]
            for each in improvements
        ),
    )


def curves_csv(kinds: Mapping[str, Sequence[Curve]]) -> str:
    """One row for each point. kinds: name of the kind -> its curves."""
    rows = []
    for kind, curves in kinds.items():
        for curve in curves:
            points = zip(curve.x, curve.value, curve.low, curve.high, strict=True)
            for point in points:
                numbers = [None if np.isnan(number) else float(number) for number in point]
                rows.append([kind, curve.game, curve.agent, curve.head, *numbers])
    return _csv(["curve", "game", "agent", "head", "x", *_ends("value")], rows)


def windows_csv(windows: Sequence[Window]) -> str:
    """One row for each window of each (game, agent, head)."""
    header = ["game", "agent", "head", "first_step", "seeds", *_ends("training_return")]
    for agent in PUBLISHED:
        header += [f"{agent}_mean", f"{agent}_sd"]
    rows = []
    for each in windows:
        row: list[object] = [each.game, each.agent, each.head, each.number * WINDOW]
        row += [each.num_seeds, *_numbers(each.ours)]
        for agent in PUBLISHED:
            curve = each.published[agent]
            row += [float(curve.mean[each.number]), float(curve.deviation[each.number])]
        rows.append(row)
    return _csv(header, rows)


def correlations_csv(correlations: Sequence[ProbeCorrelation], results: Sequence[Result]) -> str:
    """One row for each kind of probe and head. The probe's name is its column in scores.csv."""
    names = {column.kind: column.name for column in probe_columns(results)}
    header = ["probe", "head", "cells", "games", "agents", *_ends("spearman"), "p_value"]
    rows: list[list[object]] = [
        [
            *(names[each.kind], each.head),
            *(each.overall.num_pairs, each.num_games, each.num_agents),
            *(each.overall.rho, *(each.overall.interval or (None, None)), each.overall.p_value),
            *(each.within.rho, *(each.within.interval or (None, None)), each.within.num_groups),
        ]
        for each in correlations
    ]
    return _csv([*header, *_ends("spearman_within_games"), "games_within"], rows)


def sources_csv(sources: Sequence[Source]) -> str:
    """One row for each group of rows in one file."""
    header = [*Group._fields, "file", "first_line", "last_line", "rows"]
    return _csv(header, ([*source.group, *source[1:]] for source in sources))
