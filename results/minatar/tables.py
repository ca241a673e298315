"""Prints tables of the episode returns that a study of MinAtar has committed.

python -m results.minatar.tables results/minatar base first_default gamma_0 untrained
python -m results.minatar.tables results/minatar_greedy greedy untrained ceiling

The directory holds seed_S/scores.jsonl and random/scores.jsonl (random play). The first name is the
agent that the others are compared with; NAME_online is the one that learned by interaction.

For each measure: the mean return of a game over seeds with its 95 % bootstrap interval; then over
games the IQM of returns normalised within the game, 0 for random play and 1 for the first agent's
mean with interaction, with a 95 % stratified bootstrap interval, and that of the difference from
the first agent. With `untrained` and `ceiling` among the names, also how much of the distance
between these two the first agent makes good.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pvn.statistics.aggregates import interquartile_mean, mean
from pvn.statistics.intervals import stratified_bootstrap

ONLINE = "_online"
Runs = dict[str, np.ndarray]
"""Game -> the mean return of each seed, float64 [seeds]."""


def read(place: Path) -> dict[tuple[str, int], Runs]:
    """(agent, agent step) -> its runs."""
    episodes = defaultdict(list)
    for file in sorted(place.glob("*/scores.jsonl")):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            game = row["game"].removeprefix("MinAtar/")
            episodes[row["agent"], row["agent_step"], game, row["seed"]].append(
                row["episode_return"]
            )
    means: dict[tuple[str, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (agent, step, game, _), returns in sorted(episodes.items()):
        means[agent, step][game].append(float(np.mean(returns)))
    return {
        key: {game: np.array(each) for game, each in games.items()} for key, games in means.items()
    }


def normalised(runs: Runs, zero: Runs, one: Runs) -> Runs:
    """Scores: 0 is the mean return of `zero` in a game, 1 that of `one`."""
    return {
        game: (means - zero[game].mean()) / (one[game].mean() - zero[game].mean())
        for game, means in sorted(runs.items())
    }


def difference(games: Sequence[np.ndarray]) -> np.ndarray:
    """The IQM of the first half of the strata minus that of the second."""
    half = len(games) // 2
    return interquartile_mean(games[:half]) - interquartile_mean(games[half:])


def share(games: Sequence[np.ndarray]) -> np.ndarray:
    """(agent - untrained) / (ceiling - untrained), of the means of these three strata."""
    agent, untrained, ceiling = (runs.mean(axis=-1) for runs in games)
    with np.errstate(invalid="ignore", divide="ignore"):  # a ceiling that is no better: no share
        return np.asarray((agent - untrained) / (ceiling - untrained))


def words(strata: Mapping[Any, np.ndarray], statistic: Callable[..., np.ndarray]) -> str:
    """A statistic with its 95 % stratified bootstrap interval."""
    low, high = stratified_bootstrap(strata, statistic)
    return f"{statistic(list(strata.values())):.2f} [{low:.2f}, {high:.2f}]"


def print_table(title: str, found: dict[str, Runs], zero: Runs, one: Runs) -> None:
    """One measure: a row for each game, the IQM, and the difference from the first agent.

    found: agent -> its runs. zero, one: runs whose means are the scores 0 and 1.
    """

    def scores(runs: Runs) -> Runs:
        return normalised(runs, zero, one)

    def print_row(name: str, cells: Iterable[str]) -> None:
        print(f"| {name} | {' | '.join(cells)} |")

    (name, first), *others = found.items()
    print()
    print_row(title, found)
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
    zero, one = found["random_policy", 0], found[agents[0] + ONLINE, 100_000]
    for step in sorted(step for agent, step in found if agent == agents[0]):
        runs = {agent: found[agent, step] for agent in agents if (agent, step) in found}
        print_table(f"{step:,} labels", runs, zero, one)
    online = {agent: found.get((agent + ONLINE, 100_000)) for agent in agents}
    print_table(
        "100,000 interactions", {agent: runs for agent, runs in online.items() if runs}, zero, one
    )
    print("\nseeds:", {game: len(means) for game, means in one.items()})


if __name__ == "__main__":
    main()
