"""The named tuples that several packages share.

An observation is uint8 [H, W, C]. Its shape comes from the dataset, the environment or the metadata
of the features.

Axis letters in all files: B batch, T auxiliary tasks, A actions, F features, H W C image, N rows
of a dataset, M transitions, D devices. The batch axis comes first; images are NHWC.
Time suffixes: a transition starts at time t - 1 with `s_tm1, a_tm1` (state and action) and ends at
time t with `discount_t, s_t`.
"""

import math
from typing import Any, NamedTuple

Array = Any  # np.ndarray on the host, jax.Array on a device; `data` never imports JAX.


class ObservationSpec(NamedTuple):
    """What an observation is: the last S frames of an episode, uint8, joined on the channel axis.

    S is 4 if frames have no channels. A frame with channels is a whole observation, and S is 1.
    Frames before the start of the episode are zeros.
    """

    frame: tuple[int, ...]  # shape of a frame, (H, W) or (H, W, channels)

    @property
    def stack(self) -> int:
        """S."""
        return 4 if len(self.frame) == 2 else 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of an observation; C is S, or S times the channels of a frame."""
        height, width, *channels = self.frame
        return height, width, self.stack * math.prod(channels)

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame."""
        return math.prod(self.frame)

    def newest(self, observation: Array) -> Array:
        """The newest frames [B, *frame] of observations [B, H, W, C]."""
        channels = math.prod(self.frame[2:])
        return observation[..., -channels:].reshape(len(observation), *self.frame)

    def join(self, frames: Array) -> Array:
        """The observations [B, H, W, C] of frames [B, S, *frame], oldest frame first."""
        axes = (0, 2, 3, 1, *range(4, frames.ndim))
        return frames.transpose(axes).reshape(len(frames), *self.shape)


ATARI = ObservationSpec((84, 84))
"""The observations of `pvn.envs.protocol` and of public Atari datasets."""

SMALL_SIDE = 36
"""Observations with fewer pixels of height or width, such as MinAtar's, get small networks."""


class FrameBatch(NamedTuple):
    """A batch of transitions before their frames are joined; no frame is stored twice.

    `frames[b]` are the frames at rows i-S+1 .. i+1 of one episode, for a transition that starts at
    row i. Frames outside the episode are zeros. If the frames are in device memory, `frames` is
    None, and `places` holds the index of each frame.
    """

    frames: Array | None  # uint8 [B, S + 1, *frame]
    places: Array | None  # int32 [B, S + 1], rows of the buffer; -1: a frame of zeros
    a_tm1: Array  # int32 [B], the action at row i
    discount_t: Array  # float32 [B], 0 where row i is terminal, else 1
    a_t: Array  # int32 [B], the behaviour policy's action at row i+1; 0 after a terminal row
    response_tm1: Array | None  # [B, ...], the indicator's cached response to row i
    return_tm1: Array | None  # [B, T], Monte Carlo return: discounted sum from row i


class Transition(NamedTuple):
    """A batch of transitions for pretraining. It has no reward: pretraining is reward-free."""

    s_tm1: Array  # uint8 [B, H, W, C]
    a_tm1: Array  # int32 [B]
    discount_t: Array  # float32 [B], 0 where s_tm1 is terminal, else 1; gamma is not in it
    s_t: Array  # uint8 [B, H, W, C]
    a_t: Array  # int32 [B], the behaviour policy's next action
    response_tm1: Array | None  # [B, ...], the indicator's response to s_tm1; None: not cached
    return_tm1: Array | None = None  # [B, T], Monte Carlo returns of the tasks; None: TD


class Interaction(NamedTuple):
    """A batch of n-step transitions with rewards.

    A state is what the replay stores of it: features float32 [B, F], or for a network that is
    trained from pixels the frames uint8 [B, S, *frame].
    """

    s_tm1: Array
    a_tm1: Array  # int32 [B]
    r_t: Array  # float32 [B], the discounted sum of up to n rewards
    discount_t: Array  # float32 [B], gamma^(number of rewards), or 0 where the game ended
    s_t: Array  # where the sum stopped
