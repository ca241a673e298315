"""Drawing states as cells of a grid or as dots."""

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from pvn.tabular.pictures import draw_states

GRID = np.argwhere(np.ones((3, 4)))


@pytest.mark.parametrize(
    ("coordinates", "kind"),
    [
        (GRID, AxesImage),
        (GRID * 2 + 5, AxesImage),
        (GRID * 20, PathCollection),  # cells would be too small to see
        (GRID * 1e9, PathCollection),  # and too many for memory
        (GRID + 0.5 * (GRID[:, :1] == 1), PathCollection),
        (np.append(GRID[:-1], GRID[:1], axis=0), PathCollection),  # two states at one place
    ],
)
def test_cells_or_dots(coordinates: np.ndarray, kind: type) -> None:
    drawn = draw_states(Figure().subplots(), coordinates.astype(float), np.arange(12.0))
    assert type(drawn) is kind
    assert drawn.get_array().count() == 12
