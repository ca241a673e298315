"""Gathers what fitted Q iteration logs for each fit, and prints the tables of README.md.

python results/small/fits.py             # prints the tables of what is committed
python results/small/fits.py --gather    # after runs of the suite: first writes seed_*/
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
FITTED = ("pvn", "untrained", "random_features")
AGENTS = (*FITTED, "random_policy")

Row = dict[str, float | str | int]


def rows_of(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def gather() -> None:
    """Adds the finished evaluations to seed_S/fits.jsonl and seed_S/scores.jsonl."""
    fits, scores = defaultdict(list), defaultdict(list)
    for summary in sorted(HERE.glob("*/*/evaluate/*/summary.json")):
        run = summary.parent
        game, seed, agent = run.parts[-4], run.parts[-3], run.name
        scores[seed] += [row for row in rows_of(run / "scores.jsonl") if row["phase"] == "eval"]
        if agent != "random_policy":
            who = {"game": game, "agent": agent, "seed": int(seed)}
            fits[seed] += [who | row for row in rows_of(run / "metrics.jsonl")]
    for name, found in (("fits", fits), ("scores", scores)):
        for seed, rows in found.items():
            file = HERE / f"seed_{seed}" / f"{name}.jsonl"
            file.parent.mkdir(exist_ok=True)
            # Evaluations that were gathered before, perhaps on another machine, stay.
            new = {(row["game"], row["agent"]) for row in rows}
            kept = rows_of(file) if file.exists() else []
            rows += [row for row in kept if (row["game"], row["agent"]) not in new]
            rows.sort(key=lambda row: (row["game"], row["agent"]))
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def committed(name: str) -> dict[tuple[str, str], list[Row]]:
    """The committed rows by game and agent."""
    found = defaultdict(list)
    for file in sorted(HERE.glob(f"seed_*/{name}.jsonl")):
        for row in rows_of(file):
            found[str(row["game"]), str(row["agent"])].append(row)
    return found


def fit_words(rows: list[Row]) -> list[str]:
    """Number of fits, of those that diverged, and the largest share of clipped targets."""
    if not rows:
        return ["-"]
    clipped = max((float(row["bounded_share"]) for row in rows), default=0)
    return [
        str(len(rows)),
        str(sum(row["diverged"] != 0 for row in rows)),
        f"{100 * clipped:.2g} %",
    ]


def return_words(rows: list[Row], seeds: list[int]) -> str:
    """The mean return of each seed, or a dash where it has not been run."""
    of_seed = defaultdict(list)
    for row in rows:
        of_seed[row["seed"]].append(float(row["episode_return"]))
    found = (of_seed.get(seed, []) for seed in seeds)
    return ", ".join(f"{sum(each) / len(each):.4g}" if each else "-" for each in found)


def main() -> None:
    if "--gather" in sys.argv:
        gather()
    fits, scores = committed("fits"), committed("scores")
    games = sorted({game for game, _ in fits})
    print("| fits, diverged, clipped |" + "".join(f" {agent} |" for agent in FITTED))
    print("|---|" + "---:|" * len(FITTED))
    for game in games:
        cells = [", ".join(fit_words(fits[game, agent])) for agent in FITTED]
        print(f"| {game} | {' | '.join(cells)} |")
    seeds = sorted({int(row["seed"]) for rows in scores.values() for row in rows})
    print(
        f"\n| mean return, seeds {', '.join(map(str, seeds))} |"
        + "".join(f" {agent} |" for agent in AGENTS)
    )
    print("|---|" + "---:|" * len(AGENTS))
    for game in games:
        cells = [return_words(scores[game, agent], seeds) for agent in AGENTS]
        print(f"| {game} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
