"""The rows of results of probes and diagnostics."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from pvn.evaluation.records import DIAGNOSTICS, ProbeRow
from pvn.probes.diagnostics import Measure
from pvn.probes.linear import ProbeResult
from pvn.probes.score import Score
from pvn.probes.target import NamedTarget


class Origin(NamedTuple):
    """What all rows of one set of features share."""

    game: str
    agent: str
    seed: int
    features: Mapping[str, Any]
    dataset: Mapping[str, Any]
    details: Mapping[str, Any]


def probe_rows(
    origin: Origin, target: NamedTarget, result: ProbeResult, max_rows: int
) -> list[ProbeRow]:
    """A row for each metric of a result that is defined. An interval that is not equals the value.

    Named outputs are in the details of the row, as [value, low, high].
    """
    details = {key: getattr(result, key) for key in result._fields[2:] if key != "details"}
    details |= {key: value for key, value in result.details.items() if np.isfinite(value)}
    rows = []
    for metric, score in result.scores.items():
        if not np.isfinite(score.value):
            continue
        outputs = {name: _finite(each) for name, each in result.outputs.get(metric, {}).items()}
        more = details | ({"outputs": outputs} if outputs else {})
        settings = target.settings | {"max_rows": max_rows}
        rows.append(_row(origin, target.name, settings, metric, score, more))
    return rows


def measure_rows(origin: Origin, measures: Iterable[Measure]) -> list[ProbeRow]:
    """A row for each diagnostic that is defined. It has no interval: both ends equal the value."""
    return [
        _row(origin, DIAGNOSTICS, each.settings, each.metric, Score(*[each.value] * 3), {})
        for each in measures
        if np.isfinite(each.value)
    ]


def _row(
    origin: Origin,
    target: str,
    settings: Mapping[str, Any],
    metric: str,
    score: Score,
    details: Mapping[str, Any],
) -> ProbeRow:
    value, low, high = score
    return ProbeRow(
        game=origin.game,
        agent=origin.agent,
        seed=origin.seed,
        target=target,
        settings=settings,
        features=origin.features,
        dataset=origin.dataset,
        metric=metric,
        value=value,
        low=low if np.isfinite(low) else value,
        high=high if np.isfinite(high) else value,
        details={**details, **origin.details},
    )


def _finite(score: Score) -> list[float | None]:
    return [x if np.isfinite(x) else None for x in score]
