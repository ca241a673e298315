"""Draws indicators, value functions and learning curves of an exact MDP, as PNG files."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


def draw_states(
    axes: Axes, coordinates: np.ndarray, values: np.ndarray, *, signed: bool = False
) -> Any:
    """Draws values [S] at coordinates [S, 2], as the cells of a grid or as dots.

    signed: use a colour scale that is symmetric around 0.
    """
    limits: dict[str, Any] = {"cmap": "viridis"}
    if signed:
        top = float(np.abs(values).max()) or 1.0
        limits = {"cmap": "RdBu_r", "vmin": -top, "vmax": top}
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("0.25")
    cells = (coordinates - coordinates.min(axis=0)).round()
    shape = cells.max(axis=0) + 1
    # A grid: whole coordinates, no two states in a cell, and not too many cells without a state.
    if (
        np.array_equal(coordinates, np.round(coordinates))
        and shape.prod() <= 16 * len(cells)
        and len(np.unique(cells, axis=0)) == len(cells)
    ):
        cells = cells.astype(int)
        image = np.full(shape.astype(int), np.nan)
        image[cells[:, 0], cells[:, 1]] = values
        return axes.imshow(image, **limits)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    return axes.scatter(coordinates[:, 1], coordinates[:, 0], c=values, s=60, **limits)


def indicators(
    coordinates: np.ndarray, panels: Sequence[tuple[str, np.ndarray, np.ndarray]]
) -> bytes:
    """A PNG of indicators and their value functions (Farebrother et al. 2023, figure 1).

    coordinates: [S, 2]. panels: (name, indicator [S], value function [S]) of each row.
    """
    figure = Figure(figsize=(6.4, 3.1 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 2, squeeze=False)
    for row, (name, indicator, value) in zip(grid, panels, strict=True):
        titles = (f"{name}: the indicator", "its value function")
        for axes, title, values in zip(row, titles, (indicator, value), strict=True):
            figure.colorbar(draw_states(axes, coordinates, values), ax=axes, shrink=0.8)
            axes.set_title(title, fontsize=10)
    return _png(figure)


def eigenfunctions(
    coordinates: np.ndarray, exact: np.ndarray, learned: np.ndarray, names: Sequence[str]
) -> bytes:
    """A PNG of the first proto-value functions, above their projections on the learned span.

    The length of a projection is the cosine of the angle between the function and the span.

    coordinates: [S, 2]. exact, learned: [S, d], functions and projections. names: of the d columns.
    """
    count = min(exact.shape[1], 8)
    figure = Figure(figsize=(1.7 * count + 0.6, 4.1), layout="constrained")
    grid = figure.subplots(2, count, squeeze=False)
    for k in range(count):
        draw_states(grid[0, k], coordinates, exact[:, k], signed=True)
        draw_states(grid[1, k], coordinates, learned[:, k], signed=True)
        grid[0, k].set_title(names[k], fontsize=9)
        grid[1, k].set_title(f"cosine {np.linalg.norm(learned[:, k]):.4f}", fontsize=9)
    grid[0, 0].set_ylabel("exact")
    grid[1, 0].set_ylabel("projected on\nwhat was learned")
    return _png(figure)


def convergence(steps: Sequence[int], cosines: Mapping[str, np.ndarray]) -> bytes:
    """A PNG of the principal-angle cosines over training.

    The smallest cosine is drawn thick: it is 1 only if the features span the whole subspace.

    cosines: [number of steps, d] by the subspace's name.
    """
    figure = Figure(figsize=(4.6 * len(cosines), 3.2), layout="constrained")
    grid = figure.subplots(1, len(cosines), sharey=True, squeeze=False)[0]
    for axes, (name, values) in zip(grid, cosines.items(), strict=True):
        axes.plot(steps, values[:, :-1], color="0.7", linewidth=0.8)
        axes.plot(steps, values[:, -1], color="tab:blue", linewidth=2, label="smallest")
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("gradient steps")
        axes.legend(loc="lower right")
        axes.grid(alpha=0.3)
    grid[0].set_ylabel("cosine of principal angle")
    return _png(figure)


def task_counts(
    counts: Sequence[int],
    learned: Mapping[str, Sequence[float]],
    exact: Mapping[str, Sequence[Sequence[float | None]]],
) -> bytes:
    """A PNG of the smallest cosine to the proto-value functions against the number of random sets.

    Args:
      counts: numbers of random sets.
      learned: by loss, the cosine of the learned features for each count.
      exact: by loss, the cosine of the closed form, [number of counts, number of draws]. The first
        draw is the sets that were learned from. None: the closed form is not unique.
    """
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    for (loss, draws), marker in zip(exact.items(), "ox", strict=True):
        name, values = loss.replace("_", " "), np.array(draws, np.float64)
        (line,) = axes.plot(counts, values[:, 0], label=f"{name}, closed form (band: other sets)")
        band = (values.min(axis=1), values.max(axis=1))
        axes.fill_between(counts, *band, alpha=0.15, linewidth=0, color=line.get_color())
        axes.plot(counts, learned[loss], marker, color=line.get_color(), label=f"{name}, learned")
    axes.set_xscale("log")
    axes.set_xlabel("random sets")
    axes.set_ylabel("smallest cosine")
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    return _png(figure)
