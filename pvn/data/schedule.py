"""Which part of the data is in memory at a step: a pure function of (seed, step).

The transitions are cut into n pieces, put in a random order, and W of them are resident: at
position q those of places q .. q + W - 1, around in a circle. Every so many steps the position
moves on by one. So in any n positions, a pass, each piece is resident for exactly W of them, and
each transition is drawn equally often in expectation, from whichever step a run is resumed. Where
all fits, W = n and nothing moves.
"""

from typing import NamedTuple

import numpy as np

from pvn.data.sampler import generator
from pvn.data.stack import STACK
from pvn.errors import UserError

_ORDER_STEP = 2**64 - 3  # a step that no run reaches, for the draw of the order
PIECE = 1024  # transitions of a piece, where the budget holds many such
AHEAD = 4  # pieces read before they are due


class Schedule(NamedTuple):
    """Pieces of K datasets with M transitions in all, and their order."""

    bounds: np.ndarray  # int64 [K, n + 1]: piece j has transitions bounds[k, j] .. bounds[k, j + 1]
    order: np.ndarray  # int64 [n], the piece at each place
    num_resident: int  # W
    draws_a_position: int  # draws of transitions after which the position moves on by one

    @property
    def num_pieces(self) -> int:
        """n."""
        return len(self.order)

    @property
    def rotates(self) -> bool:
        """Whether not all is resident."""
        return self.num_resident < self.num_pieces

    def position(self, step: int, batch_size: int) -> int:
        """The first resident place at a step (from 0) of a run with this batch size."""
        return step * batch_size // self.draws_a_position if self.rotates else 0

    def resident(self, position: int) -> np.ndarray:
        """int64 [W], the pieces resident at a position; place q is at ring slot q mod W."""
        return self.order[np.arange(position, position + self.num_resident) % self.num_pieces]


def piece_rows(valid: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row, and one past the last, that each piece's transitions need; int64 like bounds[:-1].

    valid: int64 [M], the row of each transition. bounds: int64 [..., n + 1].
    """
    first = np.maximum(valid[bounds[..., :-1]] - (STACK - 1), 0)
    return first, valid[bounds[..., 1:] - 1] + 2  # the last row's next need not exist


def make_schedule(
    seed: int,
    groups: np.ndarray,
    valid: np.ndarray,
    *,
    row_bytes: int,
    fixed_bytes: int,
    budget: int | None,
    memory: int,
    reuse: float,
) -> Schedule:
    """The schedule for a memory budget.

    Args:
      seed: of the order.
      groups: int64 [K + 1]; dataset k has transitions groups[k] .. groups[k + 1]. Each dataset has
        its part of every piece, so that the shares of the datasets hold at all times.
      valid: int64 [M], the row of each transition.
      row_bytes: memory that a resident row takes.
      fixed_bytes: memory that is taken whatever is resident.
      budget: bytes for all of it and the rows that are read ahead; None: as many as it takes.
      memory: bytes that there are.
      reuse: mean number of times that a transition is drawn while it is resident. A pass takes
        reuse * M draws and reads every frame once.

    Raises:
      UserError: the budget is too small, or there is none and the data are larger than memory.
    """
    sizes = np.diff(groups)
    total = int(groups[-1])

    def cut(num_pieces: int) -> np.ndarray:
        return groups[:-1, None] + sizes[:, None] * np.arange(num_pieces + 1) // num_pieces

    whole = cut(1)
    first, stop = piece_rows(valid, whole)
    everything = int(np.sum(stop - first)) * row_bytes + fixed_bytes
    if budget is None and everything > memory:
        raise UserError(
            f"config.data_memory_gib: 0 asks for all the data in memory, {everything / 2**30:,.3g} "
            f"GiB, and there are {memory / 2**30:,.3g}; expected a number that fits"
        )
    if budget is None or everything <= budget:
        return Schedule(whole, np.zeros(1, np.int64), 1, total)

    affordable = max(0, budget - fixed_bytes) // row_bytes
    piece = int(np.clip(affordable // (16 * AHEAD), 64, PIECE))
    num_pieces = int(min(-(-total // piece), sizes.min()))
    bounds = cut(num_pieces)
    first, stop = piece_rows(valid, bounds)
    largest = int(np.sum(stop - first, axis=0).max())
    # A piece being copied is there twice; so is one that a stopped reader holds.
    num_resident = affordable // largest - AHEAD - 2
    if num_resident < 2:
        least = min(fixed_bytes + (AHEAD + 4) * largest * row_bytes, everything) / 2**30
        why = ""
        if num_pieces == sizes.min():
            why = f" (a dataset of only {num_pieces:,} transitions has a part in each of as many)"
        raise UserError(
            f"config.data_memory_gib: {budget / 2**30:.3g} is too small for pieces of {largest:,} "
            f"rows{why}, expected {least * 1.01:.3g} or more"
        )
    num_resident = min(num_resident, num_pieces - 1)  # all but what is read ahead would fit
    order = generator(seed, _ORDER_STEP).permutation(num_pieces)
    draws = max(1, round(reuse * total / num_pieces))
    return Schedule(bounds, order, int(num_resident), draws)
