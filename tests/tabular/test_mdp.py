import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvn.errors import UserError
from pvn.tabular.mdp import (
    Mdp,
    chain,
    check_mdp,
    four_rooms,
    garnet,
    load_mdp,
    make_mdp,
    open_grid,
    torus,
)

SETTINGS = {"size": 4, "num_actions": 2, "branching": 2, "seed": 0, "discount": 0.9}


def successor_of(mdp: Mdp, cell: tuple[int, int]) -> list[tuple[int, int]]:
    """The cells that up, right, down and left lead to."""
    cells = [tuple(int(x) for x in place) for place in mdp.coordinates]
    return [cells[int(np.argmax(move[cells.index(cell)]))] for move in mdp.transition]


def test_moves_on_an_open_grid() -> None:
    grid = open_grid(3)
    assert grid.transition.shape == (4, 9, 9)
    assert successor_of(grid, (1, 1)) == [(0, 1), (1, 2), (2, 1), (1, 0)]
    assert successor_of(grid, (0, 2)) == [(0, 2), (0, 2), (1, 2), (0, 1)]


def test_moves_on_a_torus() -> None:
    assert successor_of(torus(3), (0, 2)) == [(2, 2), (0, 0), (1, 2), (0, 1)]


def test_moves_on_a_chain() -> None:
    left, right = chain(3).transition
    assert left.tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert right.tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 1]]


def test_four_rooms() -> None:
    rooms = four_rooms(4)
    assert (rooms.num_states, rooms.num_actions) == (68, 4)
    # A wall above, a door below; then a cell in the door.
    assert successor_of(rooms, (3, 0)) == [(2, 0), (3, 1), (3, 0), (3, 0)]
    assert successor_of(rooms, (3, 1))[2] == (4, 1)
    assert successor_of(rooms, (4, 1)) == [(3, 1), (4, 1), (5, 1), (4, 1)]
    doors = [cell for cell in rooms.coordinates.tolist() if 4 in cell]
    assert sorted(doors) == [[1, 4], [4, 1], [4, 6], [6, 4]]
    middle = [cell for cell in four_rooms(5).coordinates.tolist() if 5 in cell]
    assert sorted(middle) == [[2, 5], [5, 2], [5, 8], [8, 5]]


@pytest.mark.parametrize("make", [open_grid, torus, chain, four_rooms])
def test_the_uniform_policy_on_a_grid_is_symmetric(make: object) -> None:
    policy = make(5).transition.mean(axis=0)  # type: ignore[operator]
    np.testing.assert_array_equal(policy, policy.T)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.integers(2, 12), st.integers(1, 4), st.data())
def test_garnet(num_states: int, num_actions: int, data: st.DataObject) -> None:
    branching = data.draw(st.integers(1, num_states))
    seed = data.draw(st.integers(0, 1000))
    mdp = check_mdp("garnet", garnet(num_states, num_actions, branching, seed))
    assert mdp.transition.shape == (num_actions, num_states, num_states)
    assert np.all(np.count_nonzero(mdp.transition, axis=2) == branching)
    again = garnet(num_states, num_actions, branching, seed)
    np.testing.assert_array_equal(mdp.transition, again.transition)


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    mdp = garnet(5, 2, 3, seed=1)
    np.savez(tmp_path / "with.npz", **mdp._asdict(), discount=0.9)
    np.savez(tmp_path / "without.npz", transition=mdp.transition)
    for name in ("with.npz", "without.npz"):
        loaded = load_mdp(tmp_path / name, 0.9)
        np.testing.assert_array_equal(loaded.transition, mdp.transition)
        np.testing.assert_array_equal(loaded.coordinates, mdp.coordinates)
    assert make_mdp(str(tmp_path / "with.npz"), **SETTINGS).num_states == 5
    np.savez(tmp_path / "single.npz", transition=mdp.transition, discount=np.float32(0.9))
    assert load_mdp(tmp_path / "single.npz", 0.9).num_states == 5


HALF = np.full((1, 2, 2), 0.5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"transition": HALF * 0.97}, "the row transition[0, 0] sums to 0.97, expected 1"),
        (
            {"transition": np.array([[[1.0, 0], [1.5, -0.5]]])},
            "transition[0, 1, 1] is -0.5, expected a probability",
        ),
        (
            {"transition": np.array([[[1.0, 0], [np.nan, 1]]])},
            "transition[0, 1, 0] is nan, expected a probability",
        ),
        ({"transition": HALF[0]}, "transition has shape [2, 2], expected [A, S, S]"),
        ({"transition": np.zeros((0, 2, 2))}, "transition has shape [0, 2, 2], expected [A, S, S]"),
        (
            {"transition": HALF, "coordinates": np.zeros((3, 2))},
            "coordinates have shape [3, 2], expected [2, 2]",
        ),
        (
            {"transition": HALF, "coordinates": np.full((2, 2), np.nan)},
            "coordinates are not finite numbers",
        ),
        (
            {"transition": HALF, "discount": 1.5},
            "its discount is 1.5, config.discount 0.9; expected the same",
        ),
        ({"transition": np.ones((2, 1, 1))}, "has one state, expected two or more"),
        (
            {"transition": np.ones((1, 1, 1)) * np.eye(4097)},
            "has 4,097 states, expected at most 4,096: closed forms are dense",
        ),
        ({"transition": HALF + 0j}, "expected an .npz file with transition"),
        ({"other": HALF}, "expected an .npz file with transition, numbers [A, S, S], and perhaps"),
        ({"transition": np.array("x")}, "expected an .npz file with transition"),
    ],
)
def test_what_is_no_mdp(tmp_path: Path, arrays: dict, message: str) -> None:
    file = tmp_path / "mine.npz"
    np.savez(file, **arrays)
    with pytest.raises(UserError, match=rf"^mdp {re.escape(str(file))}: {re.escape(message)}"):
        load_mdp(file, 0.9)


def test_what_is_no_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.npz"
    with pytest.raises(UserError, match=r"mine.npz: No such file or directory$"):
        load_mdp(file, 0.9)
    for content in (b"", b"not numpy", b"PK\x03\x04 cut off"):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"mine.npz: expected an .npz file with transition"):
            load_mdp(file, 0.9)
    np.savez_compressed(file, transition=np.random.default_rng(0).random((2, 30, 30)))
    raw = bytearray(file.read_bytes())
    raw[200:300] = bytes(100)
    file.write_bytes(raw)
    with pytest.raises(UserError, match=r"mine.npz: expected an .npz file with transition"):
        load_mdp(file, 0.9)
    np.save(tmp_path / "one.npy", HALF)
    (tmp_path / "one.npy").rename(file)
    with pytest.raises(UserError, match=r"mine.npz: expected an .npz file with transition"):
        load_mdp(file, 0.9)


def test_names() -> None:
    with pytest.raises(UserError, match=r"^config.mdp: 'maze', expected four_rooms, open_grid, "):
        make_mdp("maze", **SETTINGS)
    for name, size in (("open_grid", 65), ("four_rooms", 40), ("garnet", 5000)):
        with pytest.raises(
            UserError, match=r"^config.size: makes \d,\d\d\d states, expected at most"
        ):
            make_mdp(name, **SETTINGS | {"size": size})
    with pytest.raises(UserError, match=r"^config.branching: 5, there are 4 states"):
        make_mdp("garnet", **SETTINGS | {"branching": 5})
    assert make_mdp("garnet", **SETTINGS).num_states == 4
