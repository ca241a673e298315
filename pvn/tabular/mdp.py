"""Finite MDPs as exact matrices: four rooms, open grid, torus, chain, Garnet, or from a file.

They have no rewards and no terminal states: only the successor measure of the uniformly random
policy is learned.
"""

import io
import math
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pvn.errors import UserError

MOST_STATES = 4096  # closed forms need memory of order S^2 and time of order S^3

UP, RIGHT, DOWN, LEFT = (-1, 0), (0, 1), (1, 0), (0, -1)


class Mdp(NamedTuple):
    """The transition probabilities of S states and A actions, and where to draw the states."""

    transition: np.ndarray  # float64 [A, S, S], transition[a, s, z] = P(z | s, a)
    coordinates: np.ndarray  # float64 [S, 2], (row, column) at which to draw a state

    @property
    def num_actions(self) -> int:
        """A."""
        return len(self.transition)

    @property
    def num_states(self) -> int:
        """S."""
        return self.transition.shape[1]


def _grid(
    num_states: int, cells: Iterable[tuple[int, int]], wrap: tuple[int, int] | None = None
) -> Mdp:
    """Four deterministic moves between cells (row, column).

    A move into a wall has no effect. wrap: (rows, columns) after which a grid continues at its
    other side; None: its edge is a wall.

    Raises:
      UserError: more than `MOST_STATES` states.
    """
    _check_size(num_states)
    number = {cell: state for state, cell in enumerate(cells)}
    transition = np.zeros((4, len(number), len(number)))
    for action, (down, right) in enumerate((UP, RIGHT, DOWN, LEFT)):
        for (row, column), state in number.items():
            target = (row + down, column + right)
            if wrap is not None:
                target = (target[0] % wrap[0], target[1] % wrap[1])
            transition[action, state, number.get(target, state)] = 1
    return Mdp(transition, np.array(list(number), np.float64))


def open_grid(size: int) -> Mdp:
    """size x size cells without walls."""
    return _grid(size**2, ((row, column) for row in range(size) for column in range(size)))


def torus(size: int) -> Mdp:
    """size x size cells; a move beyond one side leads to the opposite side."""
    cells = ((row, column) for row in range(size) for column in range(size))
    return _grid(size**2, cells, wrap=(size, size))


def chain(size: int) -> Mdp:
    """`size` states in a line; two actions, left and right. At an end one of them has no effect."""
    line = _grid(size, ((0, column) for column in range(size)))
    return line._replace(transition=line.transition[[3, 1]])


def four_rooms(size: int) -> Mdp:
    """Four rooms of size x size cells, each joined to its neighbours by a door of one cell.

    After Sutton, Precup & Singh (1999), with square rooms: 4 size^2 + 4 states. The doors are in
    the middle of the walls; if `size` is even, in the upper or left one of the two middle cells.
    """
    middle = (size - 1) // 2
    doors = {(size, middle), (size, size + 1 + middle), (middle, size), (size + 1 + middle, size)}
    cells = (
        (row, column)
        for row in range(2 * size + 1)
        for column in range(2 * size + 1)
        if (row != size and column != size) or (row, column) in doors
    )
    return _grid(4 * size**2 + 4, cells)


def garnet(num_states: int, num_actions: int, branching: int, seed: int) -> Mdp:
    """A random MDP that is not symmetric (Archibald, McKinnon & Thomas 1995).

    Each state and action leads to `branching` states, drawn without replacement. Their
    probabilities are the lengths of the parts of [0, 1], cut at uniformly random points.
    """
    _check_size(num_states)
    random = np.random.default_rng(seed)
    transition = np.zeros((num_actions, num_states, num_states))
    for row in transition.reshape(-1, num_states):
        cuts = np.sort(random.random(branching - 1))
        pieces = np.diff(cuts, prepend=0.0, append=1.0)
        row[random.choice(num_states, branching, replace=False)] = pieces
    return Mdp(transition, _in_rows(num_states))


def _check_size(num_states: int, what: str = "config.size: makes") -> None:
    if num_states > MOST_STATES:
        raise UserError(
            f"{what} {num_states:,} states, expected at most {MOST_STATES:,}: closed forms are "
            "dense matrices"
        )


def _in_rows(num_states: int) -> np.ndarray:
    """Coordinates for states that have none: row by row in a square."""
    return np.stack(divmod(np.arange(num_states), np.ceil(np.sqrt(num_states))), axis=1)


GRIDS: dict[str, Callable[[int], Mdp]] = {
    "four_rooms": four_rooms,
    "open_grid": open_grid,
    "torus": torus,
    "chain": chain,
}


def make_mdp(
    name: str, *, size: int, num_actions: int, branching: int, seed: int, discount: float
) -> Mdp:
    """The MDP called `name`, checked.

    Args:
      name: `four_rooms`, `open_grid`, `torus`, `chain`, `garnet`, or an .npz file (see
        `load_mdp`).
      size: side of a room or grid; number of states of a chain or Garnet.
      num_actions, branching, seed: of a Garnet.
      discount: gamma; if a file has a `discount`, it must be equal.

    Raises:
      UserError: there is no such MDP, or it is not valid (see `load_mdp` and `check_mdp`).
    """
    if name in GRIDS:
        return check_mdp(name, GRIDS[name](size))
    if name == "garnet":
        if branching > size:
            raise UserError(f"config.branching: {branching}, there are {size} states (config.size)")
        return check_mdp(name, garnet(size, num_actions, branching, seed))
    if not name.endswith(".npz"):
        raise UserError(f"config.mdp: {name!r}, expected {', '.join(GRIDS)}, garnet or a .npz file")
    return load_mdp(Path(name).expanduser(), discount)


def load_mdp(file: Path, discount: float) -> Mdp:
    """Reads an MDP from an .npz file.

    The file has `transition` [A, S, S]. It may have `coordinates` [S, 2] (row, column), and the
    `discount` that it was made for.

    Raises:
      UserError: there is no such file, it is not an .npz file with `transition`, it is not a valid
        MDP, or its `discount` differs from `discount`.
    """
    try:
        with np.load(io.BytesIO(file.read_bytes())) as arrays:
            if np.iscomplexobj(arrays["transition"]):
                raise ValueError("complex")
            transition = np.asarray(arrays["transition"], np.float64)
            made_for = float(arrays["discount"]) if "discount" in arrays else discount
            has_coordinates = "coordinates" in arrays
            coordinates = np.asarray(arrays["coordinates"], np.float64) if has_coordinates else None
    except OSError as error:
        raise UserError(f"mdp {file}: {error.strerror or 'cannot be read'}") from None
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        raise UserError(
            f"mdp {file}: expected an .npz file with transition, numbers [A, S, S], and perhaps "
            "coordinates [S, 2]"
        ) from None
    if not math.isclose(made_for, discount, rel_tol=1e-6):
        raise UserError(
            f"mdp {file}: its discount is {made_for:g}, config.discount {discount:g}; expected the "
            "same"
        )
    if coordinates is None:
        coordinates = _in_rows(transition.shape[-1] if transition.ndim else 0)
    return check_mdp(str(file), Mdp(transition, coordinates))


def check_mdp(name: str, mdp: Mdp) -> Mdp:
    """The MDP itself, checked. name: for the error message.

    Raises:
      UserError: a wrong shape, fewer than 2 or more than `MOST_STATES` states, coordinates that are
        not finite, a negative or undefined probability, or a row that does not sum to 1 (within
        1e-9).
    """
    transition, coordinates = mdp
    shape = transition.shape
    if len(shape) != 3 or shape[1] != shape[2] or 0 in shape:
        raise UserError(f"mdp {name}: transition has shape {list(shape)}, expected [A, S, S]")
    if shape[1] < 2:
        raise UserError(f"mdp {name}: has one state, expected two or more")
    _check_size(shape[1], f"mdp {name}: has")
    if coordinates.shape != (shape[1], 2):
        raise UserError(
            f"mdp {name}: coordinates have shape {list(coordinates.shape)}, expected "
            f"[{shape[1]}, 2]"
        )
    if not np.all(np.isfinite(coordinates)):
        raise UserError(f"mdp {name}: coordinates are not finite numbers")
    bad = np.argwhere(~(transition >= 0))
    if len(bad):
        place = tuple(bad[0].tolist())
        raise UserError(
            f"mdp {name}: transition{list(place)} is {transition[place]}, expected a probability"
        )
    sums = transition.sum(axis=2)
    wrong = np.argwhere(np.abs(sums - 1) > 1e-9)
    if len(wrong):
        action, state = wrong[0]
        raise UserError(
            f"mdp {name}: the row transition[{action}, {state}] sums to "
            f"{sums[action, state]:.10g}, expected 1 (within 1e-9: float64)"
        )
    return mdp
