"""Which part of the data is in the buffer at a step: a pure function of (seed, step).

The transitions are cut into n blocks, and the blocks are put in a random order. W of them are
buffered: at position q, those at positions q .. q + W - 1 of the order, which repeats after n.

    order     3  0  4  1  2        n = 5 blocks, W = 3
    q = 0    [3  0  4] 1  2
    q = 1     3 [0  4  1] 2        block 1 takes the slot of block 3
    q = 3     3] 0  4 [1  2        after the last block comes the first

The position moves by one after a fixed number of draws. A pass is n positions. In any pass each
block is buffered at exactly W positions, so each transition is drawn equally often in expectation.
This holds from whichever step a run resumes. If all the data fit, there is one block, W = n = 1,
and the position never moves.

The W slots, q mod W for position q, are dealt to L lanes, and each row of a batch draws from the
slots of one lane. So a process that gathers a part of each batch's rows reads and keeps the blocks
of these lanes only. L depends on W and the batch size, not on the number of processes.
"""

import math
from typing import NamedTuple

import numpy as np

from pvn.data.sampler import Stream, generator
from pvn.data.transitions import Transitions
from pvn.errors import UserError

BLOCK = 1024  # transitions of a block, if the budget and the smallest dataset allow as many
AHEAD = 4  # blocks that are read in advance
LANES = 64  # most lanes


class Schedule(NamedTuple):
    """The blocks of K datasets with M transitions in all, and their order."""

    edges: np.ndarray  # int64 [K, n + 1]: block j has transitions edges[k, j] .. edges[k, j + 1]
    order: np.ndarray  # int64 [n], the block at each position
    num_buffered: int  # W
    draws_per_move: int  # drawn transitions after which the position moves by one
    num_lanes: int = 1  # L, divides W and the batch size; slot s belongs to lane s mod L

    @property
    def num_blocks(self) -> int:
        """n."""
        return len(self.order)

    @property
    def moves(self) -> bool:
        """Whether only a part of the data is buffered at a time."""
        return self.num_buffered < self.num_blocks

    def position(self, step: int, batch_size: int) -> int:
        """The position at a step (counted from 0) of a run with this batch size."""
        return step * batch_size // self.draws_per_move if self.moves else 0


def block_rows(start: np.ndarray, edges: np.ndarray, stack: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows that the transitions of each block need: the first, and one past the last.

    One past the last may exceed the number of rows by one, because the last row of a dataset has no
    next row. Callers clip it.

    Args:
      start: int64 [M], the row that each transition starts from.
      edges: int64 [..., n + 1], as `Schedule.edges`.
      stack: frames of an observation.

    Returns:
      Two int64 [..., n].
    """
    first = np.maximum(start[edges[..., :-1]] - (stack - 1), 0)
    return first, start[edges[..., 1:] - 1] + 2


def make_schedule(
    seed: int,
    transitions: Transitions,
    *,
    batch_size: int,
    row_bytes: int,
    budget: int | None,
    memory: int,
    reuse: float,
) -> Schedule:
    """The schedule for a memory budget.

    Args:
      seed: of the order.
      transitions: of K datasets. Each block has a part of each dataset, so every dataset can have
        its share of the draws at any step.
      batch_size: B, over all devices.
      row_bytes: bytes of a buffered row.
      budget: bytes for the buffer, the columns and the rows that are read in advance; None: buffer
        all the data. Several processes share the buffer.
      memory: bytes that this process may use, or of a device.
      reuse: mean number of times that a transition is drawn while it is buffered. A pass takes
        reuse * M draws and reads every frame once, those near the edges of blocks twice.

    Raises:
      UserError: the budget is too small; or it is None, and the data are larger than memory.
    """
    groups, start, fixed_bytes = transitions.groups, transitions.start, transitions.nbytes
    sizes = np.diff(groups)
    total = int(groups[-1])

    def cut(num_blocks: int) -> np.ndarray:
        return groups[:-1, None] + sizes[:, None] * np.arange(num_blocks + 1) // num_blocks

    whole = cut(1)
    first, stop = block_rows(start, whole, transitions.observation.stack)
    everything = int(np.sum(stop - first)) * row_bytes + fixed_bytes
    if budget is None and everything > memory:
        raise UserError(
            f"config.data_memory_gib: 0 asks for all the data in memory, {everything / 2**30:,.3g} "
            f"GiB, and a process may use {memory / 2**30:,.3g}; expected a number that fits"
        )
    if budget is None or everything <= budget:
        return Schedule(whole, np.zeros(1, np.int64), 1, total)

    affordable = max(0, budget - fixed_bytes) // row_bytes
    block = int(np.clip(affordable // (16 * AHEAD), 64, BLOCK))
    num_blocks = int(min(-(-total // block), sizes.min()))
    edges = cut(num_blocks)
    first, stop = block_rows(start, edges, transitions.observation.stack)
    largest = int(np.sum(stop - first, axis=0).max())
    # Two more blocks are in memory: the one being copied into the buffer, and the one that the
    # reader holds while its queue is full.
    num_buffered = affordable // largest - AHEAD - 2
    if num_buffered < 2:
        least = min(fixed_bytes + (AHEAD + 4) * largest * row_bytes, everything) / 2**30
        why = ""
        if num_blocks == sizes.min():
            why = f" (each block needs one of the {num_blocks:,} transitions of a dataset)"
        raise UserError(
            f"config.data_memory_gib: {budget / 2**30:.3g} is too small for blocks of {largest:,} "
            f"rows{why}, expected {least * 1.01:.3g} or more"
        )
    num_buffered = min(num_buffered, num_blocks - 1)  # fewer than all, so that the position moves
    order = generator(seed, Stream.ORDER).permutation(num_blocks)
    draws = max(1, round(reuse * total / num_blocks))
    # The largest power of two that divides the batch and leaves at least 8 slots to each lane.
    lanes = math.gcd(batch_size, LANES, 2 ** int(math.log2(max(num_buffered // 8, 1))))
    return Schedule(edges, order, int(num_buffered) // lanes * lanes, draws, lanes)
