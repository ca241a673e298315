"""Prints tables of the episode returns that a study of MinAtar has committed.

python -m results.minatar.tables results/minatar base first_default gamma_0 untrained
python -m results.minatar.tables results/minatar/greedy greedy uniform gamma_0 untrained

The directory holds seed_S/scores.jsonl and random/scores.jsonl (random play). The first name is the
agent that the others are compared with; NAME_online is the one that learned by interaction.

For each measure: the mean return of a game over seeds with its 95 % bootstrap interval; then over
games the IQM of returns normalised within the game, 0 for random play and 1 for the first agent's
mean with interaction, with a 95 % stratified bootstrap interval, and that of the difference from
the first agent.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pvn.statistics.aggregates import interquartile_mean
from pvn.statistics.intervals import bootstrap_interval, stratified_bootstrap

ONLINE = "_online"
Runs = dict[tuple[str, str, int], dict[str, list[float]]]
"""(game, agent, agent step) -> game -> the mean return of each seed."""


def read(place: Path) -> dict[tuple[str, int], dict[str, np.ndarray]]:
    """(agent, agent step) -> game -> the mean return of each seed, float64 [seeds]."""
    episodes = defaultdict(list)
    for file in sorted(place.glob("*/scores.jsonl")):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            key = row["agent"], row["agent_step"], row["game"].removeprefix("MinAtar/")
            episodes[key, row["seed"]].append(row["episode_return"])
    found = defaultdict(lambda: defaultdict(list))
    for ((agent, step, game), _), returns in sorted(episodes.items()):
        found[agent, step][game].append(np.mean(returns))
    return {
        key: {game: np.array(means) for game, means in games.items()}
        for key, games in found.items()
    }


def normalised(games: dict[str, np.ndarray], zero: dict, one: dict) -> dict[str, np.ndarray]:
    """Scores of each game, 0 for random play and 1 for the mean of `one`."""
    return {
        game: (runs - zero[game].mean()) / (one[game].mean() - zero[game].mean())
        for game, runs in games.items()
    }


def difference(games: Sequence[np.ndarray]) -> np.ndarray:
    """The IQM of the first half of the strata minus that of the second."""
    half = len(games) // 2
    return interquartile_mean(games[:half]) - interquartile_mean(games[half:])


def words(value: float, interval: Sequence[float]) -> str:
    low, high = (f"{float(bound):.2f}" for bound in interval)
    return f"{value:.2f} [{low}, {high}]"


def print_table(title: str, agents: list[str], found: list[dict[str, np.ndarray]], random, one):
    """One measure: a row for each game, the IQM, and the difference from the first agent."""
    print(f"\n| {title} |" + "".join(f" {agent} |" for agent in agents))
    print("|---|" + "---:|" * len(agents))
    for game in sorted(random):
        cells = [words(runs[game].mean(), bootstrap_interval(runs[game])) for runs in found]
        print(f"| {game} | {' | '.join(cells)} |")
    scores = [normalised(runs, random, one) for runs in found]
    iqm = [
        words(interquartile_mean(list(each.values())), stratified_bootstrap(each, interquartile_mean))
        for each in scores
    ]
    print(f"| IQM | {' | '.join(iqm)} |")
    below = ["" for _ in scores]
    for index, each in enumerate(scores[1:], 1):
        strata = dict(enumerate([*each.values(), *scores[0].values()]))
        below[index] = words(difference(list(strata.values())), stratified_bootstrap(strata, difference))
    print(f"| IQM minus that of {agents[0]} | {' | '.join(below)} |")


def main() -> None:
    place, agents = Path(sys.argv[1]), sys.argv[2:]
    found = read(place)
    random = next(games for (agent, _), games in found.items() if agent == "random_policy")
    steps = sorted({step for agent, step in found if agent == agents[0]})
    online = {agent: found[agent + ONLINE, 100_000] for agent in agents if (agent + ONLINE, 100_000) in found}
    for step in steps:
        print_table(
            f"{step:,} labels",
            agents,
            [found[agent, step] for agent in agents],
            random,
            online[agents[0]],
        )
    print_table(
        "100,000 interactions", list(online), list(online.values()), random, online[agents[0]]
    )
    seeds = {game: len(runs) for game, runs in online[agents[0]].items()}
    print(f"\nseeds: {seeds}")


if __name__ == "__main__":
    main()
