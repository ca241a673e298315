import numpy as np
import pytest

from pvn.errors import UserError
from pvn.tabular.mdp import chain, four_rooms, garnet, open_grid
from pvn.tabular.rendering import render


def test_an_open_grid_by_hand() -> None:
    images = render(open_grid(2).coordinates)
    assert (images.shape, images.dtype) == ((4, 84, 84, 4), np.uint8)
    expected = np.full((84, 84), 64, np.uint8)
    expected[:42, 42:] = 255  # the second state: first row, second column
    for frame in range(4):
        np.testing.assert_array_equal(images[1, :, :, frame], expected)


def test_walls_are_black_and_states_are_squares_of_one_size() -> None:
    images = render(four_rooms(4).coordinates)
    assert {int(np.sum(image[..., 3] == 255)) for image in images} == {81}
    assert np.all(images[:, 40:44, 40:44] == 0)  # where the walls cross


def test_a_chain_is_centred() -> None:
    lit = np.argwhere(render(chain(4).coordinates)[0, :, :, 0] > 0)
    assert lit[:, 0].min() == 32
    assert lit[:, 0].max() == 52
    assert lit[:, 1].min() == 0


@pytest.mark.parametrize("size", [1, 2, 3, 50, 150])
def test_all_states_differ(size: int) -> None:
    images = render(garnet(size, 1, 1, seed=0).coordinates)
    assert len(np.unique(images.reshape(size, -1), axis=0)) == size


def test_too_many_states() -> None:
    with pytest.raises(UserError, match=r"^8100 states do not fit on 84 x 84 pixels"):
        render(np.argwhere(np.ones((90, 90))).astype(float))


def test_states_at_one_place() -> None:
    for coordinates in (np.zeros((2, 2)), np.array([[0.0, 0], [3, 4], [0, 0]])):
        with pytest.raises(UserError, match="some look alike"):
            render(coordinates)
