"""What an observation is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvn.data.layout import frame_attribute, observation_of
from pvn.errors import UserError
from pvn.types import ATARI, ObservationSpec


def test_frames_without_channels_are_stacked_by_four() -> None:
    spec = ObservationSpec((2, 3))
    assert (spec.stack, spec.shape, spec.frame_bytes) == (4, (2, 3, 4), 6)
    frames = np.arange(1 * 4 * 2 * 3).reshape(1, 4, 2, 3)
    observation = spec.join(frames)
    # The frames of pixel (1, 2), oldest first: 5, 11, 17, 23.
    assert observation[0, 1, 2].tolist() == [5, 11, 17, 23]
    np.testing.assert_array_equal(spec.newest(observation), frames[:, -1])


def test_a_frame_with_channels_is_an_observation() -> None:
    spec = ObservationSpec((10, 10, 6))
    assert (spec.stack, spec.shape, spec.frame_bytes) == (1, (10, 10, 6), 600)
    frames = np.random.default_rng(0).integers(256, size=(3, 1, 10, 10, 6)).astype(np.uint8)
    np.testing.assert_array_equal(spec.join(frames), frames[:, 0], strict=True)
    np.testing.assert_array_equal(spec.newest(frames[:, 0]), frames[:, 0], strict=True)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.lists(st.integers(1, 100), min_size=2, max_size=3))
def test_a_dataset_says_it(frame: list[int]) -> None:
    spec = ObservationSpec(tuple(frame))
    assert observation_of("data", frame_attribute(spec)) == spec


def test_atari_needs_no_attribute() -> None:
    assert frame_attribute(ATARI) == {}
    assert observation_of("data", {}) == ATARI


@pytest.mark.parametrize("given_", [10, "10x10", [10], [10, 0], [1, 2, 3, 4], [1.0, 2], [True, 2]])
def test_a_malformed_attribute(given_: object) -> None:
    with pytest.raises(UserError) as caught:
        observation_of("data", {"frame_shape": given_})
    assert str(caught.value) == (
        f"dataset data: attribute frame_shape is {given_}, expected the shape of a frame, as "
        "[10, 10, 4]"
    )
