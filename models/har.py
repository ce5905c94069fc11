"""Heterogeneous autoregression: the next hour's volatility from means over hours, a shift, a day and a week.

Source  Corsi 2009, with windows of 1, 6, 24 and 168 hours; the leverage term after Corsi and Reno 2012.
Forms   `levels` of volatilities; `logs` of them, and from there on logs: `clock` with the hour and the weekday of the
        coming hour, `plus` with the hour's volume and negative return, both normalised (log volume less its mean over
        168 hours; return over the volatility of 24), `plus-raw` with the two as they are, `panel` as `plus` but one
        regression for all coins, of logs less the coin's own mean of 168 hours: it fits coins never seen.
Fitted  by least squares on train.
Absent  hours count for nothing in means; an absent hour has its longer mean. Known with half of the week real.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bot.core.market import HOUR_MS, Floats, Integers, Mask, Panel
from models.candles import Candles, CandleTape
from models.model import Arrays, BadModel, taken
from models.running import RunningSums
from models.time_features import hour_of_week
from models.volatility import garman_klass, moves_of
from models.volatility_columns import LEAST
from models.volatility_inputs import log_volatilities
from models.volatility_model import Logs, places, plain_logs

SPANS = (6, 24, 168)
WARMUP = 168
ROWS_MIN = 500  # hours of a coin to fit on

REAL, LOG, LEVEL, VOLUME = range(4)
TERMS = 4


class Form(StrEnum):
    LEVELS = "levels"
    LOGS = "logs"
    CLOCK = "clock"
    PLUS = "plus"
    PLUS_RAW = "plus-raw"
    PANEL = "panel"


class HarRows(Struct, frozen=True, eq=False):
    """What is regressed on: means over 1 and SPANS hours [4, T, N] of logs and of levels, volume and returns [T, N]."""

    open_ms: Integers
    logs: Floats
    levels: Floats
    volume: Floats
    volume_mean: Floats
    fall: Floats
    now: Floats
    known: Mask

    def __len__(self) -> int:
        return len(self.open_ms)


class HarStream:
    """Turns hours that come in pieces into the rows that the whole would give."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self._tape = CandleTape(symbols, HOUR_MS, WARMUP)
        self._sums = RunningSums(TERMS, SPANS, len(symbols))

    def absorb(self, panel: Panel) -> list[HarRows]:
        """Rows of the panel's hours that are new, in pieces. ValueError as CandleTape.take."""
        return [self._rows(candles) for candles in self._tape.take(panel)]

    def _rows(self, candles: Candles) -> HarRows:
        moves = moves_of(np.log(candles.prices), candles.before)
        variance = garman_klass(moves.high, moves.low, moves.close)
        real, now = candles.real, log_volatilities(variance, candles.real)
        moved = np.isfinite(now)
        volume = np.log1p(candles.volume * candles.prices[1:].mean(axis=0))
        terms = [moved * 1.0, np.where(moved, now, 0.0), np.sqrt(np.maximum(variance, 0.0)) * moved, volume * moved]
        sums = self._sums.absorb(terms, candles.block)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs, levels = (
                _with_now(one, [window[at] / window[REAL] for window in sums], moved)
                for at, one in ((LOG, now), (LEVEL, np.exp(now)))
            )
            week = sums[-1]
            volume_mean = week[VOLUME] / week[REAL]
        kept = candles.kept
        fall = np.minimum((moves.overnight + moves.close) * candles.linked, 0.0)
        known = (2.0 * week[REAL] >= SPANS[-1]) & (2.0 * sums[1][REAL] >= SPANS[1])
        return HarRows(
            candles.open_ms[kept],
            logs[:, kept],
            levels[:, kept],
            np.where(real & moved, volume, volume_mean)[kept],
            volume_mean[kept],
            fall[kept],
            now[kept],
            known[kept],
        )

    def state(self) -> Arrays:
        return self._tape.state() | self._sums.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes it back. BadModel when it is of another shape."""
        self._tape.restore(state)
        self._sums.restore(state)


def _with_now(now: Floats, means: list[Floats], moved: Mask) -> Floats:
    """The hour itself above its means [4, T, N]; what is not known is the next longer mean."""
    found = np.stack((np.where(moved, now, np.nan), *means))
    for shorter, longer in ((2, 3), (1, 2), (0, 1)):
        found[shorter] = np.where(np.isfinite(found[shorter]), found[shorter], found[longer])
    return found


def design(form: Form, rows: HarRows) -> Floats:
    """The regressors [T, N, K]."""
    shape = rows.now.shape
    if form is Form.LEVELS:
        return np.stack((np.ones(shape), *rows.levels), axis=-1)
    columns = [np.ones(shape), *rows.logs]
    if form is Form.PANEL:
        columns = [np.ones(shape), *(rows.logs[:3] - rows.logs[3])]
    if form is not Form.LOGS:
        columns += _clock(rows)
    if form is Form.PLUS_RAW:
        columns += [rows.volume, rows.fall]
    elif form in (Form.PLUS, Form.PANEL):
        columns += [rows.volume - rows.volume_mean, rows.fall * np.exp(-rows.logs[2])]
    return np.stack(columns, axis=-1)


def _clock(rows: HarRows) -> list[Floats]:
    """Indicators of the coming hour and weekday, without the first of each."""
    clock = hour_of_week(rows.open_ms + HOUR_MS)
    marks = [clock % 24 == hour for hour in range(1, 24)] + [clock // 24 == day for day in range(1, 7)]
    return [np.broadcast_to(mark[:, None] * 1.0, rows.now.shape) for mark in marks]


class Har:
    """A predictor by one form, with `weights` [N, K]; those of `panel` are all the same row."""

    architecture = "har"
    warmup = WARMUP

    def __init__(self, symbols: tuple[str, ...], form: Form, weights: Floats) -> None:
        self.symbols = symbols
        self.form = form
        self.weights = weights
        self._stream = HarStream(symbols)

    def of(self, symbols: tuple[str, ...]) -> "Har":
        """The same for these coins, that has seen nothing; of `panel` any coins. BadModel names those not fitted."""
        any_coin = self.form is Form.PANEL
        at = [0] * len(symbols) if any_coin else places(self.symbols, symbols)
        return Har(symbols, self.form, self.weights[at])

    def absorb(self, panel: Panel) -> Logs:
        """What it says of the panel's rows that are new."""
        pieces = self._stream.absorb(panel)
        nothing = np.empty((0, len(self.symbols)))
        location = np.concatenate((nothing, *(self._location(rows) for rows in pieces)))
        now = np.concatenate((nothing, *(rows.now for rows in pieces)))
        return plain_logs(panel.open_ms[len(panel) - len(now) :], location, now)

    def _location(self, rows: HarRows) -> Floats:
        found: Floats = np.sum(design(self.form, rows) * self.weights, axis=-1)
        if self.form is Form.LEVELS:
            found = np.log(np.maximum(found, LEAST))
        elif self.form is Form.PANEL:
            found = found + rows.logs[3]
        location: Floats = np.where(rows.known, found, np.nan)
        return location

    def pass_over(self, panel: Panel) -> None:
        """Absorbs hours that nothing is asked about."""
        self._stream.absorb(panel)

    def state(self) -> Arrays:
        return self._stream.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes it back. BadModel when it is of another shape."""
        self._stream.restore(state)

    def settings(self) -> dict[str, Any]:
        return {"form": self.form.value}

    def tensors(self) -> Arrays:
        return {"weights": self.weights.copy()}

    @classmethod
    def load(cls, symbols: tuple[str, ...], settings: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> "Har":
        """The predictor of a folder. BadModel where it is none."""
        try:
            form = Form(settings.get("form", ""))
        except ValueError as why:
            raise BadModel(f"settings: {why}: there are {', '.join(Form)}") from why
        return cls(symbols, form, taken(tensors, "weights", (len(symbols), WIDTHS[form])))


def fit_har(form: Form, train: Panel) -> Har:
    """Fitted on these hours. BadModel where a coin has too few."""
    (*before, rows) = HarStream(train.symbols).absorb(train)
    several = [*before, rows]
    x = np.concatenate([design(form, one) for one in several])[:-1]
    y = np.concatenate([_answers(form, one) for one in several])[1:]
    if form is Form.PANEL:
        y = y - np.concatenate([one.logs[3] for one in several])[:-1]
    follows = np.diff(np.concatenate([one.open_ms for one in several])) == HOUR_MS
    known = np.concatenate([one.known for one in several])[:-1] & np.isfinite(y) & follows[:, None]
    if form is Form.PANEL:
        weights = np.tile(_regressed(x[known], y[known], "the panel"), (len(train.symbols), 1))
    else:
        weights = np.stack(
            [
                _regressed(x[known[:, coin], coin], y[known[:, coin], coin], symbol)
                for coin, symbol in enumerate(train.symbols)
            ]
        )
    return Har(train.symbols, form, weights)


def _answers(form: Form, rows: HarRows) -> Floats:
    found: Floats = np.exp(rows.now) if form is Form.LEVELS else rows.now
    return found


def _regressed(x: Floats, y: Floats, name: str) -> Floats:
    if len(y) < ROWS_MIN:
        raise BadModel(f"{name}: {len(y)} hours to fit HAR on, {ROWS_MIN} are needed: give more candles")
    solved: Floats = np.linalg.lstsq(x, y, rcond=None)[0].astype(np.float64)
    return solved


WIDTHS = {Form.LEVELS: 5, Form.LOGS: 5, Form.CLOCK: 34, Form.PLUS: 36, Form.PLUS_RAW: 36, Form.PANEL: 35}
