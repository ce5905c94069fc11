"""How pictures look: the colours of the report's light side, axes without a box, PNG."""

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, SOFT, LINE = "#1d1f21", "#5f646a", "#e2e2dc"
MARK, OTHER, GOOD = "#2f5fb3", "#96690a", "#1a7f4b"
DPI = 130


def axes_of(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes, in inches."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    plain(axes)
    return figure, axes


def plain(axes: Axes) -> None:
    """Axes without a box, with a light grid behind."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(colors=SOFT, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)


def png(figure: Figure) -> bytes:
    """The figure as a file."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
