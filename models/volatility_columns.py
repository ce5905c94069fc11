"""The columns of the volatility network's summary vector: what each is, by name, in order.

Shapes  T hours, oldest first; N coins; columns are [T, N].
Logs    of volatilities less the hour-of-week curves and less LEVEL; returns and variances are over the curves too.
Order   that of the findings: own volatility, other estimators, volume, returns, shape, the coming hour's calendar.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from msgspec import Struct

from bot.core.market import Floats, Integers
from models.candles import Candles

SPANS = (3, 6, 12, 24, 72, 168, 720)
DAYS = range(23, 168, 24)  # so many hours back: the hours of the last seven days at the coming hour's time of day
BACK = 168  # hours that are looked back at one by one
LEVEL = -5.0  # about what log volatilities are: sums of squares about it cancel little
LEAST = 1e-4  # a volatility below, a forecast of one, or of an hour that did not move, counts as this
TINY = 1e-12

REAL, LINKED, LOG, SQUARE, GK, PARKINSON, ROGERS, VOLUME, RETURN, RETURNS, FALLS, SIZE = range(12)
TERMS = 12
LOGS, VOLUMES, SIZES, HIGHS, LOWS = range(5)  # what is looked back at, hour by hour
KEPT = 5


class Hours(Struct, frozen=True, eq=False):
    """What the inputs are computed from: hours, sums over SPANS, what is looked back at [KEPT, BACK + T, N]."""

    candles: Candles
    term: Floats
    sums: Mapping[int, Sequence[Floats]]
    decayed: Floats
    past: Floats
    clock: tuple[Integers, Integers]
    season: Floats
    coming: Floats

    def mean(self, series: int, span: int) -> Floats:
        """Over the real hours of the last `span`; NaN without one."""
        sums = self.sums[span]
        found: Floats = sums[series] / sums[REAL]
        return found

    def back(self, series: int, hours: int) -> Floats:
        """What a series was so many hours ago."""
        return self.past[series, BACK - hours : len(self.past[series]) - hours]

    def windows(self, series: int, span: int) -> Floats:
        """The last `span` values [T, N, span]."""
        view: Floats = np.lib.stride_tricks.sliding_window_view(self.past[series, BACK - span + 1 :], span, axis=0)
        return view


def _log(variance: Floats) -> Floats:
    """The log of a root."""
    found: Floats = 0.5 * np.log(np.maximum(variance, TINY))
    return found


def _own(h: Hours) -> list[Floats]:
    return [
        *(h.back(LOGS, lag) for lag in (0, 1, 2, 3, 23, 47, 167)),
        *(h.mean(LOG, span) for span in SPANS),
        sum((h.back(LOGS, lag) for lag in DAYS), np.zeros_like(h.season)) / len(DAYS),
        *(_log(h.mean(GK, span)) for span in (3, 6, 24, 168, 720)),
        *h.decayed,
    ]


def _others(h: Hours) -> list[Floats]:
    return [
        _log(h.term[PARKINSON]),
        _log(h.term[ROGERS]),
        *(_log(h.mean(series, span)) for series in (PARKINSON, ROGERS) for span in (3, 6, 24)),
        *(_log(h.mean(RETURNS, span)) for span in (6, 24, 168)),
    ]


def _volume(h: Hours) -> list[Floats]:
    now = h.back(VOLUMES, 0)
    usual = sum((h.back(VOLUMES, lag) for lag in DAYS), np.zeros_like(now)) / len(DAYS)
    same = sum((h.back(VOLUMES, lag + 1) for lag in DAYS), np.zeros_like(now)) / len(DAYS)
    long = h.mean(VOLUME, 720)
    return [
        now,
        h.back(VOLUMES, 1),
        h.back(VOLUMES, 2),
        *(h.mean(VOLUME, span) - long for span in (3, 6, 24, 168)),
        usual,
        now - same,
        now - h.mean(VOLUME, 24),
        now - h.back(LOGS, 0),  # volume without movement
    ]


def _returns(h: Hours) -> list[Floats]:
    scale = np.sqrt(np.maximum(h.mean(RETURNS, 168), TINY))
    falls = [h.sums[span][FALLS] / np.maximum(h.sums[span][RETURNS], TINY) for span in (6, 24, 168)]
    momenta = [h.sums[span][RETURN] / (scale * np.sqrt(span)) for span in (3, 6, 24, 72, 168)]
    now = h.term[RETURN] / scale
    before = (h.back(SIZES, 1)) / scale
    return [
        now,
        np.abs(now),
        np.minimum(now, 0.0),
        before,
        *falls,
        *momenta,
        *(np.abs(momentum) for momentum in momenta),
        np.log(np.maximum(h.windows(SIZES, 24).max(axis=-1) / scale, TINY)),
        np.log(np.maximum(h.mean(SIZE, 24) / scale, TINY)),
    ]


def _shape(h: Hours) -> list[Floats]:
    found: list[Floats] = []
    close = np.log(h.candles.prices[3])
    for span in (24, 168):
        top, bottom = h.windows(HIGHS, span).max(axis=-1), h.windows(LOWS, span).min(axis=-1)
        width = np.maximum(top - bottom, TINY)
        found += [np.log(np.maximum(width, LEAST)), (close - bottom) / width]
    for span in (6, 24, 168):
        found.append(np.sqrt(np.maximum(h.mean(SQUARE, span) - h.mean(LOG, span) ** 2, 0.0)))
    day = h.windows(LOGS, 24)
    opened, high, low, _ = np.log(h.candles.prices)
    width = np.maximum(high - low, LEAST)
    return [
        *found,
        day.max(axis=-1) - h.mean(LOG, 24),
        day.min(axis=-1) - h.mean(LOG, 24),
        np.abs(close - opened) / width,
        (high - np.maximum(opened, close)) / width,
        (np.minimum(opened, close) - low) / width,
    ]


def _calendar(h: Hours) -> list[Floats]:
    shape = h.season.shape
    found = []
    for clock in h.clock:
        for turns in (1, 2, 3):
            angle = 2.0 * np.pi * turns * (clock % 24) / 24.0
            found += [np.sin(angle), np.cos(angle)]
    week = 2.0 * np.pi * h.clock[0] / 168.0
    weekend = (h.clock[1] >= 120) * 1.0
    found += [np.sin(week), np.cos(week), np.sin(2.0 * week), np.cos(2.0 * week), weekend]
    return [*(np.broadcast_to(column[:, None], shape) for column in found), h.season, h.coming]


def _counted(name: str, spans: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{name}_{span}" for span in spans)


GROUPS: tuple[tuple[tuple[str, ...], Callable[[Hours], list[Floats]]], ...] = (
    (
        (
            *_counted("log_back", (0, 1, 2, 3, 23, 47, 167)),
            *_counted("log_mean", SPANS),
            "log_same_hour",
            *_counted("log_of_mean_variance", (3, 6, 24, 168, 720)),
            *_counted("log_ewma", (80, 90, 97)),
        ),
        _own,
    ),
    (
        (
            "parkinson",
            "rogers_satchell",
            *_counted("parkinson", (3, 6, 24)),
            *_counted("rogers_satchell", (3, 6, 24)),
            *_counted("realised", (6, 24, 168)),
        ),
        _others,
    ),
    (
        (
            *_counted("volume_back", (0, 1, 2)),
            *_counted("volume_mean", (3, 6, 24, 168)),
            "volume_usual_next",
            "volume_surprise",
            "volume_over_day",
            "volume_over_volatility",
        ),
        _volume,
    ),
    (
        (
            "return",
            "return_size",
            "return_fall",
            "return_size_before",
            *_counted("fall_share", (6, 24, 168)),
            *_counted("momentum", (3, 6, 24, 72, 168)),
            *_counted("momentum_size", (3, 6, 24, 72, 168)),
            "largest_move_24",
            "mean_move_24",
        ),
        _returns,
    ),
    (
        (
            "range_24",
            "place_24",
            "range_168",
            "place_168",
            *_counted("volatility_of_volatility", (6, 24, 168)),
            "log_above_day",
            "log_below_day",
            "body",
            "wick_above",
            "wick_below",
        ),
        _shape,
    ),
    (
        (
            *(
                f"{clock}_{turns}_{part}"
                for clock in ("utc", "new_york")
                for turns in (1, 2, 3)
                for part in ("sin", "cos")
            ),
            *(f"week_{turns}_{part}" for turns in (1, 2) for part in ("sin", "cos")),
            "weekend",
            "season",
            "season_coming",
        ),
        _calendar,
    ),
)
INPUTS: tuple[str, ...] = tuple(name for names, _ in GROUPS for name in names)
