"""How much of the gap between untrained features and the agent's own a variant closes.

    python -m results.atari_development.gap greedy_warm controllable_warm small_warm

For each variant, from the committed rows of seed 0: the share (variant - untrained_norm) /
(ceiling - untrained_norm) of nine measures, each at least 0 and at most 1, and their mean.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

PLACE = Path(__file__).parent / "seed_0"
PROBES = (  # (game, target, metric); the reward of Pong has no gap
    ("Breakout", "value", "r2"),
    ("Breakout", "reward", "average_precision"),
    ("Breakout", "action", "accuracy"),
    ("Pong", "value", "r2"),
    ("Pong", "action", "accuracy"),
)
CURVES = tuple((game, labels) for game in ("Breakout", "Pong") for labels in (30_000, 100_000))


def read() -> dict[str, np.ndarray]:
    """Agent -> its nine measures, float64 [9]; NaN where a row is missing."""
    probes: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    returns: dict[str, dict[tuple[str, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in (PLACE / "greedy_probes.jsonl").read_text().splitlines():
        row = json.loads(line)
        probes[row["agent"]][row["game"], row["target"], row["metric"]] = row["value"]
    for line in (PLACE / "greedy_scores.jsonl").read_text().splitlines():
        row = json.loads(line)
        returns[row["agent"]][row["game"], row["agent_step"]].append(row["episode_return"])
    return {
        agent: np.array(
            [probes[agent].get(key, np.nan) for key in PROBES]
            + [np.mean(returns[agent].get(key, [np.nan])) for key in CURVES]
        )
        for agent in probes
    }


def main() -> None:
    found = read()
    untrained, ceiling = found["untrained_norm"], found["ceiling"]
    names = [f"{game} {target}" for game, target, _ in PROBES]
    names += [f"{game} {labels:,}" for game, labels in CURVES]
    print(f"| | {' | '.join(names)} | mean |\n|---|{'---:|' * 10}")
    for agent in sys.argv[1:]:
        shares = np.clip((found[agent] - untrained) / (ceiling - untrained), 0, 1)
        cells = (f"{share:.2f}" for share in (*shares, shares.mean()))
        print(f"| {agent} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
