"""What a volatility model reads of a candle: 9 price features and 30 engineered ones, by name, in a fixed order.

Shapes  T slices, oldest first; N symbols; F = 39 features, named by FEATURES; REGISTRY has formula and source of each.
Causal  row t uses candles up to t alone.
Pieces  however the slices are cut, the features are those of the whole, to the bit: sums run on (models/running.py)
        and begin anew at fixed times.
Absent  candles count for nothing (models/candles.py). A mean over a window is known while at least half of it is
        real; what reads closes takes the last known one, and is known once there was a price that long ago. What is
        not known is NaN, nothing else is: 0/0 (a flat window, no volume) gives the feature's `neutral` value.
Prices  are logs: a network reads them against its window's last close (`anchored`), for raw ones drift away.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.core.market import Floats, Mask, Panel
from models.candles import BLOCK, Candles, CandleTape, shaped
from models.feature_registry import AT, FEATURES, REGISTRY
from models.indicators import (
    ARRAYS,
    BAND,
    FLOATS,
    LINKED,
    MACD_DECAYS,
    REAL,
    SERIES,
    Candle,
    columns,
    terms,
)
from models.model import Arrays
from models.running import DecayedSums, RunningSums
from models.time_features import time_features, time_features_of

__all__ = ["FEATURES", "REGISTRY", "Features", "anchored", "features"]

BACK = 48  # the longest look back, momentum's
LAGS = (1, 6, 12, 24, 48)
SPANS = (6, 14, 24)
LOGS = slice(AT["log_open"], AT["log_close"] + 1)
CLOCK = AT["hour_sin"]  # the first of the features of time
NEEDS = tuple(dict.fromkeys(feature.needs for feature in REGISTRY[:CLOCK]))
NEEDED = np.array([NEEDS.index(feature.needs) for feature in REGISTRY[:CLOCK]])
NEUTRAL = np.array([feature.neutral for feature in REGISTRY])[:, None, None]
STEP_COINS = 12  # a single slice of so few coins is faster in floats (benchmarks.features)


class Features:
    """Turns slices that come in pieces into the features that the whole would give."""

    def __init__(self, symbols: tuple[str, ...], interval_ms: int) -> None:
        coins = len(symbols)
        self._tape = CandleTape(symbols, interval_ms, BACK)
        self._sums = RunningSums(SERIES, SPANS, coins)
        self._decayed = DecayedSums(MACD_DECAYS, coins)
        self._volume = np.zeros((1, coins))  # of the newest slice

    def absorb(self, panel: Panel) -> Floats:
        """The features [t, N, F] of the panel's rows that are new. ValueError as CandleTape.take."""
        if len(self._tape.symbols) <= STEP_COINS:
            one = self._tape.take_one(panel)
            if one is not None:
                return self._of_one(*one)
        pieces = [self._features(candles) for candles in self._tape.take(panel)]
        if len(pieces) == 1:
            return pieces[0].transpose(1, 2, 0)
        empty = np.empty((len(FEATURES), 0, len(panel.symbols)))
        return np.concatenate((empty, *pieces), axis=1).transpose(1, 2, 0)

    def _features(self, candles: Candles) -> Floats:
        """The features [F, T, N] of the rows that were in the panel."""
        change = candles.prices[3] - candles.before
        decayed = self._decayed.absorb(change, candles.number)
        out = self._of_many(candles, change, decayed)
        out[CLOCK:] = time_features(candles.open_ms)[..., None]
        self._volume = candles.volume[-1:]
        return out[:, candles.kept]

    def _of_many(self, candles: Candles, change: Floats, decayed: Floats) -> Floats:
        """All slices and coins at once; the features of time are left open."""
        rows, closes = len(candles), candles.closes
        candle = Candle(
            candles.prices,
            candles.volume,
            np.log(candles.prices),
            np.log1p(candles.volume),
            candles.before,
            np.log(candles.before),
            change,
            [closes[BACK - back : BACK - back + rows] for back in range(1, BAND)],
            [closes[BACK - lag : BACK - lag + rows] for lag in LAGS],
            np.concatenate((self._volume, candles.volume[:-1])),
            decayed,
        )
        series = terms(ARRAYS, candle, candles.real * 1.0, candles.linked * 1.0)
        sums = self._sums.absorb(series, candles.block)
        out = np.empty((len(FEATURES), *change.shape))
        with np.errstate(all="ignore"):  # what divides by zero is settled below
            for column, values in zip(out, columns(ARRAYS, candle, series, *sums), strict=False):
                column[:] = values
        _settle(out[:CLOCK], candles, (series, *sums))
        return out

    def _of_one(self, fields: Floats, closes: Floats) -> Floats:
        """The features [1, N, F] of one steady slice, coin by coin in floats."""
        newest_ms = self._tape.newest_ms
        number = newest_ms // self._tape.interval_ms
        before = closes[-2:-1]
        change = fields[3] - before[0]
        decayed = self._decayed.absorb_one(change, number)
        logs = np.log(np.concatenate((fields[:4], before)))
        parts = (fields, logs, np.log1p(fields[4:]), decayed, change[None], self._volume, closes)
        coins = [_floats(numbers) for numbers in np.concatenate(parts).T.tolist()]
        series = [terms(FLOATS, coin, 1.0, 1.0) for coin in coins]
        sums = self._sums.absorb_one(np.array(series).T, number // BLOCK)
        spans = sums.transpose(0, 2, 1).tolist()
        clock = time_features_of(newest_ms)
        found = [(*columns(FLOATS, *each), *clock) for each in zip(coins, series, *spans, strict=True)]
        out = np.array(found)
        if not all(math.isfinite(sum(values)) for values in found):
            np.copyto(out, NEUTRAL[:, 0, 0], where=~np.isfinite(out))
        self._volume = fields[4:]
        return out[None]

    def state(self) -> Arrays:
        """The running state, to go on from after a restart."""
        arrays = {"volume": self._volume.copy()}
        for name, part in self._parts():
            arrays |= {f"{name}.{key}": array for key, array in part.state().items()}
        return arrays

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes it back. BadModel when it is of another shape."""
        volume = shaped(state, "volume", self._volume.shape)
        for name, part in self._parts():
            part.restore({key.removeprefix(f"{name}."): array for key, array in state.items()})
        self._volume = volume

    def _parts(self) -> tuple[tuple[str, CandleTape | RunningSums | DecayedSums], ...]:
        return ("tape", self._tape), ("sums", self._sums), ("decayed", self._decayed)


def features(panel: Panel) -> Floats:
    """The features [T, N, F] of a whole panel."""
    return Features(panel.symbols, panel.interval_ms).absorb(panel)


def anchored(window: Floats) -> Floats:
    """Windows of features [..., W, N, F] with log prices less their own last known log close (spec 8.13)."""
    close = window[..., AT["log_close"]]
    rows = np.arange(close.shape[-2])[:, None]
    last = np.where(np.isfinite(close), rows, 0).max(axis=-2, keepdims=True)
    found = window.copy()
    found[..., LOGS] -= np.take_along_axis(close, last, axis=-2)[..., None]
    return found


def _floats(numbers: list[float]) -> Candle:
    """The candle of one coin, from numbers as `_of_one` lays them out."""
    log_before, log_volume = numbers[9:11]
    change, volume_before = numbers[14:16]
    closes = numbers[16:]
    return Candle(
        numbers[:4],
        numbers[4],
        numbers[5:9],
        log_volume,
        closes[-2],
        log_before,
        change,
        closes[-2 : -BAND - 1 : -1],
        [closes[BACK - lag] for lag in LAGS],
        volume_before,
        numbers[11:14],
    )


def _settle(out: Floats, candles: Candles, sums: Sequence[Sequence[Floats]]) -> None:
    """NaN where a feature is not known; its neutral value where it is known and no number. `sums` over 1 and SPANS."""
    rows = candles.unsteady
    if rows:
        _neutralise(out[:, :rows])
    if not np.isfinite(np.add.reduce(out, axis=None)):  # one sum tells whether any is not finite
        _neutralise(out)
    if rows:
        np.copyto(out[:, :rows], np.nan, where=~_known(candles, dict(zip((1, *SPANS), sums, strict=True))))


def _neutralise(out: Floats) -> None:
    np.copyto(out, NEUTRAL[: len(out)], where=~np.isfinite(out))


def _known(candles: Candles, sums: Mapping[int, Sequence[Floats]]) -> Mask:
    """Where each feature but those of time is known [F, T, N], in the unsteady rows."""
    rows = candles.unsteady
    found = np.empty((len(NEEDS), *candles.real[:rows].shape), dtype=np.bool_)
    for known, needs in zip(found, NEEDS, strict=True):
        match needs.kind:
            case "price":
                np.isfinite(candles.closes[BACK - needs.span : BACK - needs.span + rows], out=known)
            case "returns":
                np.greater_equal(2.0 * sums[needs.span][LINKED][:rows], needs.span, out=known)
            case _:
                np.greater_equal(2.0 * sums[needs.span][REAL][:rows], needs.span, out=known)
    every: Mask = found[NEEDED]
    return every
