"""Parses and checks one record of RLDS Atari data, a `tf.train.Example`."""

from typing import NamedTuple

import imagecodecs
import numpy as np

from pvn.formats.episode import MOST_ROWS, TOO_LONG
from pvn.formats.tfrecord import parse_example
from pvn.types import ATARI


class Columns(NamedTuple):
    """An episode with encoded frames."""

    images: list[bytes]  # n PNGs
    action: np.ndarray  # int32 [n]
    reward: np.ndarray  # float32 [n]
    terminal: bool  # whether the game ended


def parse_prepared(payload: bytes) -> Columns:
    """The episode in a record that TFDS prepared. Raises `ValueError` if it is invalid."""
    features = parse_example(payload)
    return _checked(
        _images(features, "steps/observation"),
        _array(features, "steps/action"),
        _array(features, "steps/reward"),
        _array(features, "steps/is_terminal") != 0,
    )


def parse_raw(payload: bytes) -> Columns:
    """The episode in a record of an upstream file. Raises `ValueError` if it is invalid.

    The rewards are the field `unclipped_rewards`, as in TFDS. Despite the name, they are clipped.
    """
    features = parse_example(payload)
    return _checked(
        _images(features, "observations"),
        _array(features, "actions"),
        _array(features, "unclipped_rewards"),
        _array(features, "discounts") == 0,
    )


def _array(features: dict[str, np.ndarray | list[bytes]], name: str) -> np.ndarray:
    if not isinstance(value := features.get(name), np.ndarray):
        raise ValueError(f"has no numbers {name!r} (another dataset?)")
    return value


def _images(features: dict[str, np.ndarray | list[bytes]], name: str) -> list[bytes]:
    if not isinstance(value := features.get(name), list):
        raise ValueError(f"has no images {name!r} (another dataset?)")
    return value


def _checked(
    images: list[bytes], action: np.ndarray, reward: np.ndarray, ended: np.ndarray
) -> Columns:
    counts = [len(images), len(action), len(reward), len(ended)]
    if len(set(counts)) > 1 or not images:
        raise ValueError("has {} frames, {} actions, {} rewards and {} ends".format(*counts))
    if action.dtype.kind != "i" or reward.dtype.kind != "f":
        raise ValueError(f"has {action.dtype} actions and {reward.dtype} rewards")
    if action.min() < 0 or action.max() >= 2**31:
        raise ValueError(f"has the action {action.min() if action.min() < 0 else action.max()}")
    if len(images) > MOST_ROWS:
        raise ValueError(TOO_LONG)
    if ended[:-1].any():
        raise ValueError("goes on after the game has ended")
    return Columns(images, action.astype(np.int32), reward, bool(ended[-1]))


def decode_frames(images: list[bytes]) -> np.ndarray:
    """Decodes n PNGs to uint8 [n, 84, 84]. Raises `ValueError` for another kind or size."""
    frames = np.empty((len(images), *ATARI.frame), np.uint8)
    for frame, image in zip(frames, images, strict=True):
        try:
            decoded = imagecodecs.png_decode(image)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"a frame is no PNG ({error})") from None
        if (
            decoded.size != frame.size
            or decoded.shape[:2] != ATARI.frame
            or decoded.dtype != np.uint8
        ):
            raise ValueError(
                f"a frame is {decoded.dtype} {list(decoded.shape)}, expected uint8 [84, 84]"
            )
        frame[:] = decoded.reshape(ATARI.frame)
    return frames
