"""What a schedule says, for the tests of the schedule and of the buffer."""

import numpy as np


def buffered(schedule, position):
    """int64 [W], the blocks buffered at a position."""
    return schedule.order[
        np.arange(position, position + schedule.num_buffered) % schedule.num_blocks
    ]
