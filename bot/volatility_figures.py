"""The pictures of a volatility model's report, as PNG: forecasts beside what came, calibration, attention over time.

Units   volatilities of one hour in percent of the price.
Sizes   small, with letters that can still be read when a page a phone wide shows them.
"""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from backtest.report.wording import number, signed
from bot.core.market import DAY_MS, HOUR_MS, Floats
from bot.figure_style import DPI, MARK, OTHER, SOFT, axes_of, plain, png
from bot.volatility_research import Attention, Quality
from models.calibration import BINS, calibrate
from models.evaluate_volatility import Evaluation, Tested, transforms
from models.volatility_model import QUANTILES

PER_CENT = 100.0
LAST_HOURS = 240
MANY = 10  # ticks of a logarithmic axis
WIDTH, HEIGHT = 5.2, 4.2
LEGEND = {"frameon": False, "fontsize": 8}

Draw = Callable[[Axes, Tested], None]


def figures(found: Quality) -> dict[str, bytes]:
    """Every picture by its name, of the coin in full."""
    one, tested = found.coins[found.symbol], found.tested[found.symbol]
    drawn = {name: _alone(draw, tested) for name, (_, draw) in PANELS.items()}
    drawn["four-panels"] = _together(found, tested)
    drawn["calibration"] = _calibration(one, tested)
    drawn["coverage"] = _coverage(one, tested)
    if np.isfinite(found.attention.shares).any():
        drawn["attention"] = _attention(found.attention.shares)
        drawn["attention-days"] = _attention_days(found.attention)
    return {name: png(figure) for name, figure in drawn.items()}


def _alone(draw: Draw, tested: Tested) -> Figure:
    figure, axes = axes_of(WIDTH, HEIGHT)
    draw(axes, tested)
    return figure


def _together(found: Quality, tested: Tested) -> Figure:
    """The four panels of the published report, in one picture."""
    figure = Figure(figsize=(2 * WIDTH, 2 * HEIGHT), dpi=DPI, layout="constrained")
    figure.suptitle(f"{found.architecture}, {found.symbol}: {len(tested.open_ms):,} hours never fitted on", fontsize=12)
    for axes, (title, draw) in zip(figure.subplots(2, 2).flat, PANELS.values(), strict=True):
        plain(axes)
        axes.set_title(title, fontsize=10)
        draw(axes, tested)
    return figure


def _last_days(axes: Axes, tested: Tested) -> None:
    last = tested.open_ms > tested.open_ms[-1] - LAST_HOURS * HOUR_MS
    days = tested.open_ms[last] / DAY_MS
    low, high = (PER_CENT * tested.quantiles[last, QUANTILES.index(share)] for share in (0.1, 0.9))
    axes.fill_between(days, low, high, color=MARK, alpha=0.18, linewidth=0, label="80 % interval")
    axes.plot(days, PER_CENT * tested.actual[last], color=OTHER, linewidth=0.9, label="actual")
    axes.plot(days, PER_CENT * tested.mean[last], color=MARK, linewidth=1.3, label="forecast")
    axes.set(ylabel="volatility of the hour, %", ylim=(0.0, None), xlim=(days[0], days[-1]))
    _dated(axes, days)
    axes.legend(loc="upper left", ncols=3, **LEGEND)
    axes.set_ylim(0.0, 1.12 * axes.get_ylim()[1])  # room for the legend


def _scatter(axes: Axes, tested: Tested) -> None:
    forecast, actual = PER_CENT * tested.mean, PER_CENT * tested.actual
    both = np.concatenate((forecast, actual))
    limits = float(np.quantile(both, 0.001)) / 1.1, float(both.max()) * 1.1
    axes.axline((1.0, 1.0), (2.0, 2.0), color=SOFT, linewidth=1, linestyle="--")
    axes.scatter(forecast, actual, s=5, alpha=_alpha(len(actual)), color=MARK, linewidths=0)
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits, xlabel="forecast, %", ylabel="actual, %")
    _plain_logs(axes)


def _errors(axes: Axes, tested: Tested) -> None:
    missed = PER_CENT * (tested.actual - tested.mean)
    low, high = np.quantile(missed, (0.002, 0.995))
    axes.hist(missed, bins=min(60, round(2.0 * len(missed) ** 0.5)), range=(low, high), color=MARK, alpha=0.85)
    axes.axvline(0.0, color=SOFT, linewidth=1, linestyle="--")
    axes.axvline(missed.mean(), color=OTHER, linewidth=1.2, label=f"mean {signed(float(missed.mean()), 4)}")
    axes.set(xlabel="actual − forecast, % of the price", ylabel="hours")
    axes.legend(**LEGEND)


def _uncertainty(axes: Axes, tested: Tested) -> None:
    low, high = (tested.quantiles[:, QUANTILES.index(share)] for share in (0.1, 0.9))
    width, missed = PER_CENT * 0.5 * (high - low), PER_CENT * np.abs(tested.actual - tested.mean)
    bins = calibrate(width, missed, _bins(missed, BINS))
    axes.scatter(width, missed, s=5, alpha=_alpha(len(missed)), color=MARK, linewidths=0)
    axes.axline((1.0, 1.0), (2.0, 2.0), color=SOFT, linewidth=1, linestyle="--", label="as large as the half interval")
    axes.plot([one.expected for one in bins], [one.actual for one in bins], "o-", color=OTHER, ms=3.5, label="mean")
    limits = float(width.min()) / 1.2, float(width.max()) * 1.2
    heights = float(np.quantile(missed, 0.01)), float(missed.max()) * 1.3
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=heights)
    axes.set(xlabel="half of the 80 % interval, %", ylabel="|actual − forecast|, %")
    _plain_logs(axes)
    axes.legend(loc="lower right", **LEGEND)


PANELS: dict[str, tuple[str, Draw]] = {
    "last-days": ("the last 10 days", _last_days),
    "scatter": ("every hour", _scatter),
    "errors": ("errors", _errors),
    "uncertainty": ("predicted uncertainty and error", _uncertainty),
}


def _calibration(one: Evaluation, tested: Tested) -> Figure:
    """Mincer and Zarnowitz's line, and the means of bins of the forecast."""
    figure, axes = axes_of(WIDTH, HEIGHT)
    bins = calibrate(PER_CENT * tested.mean, PER_CENT * tested.actual, _bins(tested.mean, BINS))
    expected, actual = np.array([bin.expected for bin in bins]), np.array([bin.actual for bin in bins])
    line = one.mincer_zarnowitz
    fitted = PER_CENT * line.intercept + line.slope * expected
    axes.axline((0.0, 0.0), slope=1.0, color=SOFT, linewidth=1, linestyle="--", label="without bias")
    axes.plot(
        expected,
        fitted,
        color=OTHER,
        linewidth=1.2,
        label=f"{number(PER_CENT * line.intercept, 3)} + {number(line.slope, 3)} × forecast",
    )
    axes.plot(expected, actual, "o", color=MARK, markersize=4, label=f"{len(bins)} bins of equal count")
    axes.set(xlabel="mean forecast, %", ylabel="mean actual, %")
    axes.set(xlim=(0.0, 1.05 * expected.max()), ylim=(0.0, 1.05 * max(expected.max(), actual.max())))
    axes.legend(**LEGEND)
    return figure


def _coverage(one: Evaluation, tested: Tested) -> Figure:
    """How the actual values spread over the forecasts' distributions, and the shares below each quantile."""
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        plain(axes)
    within = transforms(tested)
    left.hist(within, bins=_bins(within, BINS), range=(0.0, 1.0), density=True, color=MARK, alpha=0.85)
    left.axhline(1.0, color=SOFT, linewidth=1, linestyle="--")
    left.set(xlabel="where in the forecast's\ndistribution it fell", ylabel="density", xlim=(0.0, 1.0))
    shares = list(one.below.values())
    right.axline((0.0, 0.0), slope=1.0, color=SOFT, linewidth=1, linestyle="--")
    right.plot(QUANTILES, shares, "o-", color=MARK, markersize=4, linewidth=1)
    right.set(xlabel="predicted quantile", ylabel="share of hours below it", xlim=(0, 1), ylim=(0, 1))
    return figure


def _attention(shares: Floats) -> Figure:
    """The mean share of each hour of the window."""
    figure, axes = axes_of(WIDTH, HEIGHT)
    mean = PER_CENT * np.nanmean(shares, axis=0)
    back = np.arange(len(mean))[::-1]
    axes.bar(back, mean, color=MARK, width=0.8)
    axes.axhline(PER_CENT / len(mean), color=OTHER, linewidth=1.2, linestyle="--", label="even")
    axes.set(xlabel="hours before the newest", ylabel="share of attention, %", ylim=(0.0, 1.2 * mean.max()))
    axes.invert_xaxis()
    axes.legend(**LEGEND)
    return figure


def _attention_days(attention: Attention) -> Figure:
    """The shares hour by hour; what the network was not asked for stays white."""
    figure, axes = axes_of(WIDTH, HEIGHT)
    days = attention.open_ms / DAY_MS
    shares = PER_CENT * attention.shares.T[::-1]
    low, high = np.nanquantile(shares, (0.005, 0.995))
    back = np.arange(len(shares))
    drawn = axes.pcolormesh(days, back, shares, cmap="Blues", vmin=low, vmax=high, shading="nearest")
    axes.set(ylabel="hours before the newest")
    axes.grid(visible=False)
    _dated(axes, days)
    bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", aspect=40, pad=0.03, extend="both")
    bar.set_label(f"share of attention, % (even: {PER_CENT / len(shares):.2f})", fontsize=9)
    bar.ax.tick_params(labelsize=8, colors=SOFT)
    return figure


def _dated(axes: Axes, days: Floats) -> None:
    """Midnights of a horizontal axis in days since 1970, at most six of them."""
    midnights = np.arange(np.ceil(days[0]), np.floor(days[-1]) + 1)
    shown = midnights[:: max(1, -(-len(midnights) // 6))]
    axes.set_xticks(shown, [f"{datetime.fromtimestamp(one * DAY_MS / 1000, UTC):%d %b}" for one in shown])


def _plain_logs(axes: Axes) -> None:
    """Logarithmic axes with 1, 2 and 5 of every power of ten as plain numbers."""
    numbers = [one * 10.0**power for power in range(-6, 6) for one in (1, 2, 5)]
    for limits, ticks in ((axes.get_xlim(), axes.set_xticks), (axes.get_ylim(), axes.set_yticks)):
        inside = [one for one in numbers if limits[0] <= one <= limits[1]]
        shown = inside if len(inside) < MANY else [one for one in inside if f"{one:e}".startswith("1.")]
        ticks(shown, [f"{one:g}" for one in shown])
    axes.minorticks_off()


def _bins(values: Floats, most: int) -> int:
    """So many that a bin has its share of points."""
    return int(np.clip(len(values) // 30, 6, most))


def _alpha(points: int) -> float:
    """Fewer points are drawn the more strongly."""
    return float(np.clip(600.0 / points, 0.2, 0.8))
