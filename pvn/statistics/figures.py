"""Draws charts as PNG."""

import io

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pvn.statistics.page import Chart, Series

# Okabe and Ito's palette without yellow. Colour-blind readers can distinguish its colours.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MUTED = ("#7f7f7f", "#a6a6a6")
_LINES = ("-", "--", ":", "-.")


def png(chart: Chart) -> bytes:
    """Draws a chart."""
    with matplotlib.rc_context({"font.size": 12}):
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        handles = [_draw(axes, series, chart.points) for series in chart.series]
        axes.set_title(_plain(chart.title))
        axes.set_xlabel(_plain(chart.x_label))
        axes.set_ylabel(chart.y_label)
        if not chart.points:
            axes.set_xlim(left=min(0.0, *(float(each.x.min()) for each in chart.series)))
        if axes.get_xlim()[1] >= 1000:
            axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(alpha=0.25)
        # The legend gets the labels as an argument, because matplotlib hides a line whose own label
        # begins with an underscore.
        labels = [_plain(series.label) for series in chart.series]
        axes.legend(handles, labels, frameon=False, fontsize=10)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=150)
        return file.getvalue()


def _plain(text: str) -> str:
    """A dollar sign would begin a formula."""
    return text.replace("$", r"\$")


def _draw(axes: Axes, series: Series, points: bool) -> Artist:
    """Draws a series. Returns its handle for the legend."""
    palette = _MUTED if series.published else COLOURS
    colour = palette[series.style % len(palette)]
    x, y, low, high = series.x, series.y, series.low, series.high
    if points or series.published:
        known = np.isfinite(low)
        axes.vlines(x[known], low[known], high[known], color=colour, alpha=0.6, linewidth=1.5)
    else:
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    if points:
        return axes.plot(x, y, "o", color=colour, markersize=6)[0]
    return axes.plot(
        x,
        y,
        color=colour,
        linestyle="--" if series.published else _LINES[series.style // len(COLOURS) % len(_LINES)],
        linewidth=1.5 if series.published else 2,
        marker="o" if len(x) <= 30 else None,
        markersize=4,
    )[0]
