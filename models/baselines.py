"""The closed forms: equal-weight market, ridge, and the exponentially weighted Gaussian conditional.

Each infers every coin's return of the newest slice from all the others, as if the coin alone were hidden, and
gives it in raw units. Absent coins are hidden with it and get NaN.

N coins  K entries: N, or 2 N with the slice before, or 3 N with its wicks.
"""

import copy
import itertools
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bot.core.market import DAY_MS, HOUR_MS, Floats, Mask, Panel
from models.closed_form import ClosedForm, taken_gain
from models.conditional import Moments, infer_each, precision_of
from models.dataset import MeanSquare, Returns, standardised
from models.model import Arrays, BadModel, taken

CLIP = 8.0
RIDGE_PENALTY = 0.05


class Market(ClosedForm):
    """The equal-weight mean of the other coins that are present, in units of each coin's `deviation` [N].

    Without one every coin counts as equally wild: the plain mean of the raw returns.
    """

    architecture = "market"

    def __init__(
        self,
        symbols: tuple[str, ...],
        interval_ms: int,
        deviation: Floats | None = None,
        gain: Floats | None = None,
        fitted_ms: int = 0,
    ) -> None:
        super().__init__(symbols, interval_ms, gain, fitted_ms)
        self.deviation = np.ones(len(symbols)) if deviation is None else deviation
        self._clip = np.inf if deviation is None else CLIP  # a raw return is no multiple of anything

    def _advance(self, returns: Returns) -> Floats:
        known = returns.real & (self.deviation > 0)
        x = standardised(returns.values, self.deviation, known, self._clip)
        others = known.sum(axis=1, keepdims=True) - 1
        mean = (x.sum(axis=1, keepdims=True) - x) / np.maximum(others, 1)
        inferred: Floats = np.where(known & (others > 0), mean * self.deviation, np.nan)
        return inferred

    def _fitted(self) -> Arrays:
        return {"deviation": self.deviation.copy()}

    @classmethod
    def load(
        cls,
        symbols: tuple[str, ...],
        interval_ms: int,
        fitted_ms: int,
        settings: Mapping[str, Any],
        tensors: Mapping[str, NDArray[Any]],
    ) -> "Market":
        """The model of a folder."""
        coins = len(symbols)
        return cls(symbols, interval_ms, taken(tensors, "deviation", (coins,)), taken_gain(tensors, coins), fitted_ms)


class Ridge(ClosedForm):
    """Ridge regression of each coin on the others, with a fixed correlation and each coin's `deviation` [N].

    `precision` [N, N] is the inverse of correlation + penalty x identity: all N regressions in one matrix.
    """

    architecture = "ridge"

    def __init__(
        self,
        symbols: tuple[str, ...],
        interval_ms: int,
        deviation: Floats,
        precision: Floats,
        gain: Floats | None = None,
        fitted_ms: int = 0,
    ) -> None:
        super().__init__(symbols, interval_ms, gain, fitted_ms)
        self.deviation = deviation
        self.precision = precision

    def _advance(self, returns: Returns) -> Floats:
        known = returns.real & (self.deviation > 0)
        x = standardised(returns.values, self.deviation, known, CLIP)
        return infer_each(self.precision, x, known, len(self.symbols)) * self.deviation

    def _fitted(self) -> Arrays:
        return {"deviation": self.deviation.copy(), "precision": self.precision.copy()}

    @classmethod
    def load(
        cls,
        symbols: tuple[str, ...],
        interval_ms: int,
        fitted_ms: int,
        settings: Mapping[str, Any],
        tensors: Mapping[str, NDArray[Any]],
    ) -> "Ridge":
        """The model of a folder."""
        coins = len(symbols)
        deviation, precision = taken(tensors, "deviation", (coins,)), taken(tensors, "precision", (coins, coins))
        if not (precision.diagonal() > 0).all():
            raise BadModel("the array precision is no inverse of a covariance: fit the model again")
        return cls(symbols, interval_ms, deviation, precision, taken_gain(tensors, coins), fitted_ms)


class GaussianSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hyperparameters of the Gaussian.

    `lags` 1 adds the slice before, the coin's own return in it included; `wicks` its wicks too. `penalty` is added to the correlation's
    diagonal. `clip` bounds a return in multiples of its scale. `known_min` real returns make a coin known.
    """

    lags: int = 1
    wicks: bool = False
    half_life_days: float = 7.0
    refresh_minutes: int = 60
    penalty: float = 0.2
    clip: float = CLIP
    trailing_hours: float = 4.0
    long_run_days: float = 30.0
    known_min: int = 60

    def __post_init__(self) -> None:
        if self.lags not in (0, 1):
            raise ValueError(f"lags must be 0 or 1, not {self.lags}")
        if self.wicks and not self.lags:
            raise ValueError("wicks are those of the slice before: they need lags = 1")
        if self.refresh_minutes < 1 or self.known_min < 1:
            raise ValueError("refresh_minutes and known_min must be 1 or more")
        for name in ("half_life_days", "penalty", "clip", "trailing_hours", "long_run_days"):
            value = getattr(self, name)
            if not 0 < value < 1e6:
                raise ValueError(f"{name} must be above 0 and finite, not {value}")


class Steps(msgspec.Struct, frozen=True, eq=False):
    """What the Gaussian makes of slices that are new to it, row by row from rows before it; arrays [T, N].

    `x` the returns over their `scale`, clipped, and `wicks` likewise, 0 where not `known`; `wildness` the logarithm of
    that scale over the long-run deviation; `inferred` each coin's raw return as if it alone were hidden, NaN where none.
    """

    returns: Returns
    x: Floats
    scale: Floats
    known: Mask
    wildness: Floats
    wicks: Floats
    inferred: Floats


TRAILING_ROWS_MIN = 12  # at long intervals few returns lie within the trailing hours
TRAILING_PRIOR = 5.0  # returns' worth of the long-run deviation: also the floor under a coin that stood still
PAIR_PRIOR = 30.0  # rows of no correlation: tames pairs seldom seen together


class Gaussian(ClosedForm):
    """Conditional mean under an exponentially weighted Gaussian that is updated by every slice.

    Scale   of a coin: sqrt(trailing deviation x long-run deviation), from the slices before. The trailing one is
            exponentially weighted with the mean age of a window of `trailing_hours`.
    Refresh the correlation of the hours that are over is inverted once an hour of exchange time (`refresh_minutes`);
            the rows of the hour that runs wait in `_x`, `_known`. Memory is thereby bounded.
    Weights age by the slice, not by the clock: what was known before a gap is not forgotten in it.
    """

    architecture = "gaussian"

    def __init__(
        self,
        symbols: tuple[str, ...],
        interval_ms: int,
        settings: GaussianSettings | None = None,
        gain: Floats | None = None,
        fitted_ms: int = 0,
    ) -> None:
        super().__init__(symbols, interval_ms, gain, fitted_ms)
        self._s = s = settings or GaussianSettings()
        coins = len(symbols)
        entries = coins * (1 + s.lags + s.wicks)
        trailing_rows = max(TRAILING_ROWS_MIN, s.trailing_hours * HOUR_MS / interval_ms / 2)
        self.warmup = int(s.trailing_hours * HOUR_MS / interval_ms) + 2
        self._trailing = MeanSquare(coins, trailing_rows)
        long_run_rows = s.long_run_days * DAY_MS / interval_ms
        self._long_run = MeanSquare(coins, long_run_rows)
        self._wicks = MeanSquare(coins, long_run_rows)
        self._moments = Moments(entries, float(0.5 ** (interval_ms / (s.half_life_days * DAY_MS))))
        self._precision = np.eye(entries)
        self._learned = np.zeros(coins, dtype=np.bool_)
        self._period = -1
        self._x = np.zeros((0, entries))
        self._known = np.zeros((0, entries), dtype=np.bool_)
        self._last_x = np.zeros(entries - coins)
        self._last_known = np.zeros(entries - coins, dtype=np.bool_)

    @property
    def trailing_hours(self) -> float:
        """How long a memory the trailing deviation has."""
        return self._s.trailing_hours

    def settings(self) -> dict[str, Any]:
        return dict(msgspec.to_builtins(self._s))

    def steps(self, panel: Panel) -> Steps:
        """`observe`, and everything computed on the way, for the panel's rows that are new."""
        returns = self._tape.take(panel)
        steps = self._steps(returns)
        if len(returns):
            self._newest = steps.inferred[-1].copy()
        return steps

    def _advance(self, returns: Returns) -> Floats:
        return self._steps(returns).inferred

    def _steps(self, returns: Returns) -> Steps:
        periods = returns.open_ms // (self._s.refresh_minutes * 60_000)
        starts = [0, *(np.flatnonzero(np.diff(periods)) + 1).tolist(), len(returns)]
        blocks = [
            self._steps_within(returns.rows(start, stop), int(periods[start]))
            for start, stop in itertools.pairwise(starts)
            if start < stop
        ]
        if not blocks:
            nothing = np.zeros(returns.values.shape)
            return Steps(returns, nothing, nothing, returns.real, nothing, nothing, nothing)
        return Steps(returns, *(np.vstack(parts) for parts in zip(*blocks, strict=True)))

    def _steps_within(self, returns: Returns, period: int) -> tuple[Floats, Floats, Mask, Floats, Floats, Floats]:
        """Rows of one refresh period."""
        if period != self._period:
            self._moments.absorb(self._x, self._known)
            self._x, self._known = self._x[:0], self._known[:0]
            self._period = period
            self._refresh()
        x, scale, known, wildness = self._scaled(returns)
        wicks = self._scaled_wicks(returns, known)
        entries, shown = self._lagged(x, wicks, known, returns) if self._s.lags else (x, known)
        inferred = infer_each(self._precision, entries, shown, len(self.symbols)) * scale
        some = known.any(axis=1)  # minutes without the exchange teach nothing
        self._x = np.vstack((self._x, entries[some]))
        self._known = np.vstack((self._known, shown[some]))
        return x, scale, known, wildness, wicks, np.where(self._learned, inferred, np.nan)

    def _refresh(self) -> None:
        """The precision of what the moments hold, and which coins they hold enough of."""
        correlation = self._moments.correlation(-self._s.penalty / 2, PAIR_PRIOR)
        self._precision = precision_of(correlation, self._s.penalty)
        self._learned = self._moments.weights.diagonal()[: len(self.symbols)] >= self._s.known_min

    def _scaled(self, returns: Returns) -> tuple[Floats, Floats, Mask, Floats]:
        """Returns over their scales, the scales, where a coin is both real and known well enough, wildness; all [T, N].

        A coin that is not yet known still teaches its deviation, by returns as they are.
        """
        shape = returns.values.shape
        scale, known, wildness = np.empty(shape), np.empty(shape, dtype=np.bool_), np.zeros(shape)
        for row in range(len(returns)):
            values, real = returns.values[row], returns.real[row]
            long_run = self._long_run.value()
            scale[row] = np.sqrt(np.sqrt(self._trailing.value(long_run, TRAILING_PRIOR) * long_run))
            fit = (self._long_run.counts >= self._s.known_min) & (scale[row] > 0)
            known[row] = real & fit
            wildness[row, fit] = np.log(scale[row, fit]) - 0.5 * np.log(long_run[fit])
            bound = np.where(fit, self._s.clip * scale[row], np.inf)
            values = np.clip(values, -bound, bound)
            self._trailing.absorb(values, real)
            self._long_run.absorb(values, real)
        return standardised(returns.values, scale, known, self._s.clip), scale, known, wildness

    def _lagged(self, x: Floats, wicks: Floats, known: Mask, returns: Returns) -> tuple[Floats, Mask]:
        """Rows [T, K]: each with what is kept of the one before, not known where a hole lies between."""
        kept, kept_known = x, known
        if self._s.wicks:
            kept, kept_known = np.hstack((x, wicks)), np.hstack((known, known))
        before = np.vstack((self._last_x, kept[:-1]))
        known_before = np.vstack((self._last_known, kept_known[:-1])) & returns.follows[:, None]
        self._last_x, self._last_known = kept[-1].copy(), kept_known[-1].copy()
        return np.hstack((x, np.where(known_before, before, 0.0))), np.hstack((known, known_before))

    def _scaled_wicks(self, returns: Returns, known: Mask) -> Floats:
        """Wicks over their long-run deviation, that of the slices up to each; [T, N]."""
        deviation = np.empty(known.shape)
        for row in range(len(returns)):
            self._wicks.absorb(returns.wicks[row], known[row])
            deviation[row] = np.sqrt(self._wicks.value())
        return standardised(returns.wicks, deviation, known & (deviation > 0), self._s.clip)

    def _fitted(self) -> Arrays:
        """All that belongs to no place in time, the waiting rows folded in."""
        whole = copy.copy(self)
        whole._moments = copy.copy(self._moments)
        whole._moments.absorb(self._x, self._known)
        return whole._lasting()

    def _lasting(self) -> Arrays:
        arrays = {
            "moments.products": self._moments.products,
            "moments.weights": self._moments.weights,
            "trailing.sums": self._trailing.sums,
            "trailing.counts": self._trailing.counts,
            "long_run.sums": self._long_run.sums,
            "long_run.counts": self._long_run.counts,
        }
        if self._s.wicks:
            arrays |= {"wicks.sums": self._wicks.sums, "wicks.counts": self._wicks.counts}
        return {name: array.copy() for name, array in arrays.items()}

    def _adopt(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Takes what `_lasting` gave. BadModel, and nothing changed, when something does not fit."""
        coins, entries = (len(self.symbols),), (self._x.shape[1],) * 2
        shapes = {"moments": entries, "trailing": coins, "long_run": coins, "wicks": coins}
        found = {name: taken(arrays, name, shapes[name.partition(".")[0]]) for name in self._lasting()}
        if min(array.min(initial=0.0) for name, array in found.items() if name != "moments.products") < 0:
            raise BadModel("a sum of squares or a count is negative: fit the model again")
        self._moments.products, self._moments.weights = found["moments.products"], found["moments.weights"]
        self._trailing.sums, self._trailing.counts = found["trailing.sums"], found["trailing.counts"]
        self._long_run.sums, self._long_run.counts = found["long_run.sums"], found["long_run.counts"]
        if self._s.wicks:
            self._wicks.sums, self._wicks.counts = found["wicks.sums"], found["wicks.counts"]
        self._refresh()

    def _memory(self) -> Arrays:
        return self._lasting() | {
            "period": np.array([self._period], dtype=np.int64),
            "waiting.x": self._x.copy(),
            "waiting.known": self._known.astype(np.uint8),
            "last.x": self._last_x.copy(),
            "last.known": self._last_known.astype(np.uint8),
        }

    def _recall(self, state: Mapping[str, NDArray[Any]]) -> None:
        entries = self._x.shape[1]
        waiting = len(state["waiting.x"]) if "waiting.x" in state else 0
        x, known = (taken(state, name, (waiting, entries)) for name in ("waiting.x", "waiting.known"))
        last_x, last_known = (taken(state, name, self._last_x.shape) for name in ("last.x", "last.known"))
        period = int(taken(state, "period", (1,))[0])
        self._adopt(state)
        self._x, self._known = x, known.astype(np.bool_)
        self._last_x, self._last_known = last_x, last_known.astype(np.bool_)
        self._period = period

    @classmethod
    def load(
        cls,
        symbols: tuple[str, ...],
        interval_ms: int,
        fitted_ms: int,
        settings: Mapping[str, Any],
        tensors: Mapping[str, NDArray[Any]],
    ) -> "Gaussian":
        """The model of a folder: it knows what it was fitted on and stands nowhere in time."""
        try:
            checked = msgspec.convert(settings, GaussianSettings)
        except msgspec.ValidationError as why:
            raise BadModel(f"settings: {why}") from why
        model = cls(symbols, interval_ms, checked, taken_gain(tensors, len(symbols)), fitted_ms)
        model._adopt(tensors)
        return model
