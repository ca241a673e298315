import jax
import numpy as np
import pytest

from pvn.data.resident import Load
from pvn.learning.device_frames import DeviceRing, gather
from pvn.learning.parallel import make_parallel
from pvn.types import Window


def window_at(places: np.ndarray) -> Window:
    count = len(places)
    return Window(places.astype(np.int32), *np.zeros((2, count), np.int32), np.ones(count), None)


@pytest.mark.parametrize("num_devices", [1, 4])
def test_a_ring_on_devices_is_an_array_on_the_host(num_devices: int) -> None:
    random = np.random.default_rng(0)
    parallel, _ = make_parallel(jax.devices()[:num_devices])
    ring, host = DeviceRing(parallel, 50, 30), np.zeros((50, 84, 84), np.uint8)
    run = parallel.compile(lambda ring, _, window: gather(ring, window).frames)
    for at, count in ((0, 20), (20, 30), (7, 5), (49, 1)):
        frames = random.integers(0, 256, (count, 84, 84)).astype(np.uint8)
        ring.store(Load(at, frames, None))
        host[at : at + count] = frames
        places = random.integers(-1, 50, (8, 5))
        got = run(ring.frames, parallel.replicate(()), parallel.split(window_at(places)))
        expected = host[places] * (places >= 0)[..., None, None].astype(np.uint8)
        np.testing.assert_array_equal(np.reshape(got, expected.shape), expected)
