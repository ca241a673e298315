"""Checks a dataset: every checksum, every value, and the order of rows and episodes."""

from collections.abc import Callable, Iterator

import numpy as np

from pvn.data.layout import SHARD_ROWS
from pvn.data.store import Dataset, longer_arrays, unfinished
from pvn.data.transitions import episode_spans
from pvn.errors import UserError


def problems(
    dataset: Dataset, on_progress: Callable[[int], object] = lambda count: None
) -> Iterator[str]:
    """Yields a line for each fault of the dataset. Reads frames and RAM shard by shard.

    `open_dataset` has already verified the checksums of the columns.

    on_progress: called with the number of rows just read.
    """
    rows, attributes = dataset.rows, dataset.attributes
    if what := unfinished(attributes):
        yield what
    yield from longer_arrays(dataset)
    for start in range(0, len(rows.action), SHARD_ROWS):
        for stored in (rows.frame, rows.ram):
            try:
                if stored is not None:
                    stored[start : start + SHARD_ROWS]
            except UserError as error:
                yield str(error).removeprefix(f"dataset {dataset.path}: ")
        on_progress(min(SHARD_ROWS, len(rows.action) - start))

    starts, stops = episode_spans(rows.episode)
    last = stops - 1
    num_actions = attributes["num_actions"]
    inner_end, inner_start = np.ones((2, len(rows.action)), bool)
    inner_end[last], inner_start[starts] = False, False
    checks = {
        "the action is not one of the game's": (rows.action < 0) | (rows.action >= num_actions),
        "the reward is not finite": ~np.isfinite(rows.reward),
        "terminal within an episode": rows.terminal & inner_end,
        "truncated within an episode": rows.truncated & inner_end,
        "cut_start within an episode": rows.cut_start & inner_start,
        "both terminal and truncated": rows.terminal & rows.truncated,
        "the last row of an episode is neither terminal nor truncated": ~(
            rows.terminal | rows.truncated | inner_end
        ),
    }
    numbers = rows.episode[starts]
    expected = np.arange(len(starts))
    if not np.array_equal(numbers, expected):
        at = int(np.flatnonzero(numbers != expected)[0])
        yield f"row {starts[at]}: its episode is {numbers[at]}, expected {at}"
    if attributes["num_episodes"] != len(starts):
        yield f"zarr.json says {attributes['num_episodes']} episodes, there are {len(starts)}"
    for what, wrong in checks.items():
        if count := int(wrong.sum()):
            yield f"row {int(np.argmax(wrong))}: {what} ({count:,} such rows)"
