"""What the volatility network reads of each hour: its summary vector, from that hour and the 888 before it.

Shapes  T hours, oldest first; N coins; F inputs, named by INPUTS.
Logs    of volatilities less the hour-of-week curves (models/seasonality.py), so that a quiet night is not a quiet
        market; returns are over the same curves. Volume is quote volume: typical price x volume.
Coming  calendar and usual values are those of the hour that opens when this one closes.
Absent  hours count for nothing in means, and stand with the mean of the day before them where they are looked back
        at. A row is known while half of its longest window is real; elsewhere inputs may be NaN.
Pieces  however the hours are cut, the rows are those of the whole, to the bit.
Columns models/volatility_columns.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bot.core.market import HOUR_MS, Floats, Integers, Mask, Panel
from models.candles import Candles, CandleTape, shaped
from models.model import Arrays
from models.running import DecayedSums, RunningSums
from models.seasonality import Seasonality, new_york_ms
from models.time_features import hour_of_week
from models.volatility import garman_klass, moves_of, parkinson, rogers_satchell
from models.volatility_columns import (
    BACK,
    GROUPS,
    INPUTS,
    KEPT,
    LEAST,
    LEVEL,
    LOG,
    REAL,
    SIZE,
    SPANS,
    TERMS,
    VOLUME,
    Hours,
)

LOOK_BACK = 888  # 720 hours of mean volume, as they were 168 hours ago
DECAYS = (0.8, 0.9, 0.97)


class Rows(Struct, frozen=True, eq=False):
    """T hours: their inputs, and the log volatilities around them.

    `values` [T, N, F]; `known` [T, N]: the inputs are all there; `logs` [T, N] of the hour's own Garman-Klass
    volatility, NaN where it did not trade or did not move; `season` and `coming` [T, N]: the curves' deviation of the
    hour and of the next one.
    """

    open_ms: Integers
    values: Floats
    known: Mask
    logs: Floats
    season: Floats
    coming: Floats

    def __len__(self) -> int:
        return len(self.open_ms)


class VolatilityInputs:
    """Turns hours that come in pieces into the rows that the whole would give."""

    def __init__(self, symbols: tuple[str, ...], season: Seasonality) -> None:
        coins = len(symbols)
        self._season = season.of(symbols)
        self._tape = CandleTape(symbols, HOUR_MS, LOOK_BACK)
        self._sums = RunningSums(TERMS, SPANS, coins)
        self._decayed = DecayedSums(DECAYS, 2 * coins)  # the logs', then the counts'
        self._past = np.full((KEPT, BACK, coins), np.nan)

    def absorb(self, panel: Panel) -> Rows:
        """The rows of the panel's hours that are new. ValueError as CandleTape.take."""
        pieces = [self._rows(candles) for candles in self._tape.take(panel)]
        if len(pieces) == 1:
            return pieces[0]
        shape = (0, len(panel.symbols))
        nothing = np.empty(shape)
        none = Rows(np.empty(0, dtype=np.int64), np.empty((*shape, len(INPUTS))), nothing > 0, *[nothing] * 3)
        parts = ([getattr(piece, name) for piece in (none, *pieces)] for name in Rows.__struct_fields__)
        return Rows(*(np.concatenate(part) for part in parts))

    def _rows(self, candles: Candles) -> Rows:
        season, coming = self._season.at(candles.open_ms), self._season.at(candles.open_ms + HOUR_MS)
        real = candles.real
        term, own = _terms(candles, season)
        windows = self._sums.absorb(list(term), candles.block)
        sums = dict(zip(SPANS, windows, strict=True))
        decayed = self._decayed.absorb(np.hstack((term[LOG], term[REAL])), candles.number)
        coins = real.shape[1]
        with np.errstate(all="ignore"):  # what is not known is NaN, and told so
            past = np.concatenate((self._past, self._kept(candles, term, sums)), axis=1)
            self._past = past[:, -BACK:].copy()
            ewma = decayed[..., :coins] / decayed[..., coins:]
            clock = (hour_of_week(candles.open_ms + HOUR_MS), hour_of_week(new_york_ms(candles.open_ms + HOUR_MS)))
            hours = Hours(candles, term, sums, ewma, past, clock, season, coming)
            values = np.stack([column for _, group in GROUPS for column in group(hours)], axis=-1)
        known = (2.0 * sums[24][REAL] >= 24) & (2.0 * sums[720][REAL] >= 720) & np.isfinite(values).all(axis=-1)
        kept = candles.kept
        return Rows(candles.open_ms[kept], values[kept], known[kept], own[kept], season[kept], coming[kept])

    def _kept(self, candles: Candles, term: Floats, sums: Mapping[int, Sequence[Floats]]) -> Floats:
        """What later hours look back at [KEPT, T, N]; absent hours stand with the mean of a day."""
        real, day = candles.real, sums[24]
        logs = np.where(real, term[LOG], day[LOG] / day[REAL])
        volumes = np.where(real, term[VOLUME], day[VOLUME] / day[REAL]) - sums[720][VOLUME] / sums[720][REAL]
        highs, lows = np.log(candles.prices[1]), np.log(candles.prices[2])
        return np.stack((logs, volumes, term[SIZE], highs, lows))

    def state(self) -> Arrays:
        """The running state, to go on from after a restart."""
        arrays = {"past": self._past.copy()}
        for name, part in self._parts():
            arrays |= {f"{name}.{key}": array for key, array in part.state().items()}
        return arrays

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes it back. BadModel when it is of another shape."""
        past = shaped(state, "past", self._past.shape)
        for name, part in self._parts():
            part.restore({key.removeprefix(f"{name}."): array for key, array in state.items()})
        self._past = past

    def _parts(self) -> tuple[tuple[str, CandleTape | RunningSums | DecayedSums], ...]:
        return ("tape", self._tape), ("sums", self._sums), ("decayed", self._decayed)


def log_volatilities(variances: Floats, real: Mask) -> Floats:
    """Log volatilities, NaN where an hour was absent or did not move."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.where(real & (variances > 0.0), 0.5 * np.log(variances), np.nan)
    return found


def _terms(candles: Candles, season: Floats) -> tuple[Floats, Floats]:
    """What is summed [TERMS, T, N], and the hours' own log volatilities [T, N] before the curves are taken off."""
    real, linked = candles.real, candles.linked
    moves = moves_of(np.log(candles.prices), candles.before)
    variance = garman_klass(moves.high, moves.low, moves.close)
    usual = np.exp(-2.0 * (season + LEVEL))  # brings variances to about 1
    log = 0.5 * np.log(np.maximum(variance, LEAST * LEAST)) - season - LEVEL
    typical = candles.prices[1:].mean(axis=0)
    move = (moves.overnight + moves.close) * linked * np.sqrt(usual)
    terms = np.stack(
        (
            real * 1.0,
            linked * 1.0,
            log * real,
            log * log * real,
            variance * usual,
            parkinson(moves.high, moves.low) * usual,
            rogers_satchell(moves.high, moves.low, moves.close) * usual,
            np.log1p(typical * candles.volume) * real,
            move,
            move * move,
            np.minimum(move, 0.0) ** 2,
            np.abs(move),
        )
    )
    return terms, log_volatilities(variance, real)
