"""Assembles charts from curves and results."""

from collections.abc import Mapping, Sequence

import numpy as np

from pvn.statistics.curves import Curve
from pvn.statistics.page import Chart, Series
from pvn.statistics.published import PUBLISHED, comparable
from pvn.statistics.references import human_normalised
from pvn.statistics.summary import ProbeKind, Result
from pvn.statistics.tables import agent_label

DRAWN = ("dqn_adam", "rainbow")
"""The published agents that charts show."""

Styles = Mapping[tuple[str, str], int]  # (agent, head) -> the same number in all charts


def curve_series(curve: Curve, styles: Styles, num_games: int = 1) -> Series:
    """The series of a curve. Its label says if it covers fewer than `num_games` games."""
    label = agent_label(curve.agent, curve.head)
    if curve.num_games < num_games:
        label += f" ({curve.num_games} of {num_games} games)"
    pair = curve.agent, curve.head
    return Series(label, curve.x, curve.value, curve.low, curve.high, styles[pair])


def published_series(game: str, last_step: float) -> list[Series]:
    """Published curves beside training up to `last_step`: mean and one standard deviation."""
    return [
        Series(
            f"{PUBLISHED[curve.agent]}, published",
            curve.agent_step[: curve.mean.size],
            curve.mean,
            curve.mean - curve.deviation,
            curve.mean + curve.deviation,
            style=DRAWN.index(curve.agent),
            published=True,
        )
        for curve in comparable(game, last_step)
        if curve.agent in DRAWN
    ]


def game_charts(
    curves: Sequence[Curve], styles: Styles, stem: str, y_label: str, published: bool = False
) -> list[Chart]:
    """One chart for each game, with the curves of all agents, and with what is published."""
    charts = []
    for game in dict.fromkeys(curve.game for curve in curves):
        here = [curve for curve in curves if curve.game == game]
        series = [curve_series(curve, styles) for curve in here]
        if published:
            series += published_series(game, max(float(curve.x.max()) for curve in here))
        charts.append(
            Chart(
                game,
                f"{stem}_{game.replace('/', '_')}.png",
                "agent steps with rewards",
                y_label,
                series,
            )
        )
    return charts


def over_games_chart(
    title: str, file: str, axes: tuple[str, str], curves: Sequence[Curve], styles: Styles
) -> list[Chart]:
    """A chart of curves over games, or none without curves. axes: labels of x and y."""
    if not curves:
        return []
    most = max(curve.num_games for curve in curves)
    series = [curve_series(curve, styles, most) for curve in curves]
    return [Chart(title, file, *axes, series)]


def probe_chart(
    kind: ProbeKind, title: str, file: str, results: Sequence[Result], styles: Styles
) -> Chart:
    """Human-normalised scores against the values of a probe. A point is a game."""
    series = []
    for pair, style in styles.items():
        cells = [
            result
            for result in results
            if (result.agent, result.head) == pair
            and kind in result.probes
            and result.normalised is not None
        ]
        cells.sort(key=lambda result: result.probes[kind].value)
        if not cells:
            continue
        points = [
            (result.probes[kind].value, result.normalised, *_normalised_interval(result))
            for result in cells
        ]
        x, y, low, high = np.array(points, float).T
        names = tuple(result.game for result in cells)
        series.append(Series(agent_label(*pair), x, y, low, high, style, names=names))
    return Chart(title, file, title, "human-normalised score", series, points=True)


def _normalised_interval(result: Result) -> tuple[float, float]:
    interval = result.episode_return.interval if result.episode_return else None
    if interval is None:
        return np.nan, np.nan
    low, high = (human_normalised(end, result.game) for end in interval)
    return (np.nan, np.nan) if low is None or high is None else (low, high)
