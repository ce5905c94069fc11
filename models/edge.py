"""What follows a divergence: its correlation with returns to come, and what a coin earned after a large one.

Forward   a coin's return from the close of a slice to the close `steps` slices later: raw, and relative to the market,
          less the equal-weight mean of the coins that have one. NaN where the later candle is absent or a hole lies between.
Lagging   divergence above a threshold: the coin moved less than the others imply; reversion buys it.
Leading   divergence below minus it: the coin moved more; continuation buys it.
Errors    by day: the events of one day are one piece of evidence, however many they are. None for fewer than two days.
          `t` is the mean over its error; of few days it is no more than a hint.
"""

from typing import Literal

import numpy as np
from msgspec import Struct

from bot.core.market import DAY_MS, Floats, Integers, Panel
from models.scores import Summary, correlations, mean_correlation, summary

STEPS = (1, 5, 15, 60)
THRESHOLDS = (0.001, 0.002, 0.004, 0.008, 0.012, 0.02)

Side = Literal["lagging", "leading"]


class Forward(Struct, frozen=True, eq=False):
    """Returns [T, N] over the next `steps` slices."""

    steps: int
    raw: Floats
    relative: Floats


class Horizon(Struct, frozen=True):
    """Correlations over coins of the divergence with the forward return; the errors are those of the means."""

    steps: int
    raw: Summary
    relative: Summary
    raw_error: float | None
    relative_error: float | None


class Average(Struct, frozen=True):
    """A mean over events, its error over days, and their ratio."""

    mean: float
    error: float | None
    t: float | None


class Event(Struct, frozen=True):
    """What followed the `count` divergences beyond `threshold` on one side, on `days` days; None after no event."""

    threshold: float
    side: Side
    steps: int
    count: int
    days: int
    raw: Average | None
    relative: Average | None


def forwards(panel: Panel, steps: tuple[int, ...] = STEPS) -> tuple[Forward, ...]:
    """The forward returns of every slice of the panel, an entry for each number of steps."""
    return tuple(_forward(panel, count) for count in steps)


def _forward(panel: Panel, steps: int) -> Forward:
    raw = np.full(panel.close.shape, np.nan)
    if len(panel) > steps:
        whole = panel.open_ms[steps:] - panel.open_ms[:-steps] == steps * panel.interval_ms
        there = panel.present[steps:] & whole[:, None]
        raw[:-steps] = np.where(there, panel.close[steps:] / panel.close[:-steps] - 1.0, np.nan)
    known = np.isfinite(raw)
    market = np.where(known, raw, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return Forward(steps, raw, raw - market[:, None])


def horizons(divergence: Floats, ahead: tuple[Forward, ...], open_ms: Integers) -> tuple[Horizon, ...]:
    """The correlations of divergences [T, N], NaN where unknown, with each forward return of the same slices."""
    return tuple(
        Horizon(
            forward.steps,
            _summary(divergence, forward.raw),
            _summary(divergence, forward.relative),
            _error_by_day(divergence, forward.raw, open_ms),
            _error_by_day(divergence, forward.relative, open_ms),
        )
        for forward in ahead
    )


def _summary(divergence: Floats, forward: Floats) -> Summary:
    return summary(correlations(divergence, forward, np.isfinite(divergence)))


def _error_by_day(divergence: Floats, forward: Floats, open_ms: Integers) -> float | None:
    """The standard error of the mean correlation, from how much that of single days differs."""
    days = open_ms // DAY_MS
    rows = (days == day for day in np.unique(days))
    found = [mean_correlation(divergence[at], forward[at], np.isfinite(divergence[at])) for at in rows]
    daily = [one for one in found if one is not None]
    return float(np.std(daily, ddof=1) / np.sqrt(len(daily))) if len(daily) > 1 else None


def event_study(
    divergence: Floats, ahead: tuple[Forward, ...], open_ms: Integers, thresholds: tuple[float, ...] = THRESHOLDS
) -> tuple[Event, ...]:
    """What came after every divergence [T, N] beyond each threshold, by side and steps."""
    days = np.broadcast_to((open_ms // DAY_MS)[:, None], divergence.shape)
    sides: tuple[tuple[Side, Floats], ...] = (("lagging", divergence), ("leading", -divergence))
    return tuple(
        _event(threshold, side, forward, signed, days)
        for threshold in thresholds
        for side, signed in sides
        for forward in ahead
    )


def _event(threshold: float, side: Side, forward: Forward, signed: Floats, days: Integers) -> Event:
    met = (signed > threshold) & np.isfinite(forward.raw)
    count, on = int(met.sum()), days[met]
    if not count:
        return Event(threshold, side, forward.steps, 0, 0, None, None)
    raw, relative = average(forward.raw[met], on), average(forward.relative[met], on)
    return Event(threshold, side, forward.steps, count, len(np.unique(on)), raw, relative)


def average(values: Floats, days: Integers) -> Average:
    """The mean of values [K], one or more, with its error clustered by `days` [K]."""
    mean = float(values.mean())
    which = np.unique(days, return_inverse=True)[1]
    missed = np.bincount(which, weights=values - mean)
    count = len(missed)
    if count < 2:
        return Average(mean, None, None)
    error = float(np.sqrt(count / (count - 1) * (missed * missed).sum())) / len(values)
    return Average(mean, error, mean / error if error else None)
