"""Prints and draws what more tasks and wider networks do: results/minatar_greedy/scaling.md.

python -m results.minatar_greedy.scaling

Random play and the study's `controllable` have the scores 0 and 1 of a game.
"""

from pathlib import Path

import numpy as np

from configs.suite_minatar_scaling import NUM_TASKS, WIDTHS
from pvn.statistics.aggregates import interquartile_mean
from pvn.statistics.figures import png
from pvn.statistics.intervals import stratified_bootstrap
from pvn.statistics.page import Chart, Series
from results.minatar.tables import (
    Runs,
    common_seeds,
    difference,
    normalised,
    read,
    runs_of,
    words,
)

PLACE = Path("results/minatar_greedy")
MEASURES = (
    ("99,000 labels", "", 99_000, "scaling_labels.png"),
    ("100,000 interactions", "_online", 100_000, "scaling_online.png"),
)


def main() -> None:
    cells = read(PLACE)
    zero, one = runs_of(cells["random_policy", 0]), runs_of(cells["controllable_online", 100_000])

    def scores(runs: Runs) -> Runs:
        return normalised(runs, zero, one)

    def minus(first: Runs, second: Runs) -> str:
        both = [*scores(first).values(), *scores(second).values()]
        return words(dict(enumerate(both)), difference)

    for measure, suffix, step, file in MEASURES:
        all_seeds = {
            (width, num_tasks): cells[
                f"width_{width}{suffix}-num_tasks={num_tasks}"
                if num_tasks
                else f"untrained_width_{width}{suffix}",
                step,
            ]
            for width in WIDTHS
            for num_tasks in (0, *NUM_TASKS)
        }
        seeds = common_seeds(all_seeds.values())
        found = {cell: runs_of(each, seeds) for cell, each in all_seeds.items()}
        series = []
        print(
            f"\n| IQM, {measure}, {len(seeds)} seeds | untrained | "
            + " | ".join(f"{n:,}" for n in NUM_TASKS)
            + " |"
        )
        print("|---|" + "---:|" * (1 + len(NUM_TASKS)))
        for style, width in enumerate(WIDTHS):
            row = [scores(found[width, num_tasks]) for num_tasks in (0, *NUM_TASKS)]
            print(f"| width {width} | {' | '.join(words(c, interquartile_mean) for c in row)} |")
            y = np.array([interquartile_mean(list(cell.values())) for cell in row])
            low, high = np.array([stratified_bootstrap(c, interquartile_mean) for c in row]).T
            x = np.log10([1, *NUM_TASKS])
            series.append(Series(f"width {width}", x, y, low, high, style))
        print()
        most, least = NUM_TASKS[-1], NUM_TASKS[0]
        for width in WIDTHS:
            gain = minus(found[width, most], found[width, least])
            print(f"- width {width}: {most:,} tasks minus {least:,}: {gain}")
        for num_tasks in NUM_TASKS:
            gain = minus(found[WIDTHS[-1], num_tasks], found[WIDTHS[0], num_tasks])
            print(f"- {num_tasks:,} tasks: width {WIDTHS[-1]} minus width {WIDTHS[0]}: {gain}")
        chart = Chart(
            f"MinAtar, {measure}",
            file,
            "log10 of the number of tasks (at 0: no training)",
            "IQM, 1: the return of the default",
            series,
        )
        (PLACE / file).write_bytes(png(chart))


if __name__ == "__main__":
    main()
