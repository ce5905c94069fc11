"""How volatile a coin usually is at each hour of the week: two curves, one in UTC and one in New York's hours.

Why     the opening in New York moves against UTC with the US summer time, funding and midnight do not.
Clock   New York's, by the rule in force since 2007 (Energy Policy Act of 2005): summer time from the second Sunday of
        March to the first Sunday of November, at 2:00 local time. No database of time zones is asked.
Fitted  on train alone, to log volatility less its centred mean over a week, by turns (backfitting, Breiman and Friedman
        1985); each curve has mean 0. A coin that was not fitted gets the mean of the coins' curves.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bot.core.market import DAY_MS, HOUR_MS, Floats, Integers
from models.model import Arrays, BadModel, taken
from models.time_features import HOURS, hour_of_week

ROUNDS = 10
CELL_MIN = 4.0  # hours' worth of no deviation in every cell: tames those seldom seen


class Seasonality(Struct, frozen=True, eq=False):
    """Log deviations [C, 168] of the coins `symbols` from Monday 00:00 on, in either clock; they add up."""

    symbols: tuple[str, ...]
    utc: Floats
    new_york: Floats

    def of(self, symbols: tuple[str, ...]) -> "Seasonality":
        """The curves of these coins."""
        rows = [self.symbols.index(symbol) if symbol in self.symbols else len(self.symbols) for symbol in symbols]
        utc, new_york = (np.vstack((curves, curves.mean(axis=0)))[rows] for curves in (self.utc, self.new_york))
        return Seasonality(symbols, utc, new_york)

    def at(self, open_ms: Integers) -> Floats:
        """The deviations [T, N] of hours with these opens."""
        here, there = hour_of_week(open_ms), hour_of_week(new_york_ms(open_ms))
        found: Floats = self.utc.take(here, axis=1) + self.new_york.take(there, axis=1)
        return found.T

    def tensors(self) -> Arrays:
        """For the folder's weights file."""
        return {"season.utc": self.utc.copy(), "season.new_york": self.new_york.copy()}

    @classmethod
    def load(cls, symbols: tuple[str, ...], tensors: Mapping[str, NDArray[Any]]) -> "Seasonality":
        """Those of a folder, fitted on these coins. BadModel where they do not fit."""
        if not symbols:
            raise BadModel("the curves of the week were fitted on no coin: fit the model again")
        shape = (len(symbols), HOURS)
        return cls(symbols, taken(tensors, "season.utc", shape), taken(tensors, "season.new_york", shape))


def fit_seasonality(symbols: tuple[str, ...], open_ms: Integers, log_volatility: Floats) -> Seasonality:
    """The curves of log volatilities [T, N] of consecutive hours, NaN where there was none."""
    rest = log_volatility - _weekly_mean(log_volatility)
    clocks = hour_of_week(open_ms), hour_of_week(new_york_ms(open_ms))
    curves = [np.zeros((len(symbols), HOURS)) for _ in clocks]
    for _ in range(ROUNDS):
        for own, (clock, curve) in enumerate(zip(clocks, curves, strict=True)):
            other = curves[1 - own].take(clocks[1 - own], axis=1).T
            curve[:] = _cell_means(rest - other, clock)
    return Seasonality(symbols, curves[0], curves[1])


def new_york_ms(open_ms: Integers) -> Integers:
    """New York's local times, as milliseconds as if they were UTC."""
    years = open_ms.astype("datetime64[ms]").astype("datetime64[Y]")
    march, november = _sunday(years, 2) + 7, _sunday(years, 10)
    summer = (open_ms >= march * DAY_MS + 7 * HOUR_MS) & (open_ms < november * DAY_MS + 6 * HOUR_MS)
    found: Integers = open_ms - np.where(summer, 4, 5) * HOUR_MS
    return found


def _sunday(years: NDArray[np.datetime64], month: int) -> Integers:
    """The first Sunday of a month, January being 0, in days since 1970-01-01, a Thursday."""
    first = (years.astype("datetime64[M]") + month).astype("datetime64[D]").astype(np.int64)
    found: Integers = first + (3 - first) % 7
    return found


def _weekly_mean(values: Floats) -> Floats:
    """The mean over the week around each row [T, N], of what is known."""
    known = np.isfinite(values)
    added = np.zeros((2, len(values) + 1, values.shape[1]))
    np.cumsum((np.where(known, values, 0.0), known), axis=1, out=added[:, 1:])
    rows = np.arange(len(values))
    first, stop = np.maximum(rows - HOURS // 2, 0), np.minimum(rows + HOURS // 2 + 1, len(values))
    sums, counts = added[:, stop] - added[:, first]
    means: Floats = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    return means


def _cell_means(values: Floats, clock: Integers) -> Floats:
    """The mean of each hour of the week [N, 168], less the mean of the curve."""
    known = np.isfinite(values)
    sums, counts = np.zeros((HOURS, values.shape[1])), np.full((HOURS, values.shape[1]), CELL_MIN)
    np.add.at(sums, clock, np.where(known, values, 0.0))
    np.add.at(counts, clock, known)
    means = (sums / counts).T
    found: Floats = means - means.mean(axis=1, keepdims=True)
    return found
