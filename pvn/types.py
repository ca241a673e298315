"""The named tuples that several packages share.

Axis letters in all files: B batch, T auxiliary tasks, A actions, F features, H W C image, N rows
of a dataset, M transitions, D devices. The batch axis comes first; images are NHWC.
Time suffixes: a transition starts at time t - 1 with `s_tm1, a_tm1` (state and action) and ends at
time t with `discount_t, s_t`.
"""

from typing import Any, NamedTuple

Array = Any  # np.ndarray on the host, jax.Array on a device; `data` never imports JAX.


class FrameBatch(NamedTuple):
    """A batch of transitions before their frames are stacked; no frame is stored twice.

    `frames[b]` are the frames at rows i-3 .. i+1 of one episode, for a transition that starts at
    row i. Frames outside the episode are zeros. If the frames are in device memory, `frames` is
    None, and `places` holds the index of each frame.
    """

    frames: Array | None  # uint8 [B, 5, 84, 84]
    places: Array | None  # int32 [B, 5], rows of the buffer; -1: a frame of zeros
    a_tm1: Array  # int32 [B], the action at row i
    discount_t: Array  # float32 [B], 0 where row i is terminal, else 1
    a_t: Array  # int32 [B], the behaviour policy's action at row i+1; 0 after a terminal row
    response_tm1: Array | None  # [B, T], the indicator's cached response to row i
    return_tm1: Array | None  # [B, T], Monte Carlo return: discounted sum from row i


class Transition(NamedTuple):
    """A batch of transitions for pretraining. It has no reward: pretraining is reward-free."""

    s_tm1: Array  # uint8 [B, 84, 84, 4]
    a_tm1: Array  # int32 [B]
    discount_t: Array  # float32 [B], 0 where s_tm1 is terminal, else 1; gamma is not in it
    s_t: Array  # uint8 [B, 84, 84, 4]
    a_t: Array  # int32 [B], the behaviour policy's next action
    response_tm1: Array | None  # [B, T], the indicator's response to s_tm1; None: not cached
    return_tm1: Array | None = None  # [B, T], Monte Carlo returns of the tasks; None: TD


class Interaction(NamedTuple):
    """A batch of n-step transitions with rewards.

    A state is what the replay stores of it: features float32 [B, F], or for a network that is
    trained from pixels a stack of frames uint8 [B, 4, 84, 84].
    """

    s_tm1: Array
    a_tm1: Array  # int32 [B]
    r_t: Array  # float32 [B], the discounted sum of up to n rewards
    discount_t: Array  # float32 [B], gamma^(number of rewards), or 0 where the game ended
    s_t: Array  # where the sum stopped
