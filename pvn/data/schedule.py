"""Which part of the data is in the buffer at a step: a pure function of (seed, step).

The transitions are cut into n blocks, put in a random order, and W of them are buffered: at
position q those at places q .. q + W - 1 of the order, in a circle.

    order     3  0  4  1  2        n = 5 blocks, W = 3
    q = 0    [3  0  4] 1  2
    q = 1     3 [0  4  1] 2        block 1 takes the slot of block 3
    q = 3     3] 0  4 [1  2        around the circle

The position moves on by one after a fixed number of draws. So in any n positions, a pass, each
block is buffered for exactly W of them, and each transition is drawn equally often in expectation,
from whichever step a run is resumed. Where all the data fit, W = n and nothing moves.
"""

from typing import NamedTuple

import numpy as np

from pvn.data.sampler import Stream, generator
from pvn.data.transitions import STACK, Transitions
from pvn.errors import UserError

BLOCK = 1024  # transitions of a block, where the budget holds many blocks
AHEAD = 4  # blocks read before they are due


class Schedule(NamedTuple):
    """The blocks of K datasets with M transitions in all, and their order."""

    edges: np.ndarray  # int64 [K, n + 1]: block j has transitions edges[k, j] .. edges[k, j + 1]
    order: np.ndarray  # int64 [n], the block at each place
    num_buffered: int  # W
    draws_per_move: int  # draws of transitions after which the position moves on by one

    @property
    def num_blocks(self) -> int:
        """n."""
        return len(self.order)

    @property
    def moves(self) -> bool:
        """Whether only a part of the data is buffered at a time."""
        return self.num_buffered < self.num_blocks

    def position(self, step: int, batch_size: int) -> int:
        """The first buffered place at a step (from 0) of a run with this batch size."""
        return step * batch_size // self.draws_per_move if self.moves else 0

    def buffered(self, position: int) -> np.ndarray:
        """int64 [W], the blocks buffered at a position; place q has slot q mod W."""
        return self.order[np.arange(position, position + self.num_buffered) % self.num_blocks]


def block_rows(start: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row, and one past the last, that the transitions of each block need.

    The latter may point one past the dataset: the last row of all has no next row. Callers clip.

    Args:
      start: int64 [M], the row of each transition.
      edges: int64 [..., n + 1].

    Returns:
      Two int64 [..., n].
    """
    first = np.maximum(start[edges[..., :-1]] - (STACK - 1), 0)
    return first, start[edges[..., 1:] - 1] + 2


def make_schedule(
    seed: int,
    transitions: Transitions,
    *,
    row_bytes: int,
    budget: int | None,
    memory: int,
    reuse: float,
) -> Schedule:
    """The schedule for a memory budget.

    Args:
      seed: of the order.
      transitions: of K datasets. Each block has a part of each dataset, so that the datasets'
        shares of the draws hold at all times.
      row_bytes: memory of a buffered row.
      budget: bytes for the buffer, the columns and the rows that are read ahead; None: as many as
        it takes.
      memory: bytes of the machine or device.
      reuse: mean number of times that a transition is drawn while it is buffered. A pass takes
        reuse * M draws and reads every frame once.

    Raises:
      UserError: the budget is too small, or there is none and the data are larger than memory.
    """
    groups, start, fixed_bytes = transitions.groups, transitions.start, transitions.nbytes
    sizes = np.diff(groups)
    total = int(groups[-1])

    def cut(num_blocks: int) -> np.ndarray:
        return groups[:-1, None] + sizes[:, None] * np.arange(num_blocks + 1) // num_blocks

    whole = cut(1)
    first, stop = block_rows(start, whole)
    everything = int(np.sum(stop - first)) * row_bytes + fixed_bytes
    if budget is None and everything > memory:
        raise UserError(
            f"config.data_memory_gib: 0 asks for all the data in memory, {everything / 2**30:,.3g} "
            f"GiB, and there are {memory / 2**30:,.3g}; expected a number that fits"
        )
    if budget is None or everything <= budget:
        return Schedule(whole, np.zeros(1, np.int64), 1, total)

    affordable = max(0, budget - fixed_bytes) // row_bytes
    block = int(np.clip(affordable // (16 * AHEAD), 64, BLOCK))
    num_blocks = int(min(-(-total // block), sizes.min()))
    edges = cut(num_blocks)
    first, stop = block_rows(start, edges)
    largest = int(np.sum(stop - first, axis=0).max())
    # A block that is being copied is in memory twice; so is one that a stopped reader holds.
    num_buffered = affordable // largest - AHEAD - 2
    if num_buffered < 2:
        least = min(fixed_bytes + (AHEAD + 4) * largest * row_bytes, everything) / 2**30
        why = ""
        if num_blocks == sizes.min():
            why = f" (a dataset of only {num_blocks:,} transitions has a part in each of as many)"
        raise UserError(
            f"config.data_memory_gib: {budget / 2**30:.3g} is too small for blocks of {largest:,} "
            f"rows{why}, expected {least * 1.01:.3g} or more"
        )
    num_buffered = min(num_buffered, num_blocks - 1)  # all but what is read ahead would fit
    order = generator(seed, Stream.ORDER).permutation(num_blocks)
    draws = max(1, round(reuse * total / num_blocks))
    return Schedule(edges, order, int(num_buffered), draws)
