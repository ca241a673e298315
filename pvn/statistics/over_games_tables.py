"""The tables of comparisons over games, beside published returns, and of probes beside scores."""

import math
from collections.abc import Iterable, Sequence

from pvn.statistics.intervals import NUM_RESAMPLES
from pvn.statistics.over_games import STATISTICS, Aggregate, Improvement, ProbeCorrelation
from pvn.statistics.page import Cell, Table
from pvn.statistics.published import OTHER_SCREENS, PUBLISHED, WINDOW
from pvn.statistics.summary import Estimate
from pvn.statistics.tables import (
    Anchors,
    Column,
    agent_label,
    agent_name,
    estimate_cell,
    number,
)
from pvn.statistics.windows import COVERED, Window

AGGREGATE_NOTE = (
    "Human-normalised scores over games (Agarwal et al. 2021). A run is one seed in one game. "
    "IQM: interquartile mean of all runs. Median, Mean: over the games' means. Optimality gap: "
    "mean of 1 - min(score, 1), how far runs fall short of a human; less is better. Brackets hold "
    f"95 % stratified bootstrap intervals ({NUM_RESAMPLES:,} resamples of runs within each game): "
    "how much other seeds would change the number, not other games. A row without an interval has "
    "a game with a single run. Compare only rows that cover the same games with as many runs of "
    "each: in the IQM, a game with more runs counts more."
)
PROFILE_NOTE = (
    "Share of runs that score above a threshold, mean over games: a curve further up is better. "
    "Bands are pointwise 95 % intervals by the same bootstrap."
)
IMPROVEMENT_NOTE = (
    "Probability that a run of the first agent beats a run of the second in the same game, mean "
    "over the games that both have: the Mann-Whitney U statistic divided by the number of pairs; "
    "ties count as half. 0.5: neither is better. It does not say by how much."
)
EFFICIENCY_NOTE = (
    "Interquartile mean over games of the human-normalised return, with pointwise 95 % intervals. "
    "A run's score in a bin of training episodes is the mean return of those that end there, or "
    "its previous score if none does."
)
LABEL_NOTE = (
    "Return of evaluation episodes against the agent steps with rewards that the head has learned "
    "from. A point is the mean over seeds. The band is its 95 % bootstrap interval."
)
CURVES_NOTE = (
    "Return of training episodes against agent steps with rewards. A point is the mean over a bin "
    "of episodes. The band is its 95 % bootstrap interval."
)
PUBLISHED_NOTE = (
    "Grey, dashed: published returns of Dopamine's agents in this protocol (Castro et al. 2018), "
    f"mean and one standard deviation over 5 runs for each window of {WINDOW:,} agent steps, drawn "
    "at the window's middle. A window is drawn if our training in that game reaches its middle."
)
WINDOWS_NOTE = (
    f"Return of our training episodes that end in a window of {WINDOW:,} agent steps, and the "
    "published mean ± standard deviation over 5 runs. In parentheses: how many of these standard "
    f"deviations ours is above. A window counts if all our runs reach {100 * COVERED:.0f} % of it."
)
CORRELATION_NOTE = (
    "Spearman's rank correlation of a probe with the human-normalised score. A cell is an agent in "
    "a game, with one head. All cells: over games and agents together, which mostly tells easy "
    "games from hard ones. Its interval is Fisher's z with Bonett and Wright's variance, p is from "
    "permutations; both take cells as independent, which cells of one game or one agent are not, "
    "so they are too optimistic. Within games: mean over games of the correlation over agents, for "
    "games with three agents or more, with a bootstrap interval over games; this asks whether a "
    "better probe means a better score. In a chart, a point is a cell, its whisker the interval "
    "of the score."
)


def screens_note(games: Iterable[str]) -> str:
    """Which of these games their agents probably saw otherwise; empty if none."""
    other = sorted(OTHER_SCREENS & {*games})
    if not other:
        return ""
    return (
        " The emulator package of that time has another ROM, with other screens, of "
        f"{', '.join(other)}: compare with care."
    )


def aggregate_table(aggregates: Sequence[Aggregate], anchors: Anchors) -> Table:
    """One row for each (agent, head)."""
    rows: list[list[str | Cell]] = [
        [
            agent_name(each.agent),
            each.head,
            *(estimate_cell(each.estimates[name], ".3f") for name in STATISTICS),
            number(len(each.games), ""),
            number(each.num_runs, ""),
            Cell("rows", link=anchors[each.agent, each.head]),
        ]
        for each in aggregates
    ]
    return Table(["Agent", "Head", *STATISTICS, "Games", "Runs", "Source"], rows, 2, bars=True)


def improvement_table(improvements: Sequence[Improvement], anchors: Anchors) -> Table:
    """One row for each pair of (agent, head)s."""
    rows: list[list[str | Cell]] = [
        [
            agent_label(*each.ours),
            agent_label(*each.theirs),
            estimate_cell(each.probability, ".3f"),
            number(len(each.games), ""),
            Cell("first", link=anchors[each.ours]),
            Cell("second", link=anchors[each.theirs]),
        ]
        for each in improvements
    ]
    header = ["First", "Second", "P(first beats second)", "Games", "Source 1", "Source 2"]
    return Table(header, rows, 2, bars=True)


def windows_table(windows: Sequence[Window], anchors: Anchors) -> Table:
    """One row for each window of each (game, agent, head)."""
    rows: list[list[str | Cell]] = []
    for each in windows:
        begin = each.number * WINDOW
        cells = []
        for agent in PUBLISHED:
            curve = each.published[agent]
            mean, deviation = curve.mean[each.number], curve.deviation[each.number]
            above = each.deviations(agent)
            text = _mean_and_deviation(mean, deviation)
            cells.append(Cell(text if above is None else f"{text} ({above:+.1f})", float(mean)))
        rows.append(
            [
                each.game,
                agent_name(each.agent),
                each.head,
                Cell(f"{begin:,} to {begin + WINDOW:,}", float(begin)),
                estimate_cell(each.ours, ",.1f"),
                *cells,
                number(each.num_seeds, ""),
                Cell("rows", link=anchors[each.agent, each.head, each.game]),
            ]
        )
    header = ["Game", "Agent", "Head", "Agent steps", "Training return", *PUBLISHED.values()]
    return Table([*header, "Seeds", "Source"], rows, 3)


def _mean_and_deviation(mean: float, deviation: float) -> str:
    """Both with the decimals that give the deviation two digits, one to three."""
    decimals = min(max(1 - math.floor(math.log10(deviation)), 1), 3) if deviation > 0 else 1
    return f"{mean:,.{decimals}f} ± {deviation:,.{decimals}f}"


def _rho_cell(rho: float | None, interval: tuple[float, float] | None) -> Cell:
    return estimate_cell(None if rho is None else Estimate(rho, interval), ".2f")


def correlation_table(
    correlations: Sequence[ProbeCorrelation], columns: Sequence[Column], results_anchor: str
) -> Table:
    """One row for each kind of probe and head. results_anchor: where the cells' numbers are."""
    titles = {column.kind: column.title for column in columns}
    rows: list[list[str | Cell]] = []
    for each in correlations:
        overall, within = each.overall, each.within
        rows.append(
            [
                titles[each.kind],
                each.head,
                _rho_cell(overall.rho, overall.interval),
                number(overall.p_value, ".4f"),
                number(overall.num_pairs, ""),
                number(each.num_games, ""),
                number(each.num_agents, ""),
                _rho_cell(within.rho, within.interval),
                number(within.num_groups or None, ""),
                Cell("results", link=results_anchor),
            ]
        )
    header = ["Probe", "Head", "All cells", "p", "Cells", "Games", "Agents"]
    return Table([*header, "Within games", "Games within", "Source"], rows, 2)
