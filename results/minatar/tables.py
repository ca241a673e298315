"""Prints tables of the episode returns that a study of MinAtar has committed.

python -m results.minatar.tables results/minatar base first_default gamma_0 untrained
python -m results.minatar.tables results/minatar_greedy greedy untrained ceiling

The directory holds seed_S/scores.jsonl and random/scores.jsonl (random play). The first name is the
agent that the others are compared with; NAME_online is the one that learned by interaction.

For each measure: the mean return of a game over seeds with its 95 % bootstrap interval; then over
games the IQM of returns normalised within the game, 0 for random play and 1 for the first agent's
mean with interaction, with a 95 % stratified bootstrap interval, and that of the difference from
the first agent. Only the seeds that all these agents have count; a single one has no interval. With
`untrained` and `ceiling` among the names, also how much of the distance between these two the first
agent makes good, where the ceiling is above in every resample.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pvn.statistics.aggregates import interquartile_mean, mean
from pvn.statistics.intervals import stratified_bootstrap

ONLINE = "_online"
Seeds = dict[str, dict[int, float]]
"""Game -> seed -> mean return."""
Runs = dict[str, np.ndarray]
"""Game -> the mean return of each seed, float64 [seeds]."""


def read(place: Path) -> dict[tuple[str, int], Seeds]:
    """(agent, agent step) -> its seeds."""
    episodes = defaultdict(list)
    for file in sorted(place.glob("*/scores.jsonl")):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            game = row["game"].removeprefix("MinAtar/")
            episodes[row["agent"], row["agent_step"], game, row["seed"]].append(
                row["episode_return"]
            )
    found: dict[tuple[str, int], Seeds] = {}
    for (agent, step, game, seed), returns in sorted(episodes.items()):
        seeds = found.setdefault((agent, step), {}).setdefault(game, {})
        seeds[seed] = float(np.mean(returns))
    return found


def runs_of(found: Seeds, seeds: Collection[int] | None = None) -> Runs:
    """The runs of all seeds, or of some."""
    return {
        game: np.array(
            [value for seed, value in sorted(each.items()) if seeds is None or seed in seeds]
        )
        for game, each in sorted(found.items())
    }


def common_seeds(found: Iterable[Seeds]) -> set[int]:
    """The seeds that every agent has in every game: only on these are agents compared."""
    return set[int].intersection(*({*each} for seeds in found for each in seeds.values()))


def normalised(runs: Runs, zero: Runs, one: Runs) -> Runs:
    """Scores: 0 is the mean return of `zero` in a game, 1 that of `one`."""
    return {
        game: (means - zero[game].mean()) / (one[game].mean() - zero[game].mean())
        for game, means in runs.items()
    }


def difference(games: Sequence[np.ndarray]) -> np.ndarray:
    """The IQM of the first half of the strata minus that of the second."""
    half = len(games) // 2
    return interquartile_mean(games[:half]) - interquartile_mean(games[half:])


def share(games: Sequence[np.ndarray]) -> np.ndarray:
    """(agent - untrained) / (ceiling - untrained), of the means of these three strata.

    It is NaN where the ceiling is not above untrained features.
    """
    agent, untrained, ceiling = (runs.mean(axis=-1) for runs in games)
    gap = np.where(ceiling > untrained, ceiling - untrained, np.nan)
    return np.asarray((agent - untrained) / gap)


def words(strata: Mapping[Any, np.ndarray], statistic: Callable[..., np.ndarray]) -> str:
    """A statistic with its 95 % stratified bootstrap interval, which takes two runs at least."""
    value = f"{statistic(list(strata.values())):.2f}"
    if min(map(len, strata.values())) < 2:
        return value
    low, high = stratified_bootstrap(strata, statistic)
    return f"{value} [{low:.2f}, {high:.2f}]" if low <= high else "-"


def print_table(title: str, agents: Mapping[str, Seeds], zero: Runs, one: Runs) -> None:
    """One measure: a row for each game, the IQM, and the difference from the first agent.

    agents: name -> its seeds. zero, one: runs whose means are the scores 0 and 1.
    """
    seeds = common_seeds(agents.values())
    found = {name: runs_of(each, seeds) for name, each in agents.items()}

    def scores(runs: Runs) -> Runs:
        return normalised(runs, zero, one)

    def print_row(name: str, cells: Iterable[str]) -> None:
        print(f"| {name} | {' | '.join(cells)} |")

    (name, first), *others = found.items()
    print()
    print_row(f"{title}, {len(seeds)} seeds", found)
    print("|---|" + "---:|" * len(found))
    for game in sorted(zero):
        print_row(game, (words({game: runs[game]}, mean) for runs in found.values()))
    print_row("IQM", (words(scores(runs), interquartile_mean) for runs in found.values()))
    both = [[*scores(runs).values(), *scores(first).values()] for _, runs in others]
    minus = [words(dict(enumerate(strata)), difference) for strata in both]
    print_row(f"IQM minus that of {name}", ["", *minus])
    if "untrained" in found and "ceiling" in found:
        three = [first, found["untrained"], found["ceiling"]]
        print(f"\nShare of the gap to the ceiling that {name} closes:")
        for game in sorted(zero):
            print(f"{game} {words(dict(enumerate(runs[game] for runs in three)), share)}")


def main() -> None:
    place, agents = Path(sys.argv[1]), sys.argv[2:]
    found = read(place)
    zero, one = runs_of(found["random_policy", 0]), runs_of(found[agents[0] + ONLINE, 100_000])
    for step in sorted(step for agent, step in found if agent == agents[0]):
        labelled = {name: found[name, step] for name in agents if (name, step) in found}
        print_table(f"{step:,} labels", labelled, zero, one)
    online = {name: found.get((name + ONLINE, 100_000)) for name in agents}
    print_table(
        "100,000 interactions", {name: each for name, each in online.items() if each}, zero, one
    )


if __name__ == "__main__":
    main()
