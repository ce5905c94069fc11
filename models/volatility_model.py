"""What every volatility model is: hours in, in order; the next hour's volatility of every coin out.

Units   volatilities are Garman-Klass, as fractions of the price, of one hour; NaN where a coin is not known.
Shapes  T hours, oldest first; N coins, in the model's own order; Q quantiles, those of QUANTILES.
Inside  a predictor gives the log volatility's location and scale; all else follows from those and from what validation
        found, the same way for every predictor.
Three   numbers come from one location: its exponential is the median; times `mean` the mean; times `root` the root of
        the mean variance, which positions are sized by. The factors are from validation (volatility-findings).
Clamped to the volatilities that fitting saw: a model that is lost is never absurd.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bot.core.market import HOUR_MS, Floats, Integers, Mask, Panel
from models import student
from models.model import Arrays, BadModel, taken
from models.volatility import Estimator, volatility

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
INTERVAL = 0.8  # what of validation's surprises the calibrated interval holds
BEYOND = 1.0  # how far quantiles may lie beyond what fitting saw, in logs
STILL = math.log(1e-6)  # a log volatility below which no coin moves
VALIDATION_MIN = 100  # hours of a coin; of fewer its factors would be a guess

_AT = np.array([student.quantile(share) for share in QUANTILES])


class Logs(Struct, frozen=True, eq=False):
    """What a predictor says of T hours, all [T, N]: of the NEXT hour's log volatility, NaN where it knows nothing.

    `now`: the hour's own log volatility, NaN where it did not trade or move. `fallback`: a simpler rule has answered.
    `rising`: how likely it is that the next hour is wilder, NaN where that follows from location and scale.
    """

    open_ms: Integers
    location: Floats
    scale: Floats
    now: Floats
    fallback: Mask
    rising: Floats

    def __len__(self) -> int:
        return len(self.open_ms)


class VolatilityForecast(Struct, frozen=True, eq=False):
    """Of the hour after each of T hours, arrays [T, N]; `quantiles` [T, N, Q].

    `volatility` is the root of the mean variance. `rising`: how likely it is that the next hour is wilder than this
    one, NaN where this one is not known. `fallback`: a simpler rule has answered; `clamped`: the answer was outside of
    what fitting saw.
    """

    open_ms: Integers
    volatility: Floats
    mean: Floats
    median: Floats
    quantiles: Floats
    rising: Floats
    fallback: Mask
    clamped: Mask

    def __len__(self) -> int:
        return len(self.open_ms)

    def rows(self, start: int, stop: int) -> "VolatilityForecast":
        """Rows start to stop, as views."""
        return VolatilityForecast(*(getattr(self, name)[start:stop] for name in self.__struct_fields__))


class Predictor(Protocol):
    """One architecture with its weights and its running state."""

    @property
    def architecture(self) -> str: ...

    @property
    def symbols(self) -> tuple[str, ...]: ...

    @property
    def warmup(self) -> int:
        """Hours to observe before the first forecast is worth having."""
        ...

    def of(self, symbols: tuple[str, ...]) -> "Predictor":
        """The same for these coins, that has seen nothing. BadModel names those that it can say nothing of."""
        ...

    def absorb(self, panel: Panel) -> Logs:
        """What it says of the panel's rows that are new."""
        ...

    def pass_over(self, panel: Panel) -> None:
        """Absorbs hours that nothing is asked about."""
        ...

    def state(self) -> Arrays:
        """The running state, to go on from after a restart."""
        ...

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes it back. BadModel when it is of another shape."""
        ...

    def settings(self) -> dict[str, Any]:
        """The hyperparameters."""
        ...

    def tensors(self) -> Arrays:
        """What fitting found."""
        ...


def places(symbols: tuple[str, ...], wanted: tuple[str, ...]) -> list[int]:
    """Where the wanted coins stand among `symbols`. BadModel names those that do not."""
    missing = [symbol for symbol in wanted if symbol not in symbols]
    if missing:
        raise BadModel(f"the model knows nothing of {', '.join(missing)}: fit it on them, or take one for any coin")
    return [symbols.index(symbol) for symbol in wanted]


class Factors(Struct, frozen=True, eq=False):
    """What validation found of each coin, [N]: see the module. `least` and `most` bound log volatilities."""

    mean: Floats
    root: Floats
    spread: Floats
    least: Floats
    most: Floats

    def of(self, symbols: tuple[str, ...], wanted: tuple[str, ...]) -> "Factors":
        """Those of the wanted coins; one that is not among `symbols` gets the medians, and bounds that hold any coin."""
        at = [symbols.index(symbol) if symbol in symbols else len(symbols) for symbol in wanted]
        least = min(float(self.least.min()), STILL)
        typical = [np.median(one) for one in (self.mean, self.root, self.spread)] + [least, self.most.max()]
        parts = (getattr(self, name) for name in self.__struct_fields__)
        return Factors(*(np.append(part, one)[at] for part, one in zip(parts, typical, strict=True)))

    def tensors(self) -> Arrays:
        return {f"factors.{name}": getattr(self, name).copy() for name in self.__struct_fields__}

    @classmethod
    def load(cls, coins: int, tensors: Mapping[str, NDArray[Any]]) -> "Factors":
        """Those of a folder. BadModel where they are none."""
        found = cls(*(taken(tensors, f"factors.{name}", (coins,)) for name in cls.__struct_fields__))
        if not (found.mean > 0).all() or not (found.root > 0).all() or not (found.spread > 0).all():
            raise BadModel("the factors of the folder are not all above 0: fit the model again")
        return found


class VolatilityModel:
    """A predictor and its factors: what the bot asks each hour, and a backtest for all hours at once."""

    interval_ms = HOUR_MS

    def __init__(self, predictor: Predictor, factors: Factors, fitted_ms: int) -> None:
        self.predictor = predictor
        self.factors = factors
        self.fitted_ms = fitted_ms
        self._newest = _nothing(len(predictor.symbols))

    @property
    def architecture(self) -> str:
        return self.predictor.architecture

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.predictor.symbols

    @property
    def warmup(self) -> int:
        """Hours to observe before the first forecast is worth having."""
        return self.predictor.warmup

    def of(self, symbols: tuple[str, ...]) -> "VolatilityModel":
        """The same for these coins, that has seen nothing. BadModel names those that it can say nothing of."""
        return VolatilityModel(self.predictor.of(symbols), self.factors.of(self.symbols, symbols), self.fitted_ms)

    def observe(self, panel: Panel) -> None:
        """Absorbs the next hours; those not newer than the newest seen are ignored."""
        if not len(panel):
            return
        if len(panel) > 1:
            self.predictor.pass_over(panel.rows(0, len(panel) - 1))
        logs = self.predictor.absorb(panel.rows(len(panel) - 1, len(panel)))
        if len(logs):
            self._newest = logs

    def forecast(self) -> VolatilityForecast:
        """Of the hour after the newest one seen: one row, T = 1. `open_ms` 0: nothing was seen yet."""
        return forecast_of(self._newest, self.factors)

    def forecast_panel(self, panel: Panel, first: int = 0) -> VolatilityForecast:
        """The rows from `first` on that observing the panel hour by hour would give; changes nothing here.

        NaN in rows that `observe` would ignore.
        """
        predictor = copy.deepcopy(self.predictor)
        predictor.pass_over(panel.rows(0, first))
        asked = panel.rows(first, len(panel))
        return forecast_of(_padded(predictor.absorb(asked), asked), self.factors)

    def state(self) -> Arrays:
        """The running state, to go on from after a restart."""
        newest = {f"newest.{name}": getattr(self._newest, name).copy() for name in Logs.__struct_fields__}
        newest["newest.fallback"] = newest["newest.fallback"].astype(np.uint8)
        return newest | {f"predictor.{name}": array for name, array in self.predictor.state().items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes it back. BadModel when it is of another shape."""
        wanted = _nothing(len(self.symbols))
        found: dict[str, Any] = {}
        for name in Logs.__struct_fields__:
            model, array = getattr(wanted, name), state.get(f"newest.{name}")
            if array is None or array.shape != model.shape:
                raise BadModel(f"the state's {name} does not fit {len(self.symbols)} coins: begin from candles again")
            found[name] = array.astype(model.dtype)
        prefix = "predictor."
        self.predictor.restore({key.removeprefix(prefix): one for key, one in state.items() if key.startswith(prefix)})
        self._newest = Logs(**found)

    def settings(self) -> dict[str, Any]:
        """The hyperparameters."""
        return self.predictor.settings()

    def tensors(self) -> Arrays:
        """What fitting found."""
        return self.factors.tensors() | self.predictor.tensors()


def calibrated(predictor: Predictor, seen: Panel, validation_ms: int) -> VolatilityModel:
    """A model of a fitted predictor that has seen nothing yet; the factors are those of hours from `validation_ms` on.

    `seen` begins with train, for the predictor to warm up and for the bounds. BadModel where a coin has too few hours.
    """
    missed, scales = _validation(predictor, seen, validation_ms)
    mean = np.array([np.exp(one).mean() for one in missed])
    root = np.array([np.sqrt(np.exp(2.0 * one).mean()) for one in missed])
    factors = Factors(mean, root, _spreads(missed, scales), *_bounds(seen, validation_ms))
    return VolatilityModel(predictor, factors, int(seen.open_ms[-1]))


def uncorrected(predictor: Predictor, seen: Panel, validation_ms: int) -> VolatilityModel:
    """The same for a predictor that is used as it is: all three numbers are one, only its intervals are fitted."""
    spread = _spreads(*_validation(predictor, seen, validation_ms))
    factors = Factors(np.ones(len(spread)), np.ones(len(spread)), spread, *_bounds(seen, validation_ms))
    return VolatilityModel(predictor, factors, int(seen.open_ms[-1]))


def _validation(predictor: Predictor, seen: Panel, validation_ms: int) -> tuple[list[Floats], list[Floats]]:
    """The surprises of validation and their scales, coin by coin. BadModel where there are too few."""
    at_work = copy.deepcopy(predictor)
    first = max(1, int(np.searchsorted(seen.open_ms, validation_ms)))
    at_work.pass_over(seen.rows(0, first - 1))
    surprise, scale = surprises(at_work.absorb(seen.rows(first - 1, len(seen))))
    usable = np.isfinite(surprise)
    few = usable.sum(axis=0) < VALIDATION_MIN
    if few.any():
        coin = int(few.argmax())
        raise BadModel(
            f"{seen.symbols[coin]}: {int(usable[:, coin].sum())} hours to validate on, {VALIDATION_MIN} are needed:"
            " give more candles"
        )
    coins = range(len(seen.symbols))
    return [surprise[usable[:, at], at] for at in coins], [scale[usable[:, at], at] for at in coins]


def _spreads(missed: list[Floats], scales: list[Floats]) -> Floats:
    """What scales are multiplied by, for the interval to hold what it should."""
    within = student.quantile(0.5 + 0.5 * INTERVAL)
    pairs = zip(missed, scales, strict=True)
    return np.array([np.quantile(np.abs(one) / scale, INTERVAL) / within for one, scale in pairs])


def surprises(logs: Logs) -> tuple[Floats, Floats]:
    """Actual less predicted log volatilities of hours 1 to T - 1, and their scales, both [T - 1, N].

    NaN where either is not known, or an hour is missing between the two.
    """
    follows = np.diff(logs.open_ms) == HOUR_MS
    actual = np.where(follows[:, None], logs.now[1:], np.nan)
    return actual - logs.location[:-1], logs.scale[:-1]


def forecast_of(logs: Logs, factors: Factors) -> VolatilityForecast:
    """What follows from a predictor's rows."""
    with np.errstate(invalid="ignore"):
        location = np.clip(logs.location, factors.least, factors.most)
        scale = logs.scale * factors.spread
        median = np.exp(location)
        rising = np.where(np.isfinite(logs.rising), logs.rising, student.below((location - logs.now) / scale))
        bounds = factors.least[:, None] - BEYOND, factors.most[:, None] + BEYOND
        quantiles = np.exp(np.clip(location[..., None] + scale[..., None] * _AT, *bounds))
        clamped = np.isfinite(logs.location) & (location != logs.location)
    return VolatilityForecast(
        logs.open_ms,
        median * factors.root,
        median * factors.mean,
        median,
        quantiles,
        rising,
        logs.fallback,
        clamped,
    )


def _bounds(seen: Panel, validation_ms: int) -> tuple[Floats, Floats]:
    """The least and the largest log volatility of train's hours."""
    train = seen.rows(0, int(np.searchsorted(seen.open_ms, validation_ms)))
    found = volatility(train, Estimator.GARMAN_KLASS)
    known = np.isfinite(found) & (found > 0.0)
    if not known.any(axis=0).all():
        raise BadModel(f"{seen.symbols[int(known.any(axis=0).argmin())]} never moved in train: leave it out")
    least, most = np.where(known, found, np.inf).min(axis=0), np.where(known, found, 0.0).max(axis=0)
    return np.log(least), np.log(most)


def _nothing(coins: int) -> Logs:
    unknown = np.full((1, coins), np.nan)
    return Logs(np.zeros(1, dtype=np.int64), unknown, unknown, unknown, np.zeros((1, coins), dtype=np.bool_), unknown)


def _padded(logs: Logs, panel: Panel) -> Logs:
    """One row for each of the panel's; those that are not new know nothing."""
    missing = len(panel) - len(logs)
    unknown = np.full((missing, len(panel.symbols)), np.nan)
    parts = (logs.location, logs.scale, logs.now, logs.rising)
    location, scale, now, rising = (np.vstack((unknown, part)) for part in parts)
    return Logs(panel.open_ms, location, scale, now, np.vstack((np.isinf(unknown), logs.fallback)), rising)


def plain_logs(open_ms: Integers, location: Floats, now: Floats) -> Logs:
    """Those of a predictor that knows a location alone: its scale is one for all hours, nothing simpler answers."""
    return Logs(
        open_ms,
        location,
        np.ones(location.shape),
        now,
        np.zeros(location.shape, dtype=np.bool_),
        np.full(location.shape, np.nan),
    )
