"""The pictures of a quality report, as PNG: what was inferred, how well for each coin, calibration, decay of the edge."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bot.figure_style import DPI, GOOD, MARK, OTHER, SOFT, axes_of, plain, png
from models.calibration import Bin
from models.evaluate import Evaluation, Scores

KINDS = {"strong": MARK, "weak": "#8fa9d6", "none": "#b9bcc0"}
HUES = (MARK, OTHER, GOOD, "#b3372f", "#6b4fa0", "#4a9aa5", "#c2568f")
PER_CENT = 100.0


def figures(found: Evaluation) -> dict[str, bytes]:
    """Every picture by its name."""
    drawn = {
        "scatter": _scatter(found),
        "coins": _coins(found),
        "calibration": _calibration(found),
        "decay": _decay(found),
    }
    return {name: png(figure) for name, figure in drawn.items()}


def _scatter(found: Evaluation) -> Figure:
    figure, axes = axes_of(6.2, 5.2)
    inferred, actual = PER_CENT * found.sample.T
    most = float(np.quantile(np.abs(found.sample), 0.998)) * PER_CENT if len(found.sample) else 1.0
    most = most or 1.0
    axes.axline((0.0, 0.0), slope=1.0, color=SOFT, linewidth=1, linestyle="--")
    axes.scatter(inferred, actual, s=5, alpha=0.3, color=MARK, linewidths=0)
    axes.set(xlim=(-most, most), ylim=(-most, most), xlabel="inferred return, %", ylabel="actual return, %")
    axes.set_aspect("equal")
    return figure


def _coins(found: Evaluation) -> Figure:
    """Lag 0 and lag 1 of each coin, the best inferred first."""
    ranked = sorted(found.per_coin, key=lambda coin: -np.inf if coin.lag0 is None else coin.lag0, reverse=True)
    figure = Figure(figsize=(12.4, 5.6), dpi=DPI, layout="constrained")
    places = np.arange(len(ranked))
    for axes, name in zip(figure.subplots(2, 1, sharex=True), ("lag0", "lag1"), strict=True):
        plain(axes)
        heights = [getattr(coin, name) or 0.0 for coin in ranked]
        axes.bar(places, heights, color=[KINDS[getattr(coin, f"{name}_class")] for coin in ranked], width=0.8)
        axes.axhline(0.0, color=SOFT, linewidth=0.8)
        axes.set_ylabel(f"correlation, {name[:3]} {name[3:]}")
    bases = [coin.symbol.partition("/")[0] for coin in ranked]
    axes.set_xticks(places, bases, rotation=90, fontsize=6 if len(ranked) > 40 else 9)
    axes.set_xlim(-0.7, len(ranked) - 0.3)
    figure.legend(
        handles=[Patch(color=colour, label=kind) for kind, colour in KINDS.items()],
        loc="outside upper right",
        ncols=3,
        frameon=False,
        fontsize=9,
    )
    return figure


def _calibration(found: Evaluation) -> Figure:
    """Mean actual over mean inferred; and mean next return over the one that the gain expects."""
    figure = Figure(figsize=(6.2, 5.2), dpi=DPI, layout="constrained")
    upper, lower = figure.subplots(2, 1)
    _binned(upper, found.calibration, PER_CENT, ("mean inferred return, %", "actual, %"))
    expected = "expected next return (gain × divergence), bp"
    _binned(lower, found.gain_calibration, 1e4, (expected, "next return, bp"))
    return figure


def _binned(axes: Axes, bins: Iterable[Bin], unit: float, names: tuple[str, str]) -> None:
    plain(axes)
    expected = [unit * one.expected for one in bins]
    actual = [unit * one.actual for one in bins]
    axes.set(xlabel=names[0], ylabel=names[1])
    if not expected:
        axes.text(0.5, 0.5, "nothing to show", color=SOFT, ha="center", transform=axes.transAxes)
        return
    axes.axline((0.0, 0.0), slope=1.0, color=SOFT, linewidth=1, linestyle="--", label="as expected")
    axes.plot(expected, actual, "o-", color=MARK, markersize=4, linewidth=1, label="20 bins of equal count")
    axes.legend(frameon=False, fontsize=9)


def _decay(found: Evaluation) -> Figure:
    """The mean correlation of the divergence with returns to come, by how far they reach."""
    figure = Figure(figsize=(12.4, 4.6), dpi=DPI, layout="constrained")
    models: dict[str, Scores] = {f"{found.architecture} (this model)": found, **found.baselines}
    sides = figure.subplots(1, 2, sharey=True)
    for axes, kind in zip(sides, ("raw", "relative"), strict=True):
        plain(axes)
        for at, (name, scores) in enumerate(models.items()):
            _line(axes, scores, kind, name, at)
        axes.axhline(0.0, color=SOFT, linewidth=0.8)
        reach = [one.steps for one in found.horizons]
        axes.set_xticks(range(len(reach)), [str(one) for one in reach])
        axes.set_xlabel(f"slices ahead, {'raw return' if kind == 'raw' else 'relative to the market'}")
    sides[0].set_ylabel("mean correlation with divergence")
    sides[1].legend(frameon=False, fontsize=9)
    return figure


def _line(axes: Axes, scores: Scores, kind: str, name: str, at: int) -> None:
    means = [getattr(one, kind).mean for one in scores.horizons]
    errors = [getattr(one, f"{kind}_error") for one in scores.horizons]
    shift = 0.06 * (at - 2)  # so that the error bars stand side by side
    axes.errorbar(
        [place + shift for place in range(len(means))],
        [np.nan if mean is None else mean for mean in means],
        yerr=[0.0 if error is None else error for error in errors],
        color=HUES[at % len(HUES)],
        marker="o",
        markersize=6 if not at else 3.5,
        linewidth=2 if not at else 1,
        capsize=2,
        label=name,
    )
