"""The named tuples that travel between the rooms.

Axis letters, here and everywhere: B batch, T auxiliary tasks, A actions, F features,
H W C image, N rows of a dataset, M transitions, D devices. Arrays are batch first, images NHWC.
Time suffixes: `s_tm1, a_tm1` are the state and action that a transition starts from; `discount_t,
s_t` are what followed.
"""

from typing import Any, NamedTuple

Array = Any  # np.ndarray on the host, jax.Array on a device; `data` never imports JAX.


class FrameBatch(NamedTuple):
    """A batch of transitions before their frames are stacked: each frame is held once.

    `frames[b]` are the frames at rows i-3 .. i+1 of one episode; frames outside the episode are
    zeros. Where the frames live in device memory, `frames` is None and `places` says where.
    """

    frames: Array | None  # uint8 [B, 5, 84, 84]
    places: Array | None  # int32 [B, 5], indices into the buffer's frames; -1: a frame of zeros
    a_tm1: Array  # int32 [B], the action at row i
    discount_t: Array  # float32 [B], 0 where row i ended the game, else 1
    a_t: Array  # int32 [B], the behaviour policy's action at row i+1; 0 after a terminal row
    response_tm1: Array | None  # [B, T], the indicator's cached response to row i
    return_tm1: Array | None  # [B, T], the discounted sum of cumulants from row i on; Monte Carlo


class Transition(NamedTuple):
    """What pretraining learns from. It has no reward: pretraining is reward-free."""

    s_tm1: Array  # uint8 [B, 84, 84, 4]
    a_tm1: Array  # int32 [B]
    discount_t: Array  # float32 [B], the environment's (0 or 1); losses multiply gamma in
    s_t: Array  # uint8 [B, 84, 84, 4]
    a_t: Array  # int32 [B], the behaviour policy's next action
    response_tm1: Array | None  # [B, T], the indicator's response to s_tm1; None: not cached
    return_tm1: Array | None = None  # [B, T], Monte Carlo returns to regress on; None: TD


class Interaction(NamedTuple):
    """What a linear head learns from: features and rewards over n steps."""

    features_tm1: Array  # float32 [B, F]
    a_tm1: Array  # int32 [B]
    r_t: Array  # float32 [B], the discounted sum of the n rewards
    discount_t: Array  # float32 [B], gamma^n, or 0 where the game ended within the n steps
    features_t: Array  # float32 [B, F], n steps later
