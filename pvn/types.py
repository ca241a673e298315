"""The named tuples that travel between the rooms.

Axis letters, here and everywhere: B batch, T auxiliary tasks, A actions, F features,
H W C image, N rows of a dataset, D devices. Arrays are batch first, images NHWC.
Time suffixes: `s_tm1, a_tm1` are the state and action that a transition starts from, `discount_t,
s_t` what came of them.
"""

from typing import Any, NamedTuple

Array = Any  # np.ndarray on the host, jax.Array on a device; `data` never imports JAX.


class Window(NamedTuple):
    """Transitions as the sampler gathers them: each frame once.

    `frames[b]` are rows i-3 .. i+1 of one episode, zeros before its start and after its end. Where
    the frames live on the device, their places stand for them until the step gathers them.
    """

    frames: Array  # uint8 [B, 5, 84, 84]; or places among resident frames, int32 [B, 5], -1: zeros
    action: Array  # int32 [B], taken at row i
    next_action: Array  # int32 [B], the behaviour's at row i+1; 0 after a terminal row
    discount: Array  # float32 [B], the environment's: 0 where row i ended the game, else 1
    response: Array | None  # [B, T], the indicator's cached response to row i
    returns: Array | None = None  # [B, T], the cumulants' discounted sum from row i on; Monte Carlo


class Transition(NamedTuple):
    """What pretraining learns from. It has no reward: pretraining is reward-free."""

    s_tm1: Array  # uint8 [B, 84, 84, 4]
    a_tm1: Array  # int32 [B]
    discount_t: Array  # float32 [B], the environment's (0 or 1); losses multiply gamma in
    s_t: Array  # uint8 [B, 84, 84, 4]
    a_t: Array  # int32 [B], the behaviour's next action
    response_tm1: Array | None  # [B, T], the indicator's response to s_tm1, None: not cached
    return_tm1: Array | None = None  # [B, T], Monte Carlo returns to regress on, None: TD


class Interaction(NamedTuple):
    """What a linear head learns from: features, and rewards, over n steps."""

    features_tm1: Array  # float32 [B, F]
    a_tm1: Array  # int32 [B]
    r_t: Array  # float32 [B], the discounted sum of the n rewards
    discount_t: Array  # float32 [B], gamma^n, or 0 where the game ended on the way
    features_t: Array  # float32 [B, F], n steps on
