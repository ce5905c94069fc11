"""Forecasts made ahead of a replay: none depends on an order, so all of a history is inferred at once, and kept.

Kept    one file a model and history, `FOLDER/v1-<model>-<history>.npy`: the inferred returns [T, N], NaN where unknown;
        `FOLDER/volatility-v1-<model>-<history>.npz`: the hours [H] and the volatilities [H, N] forecast at their closes.
        All names are hashes of content; VERSION rises with the code that infers. A file that is cut is made again.
Errors  ForecastsUnkept when the folder cannot be written.
Checked as a live answer is: nothing inferred, or a return beyond RETURN_MAX, makes a slice's forecast a failure; a volatility
        that is not above 0, or beyond VOLATILITY_MAX, makes an hour's unknown.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO
from zipfile import BadZipFile

import numpy as np
from msgspec import Struct

from bot.core.events import Forecast
from bot.core.market import FIELDS, Floats, Integers, Panel
from bot.edge.forecaster import RETURN_MAX
from bot.edge.volatility_work import VOLATILITY_MAX
from models.bulk import Told, infer_in_bulk, nobody
from models.hourly import HourlyForecasts, forecast_ahead
from models.model import BadModel, Model
from models.volatility_model import VolatilityModel

VERSION = 1
VOLATILITY_VERSION = 1


class ForecastsUnkept(Exception):
    """The forecasts cannot be written where they are to be kept."""

    exit_code = 74


class Forecasts(Struct, frozen=True, eq=False):
    """The answers for every slice of a panel: `returns` [T, N], from K models, each with its own row of `gain` [K, N].

    `returns` is None where no model infers any. `model_at` [T] is the model that answered for a slice, None where there
    is one for all of them; `gain` is None where none is known. A slice with no finite return at all has no forecast.
    `volatility` is None where no model forecasts it.
    """

    returns: Floats | None
    gain: Floats | None = None
    model_at: Integers | None = None
    volatility: HourlyForecasts | None = None

    def gain_at(self, row: int) -> Floats | None:
        """The gain [N] of the model that answered for this row."""
        if self.gain is None:
            return None
        if self.model_at is None:
            (gain,) = self.gain
            return np.asarray(gain)
        return np.asarray(self.gain[self.model_at[row]])

    def at(self, panel: Panel, row: int) -> Forecast | None:
        """What a decision at this row of the panel is told; None where the model of returns has failed."""
        open_ms, coins = int(panel.open_ms[row]), len(panel.symbols)
        returns = np.full(coins, np.nan) if self.returns is None else self.returns[row]
        if self.returns is not None and np.isnan(returns).all():
            return None
        return Forecast(open_ms, returns, self.volatility_at(open_ms + panel.interval_ms), self.gain_at(row))

    def volatility_at(self, close_ms: int) -> Floats | None:
        """The volatilities [N] that stand at this time, NaN where not known; None where no model forecasts them."""
        if self.volatility is None:
            return None
        stands = self.volatility.at(close_ms)
        return np.full(self.volatility.volatility.shape[1], np.nan) if stands is None else stands


def history_hash(panel: Panel) -> str:
    """A name for all that a panel holds."""
    found = hashlib.blake2b(f"{panel.symbols} {panel.interval_ms}".encode(), digest_size=16)
    for name in ("open_ms", *FIELDS, "present"):
        found.update(np.ascontiguousarray(getattr(panel, name)).data)
    return found.hexdigest()


def infer_ahead(model: Model, panel: Panel, told: Told = nobody) -> Forecasts:
    """All forecasts of a panel, from a model that starts with its first slice. BadModel for another universe."""
    if model.symbols != panel.symbols or model.interval_ms != panel.interval_ms:
        raise BadModel("the candles are not the model's: choose its coins, in its order, at its interval")
    returns = infer_in_bulk(model, panel, told)
    absurd = (np.abs(returns) > RETURN_MAX).any(axis=1)
    returns[absurd] = np.nan
    return _of_one(model, returns)


def _of_one(model: Model, returns: Floats) -> Forecasts:
    gain = model.infer().gain
    return Forecasts(returns, None if gain is None else gain[None])


def kept_ahead(model: Model, name: str, panel: Panel, history: str, folder: Path, told: Told = nobody) -> Forecasts:
    """The same, read from `folder` when it was made before. `name` and `history` are the hashes of model and panel."""
    path = folder / f"v{VERSION}-{name[:16]}-{history[:16]}.npy"
    returns = _read(path, panel.close.shape)
    if returns is not None:
        return _of_one(model, returns)
    made = infer_ahead(model, panel, told)
    _keep(path, lambda file: np.save(file, returns_of(made)))
    return made


def returns_of(forecasts: Forecasts) -> Floats:
    """The returns of forecasts that have some."""
    assert forecasts.returns is not None, "these forecasts are of volatility alone"
    return forecasts.returns


def volatility_ahead(model: VolatilityModel, panel: Panel, before: Panel | None = None) -> HourlyForecasts:
    """What observing the panel after the hours `before` it would forecast. BadModel where it makes no hours."""
    made = forecast_ahead(model, panel, before)
    volatility = made.volatility.copy()
    volatility[((volatility <= 0.0) | (volatility > VOLATILITY_MAX)).any(axis=1)] = np.nan
    return HourlyForecasts(made.open_ms, volatility)


def volatility_kept_ahead(
    model: VolatilityModel, name: str, panel: Panel, before: Panel | None, history: str, folder: Path
) -> HourlyForecasts:
    """The same, read from `folder` when it was made before.

    `name` is the hash of the model; `history` of the panel, the hours before it are added to that here.
    """
    if before is not None:
        history = hashlib.blake2b(f"{history} {history_hash(before)}".encode(), digest_size=16).hexdigest()
    path = folder / f"volatility-v{VOLATILITY_VERSION}-{name[:16]}-{history[:16]}.npz"
    found = _read_hours(path, len(panel.symbols))
    if found is not None:
        return found
    made = volatility_ahead(model, panel, before)
    _keep(path, lambda file: np.savez(file, open_ms=made.open_ms, volatility=made.volatility))
    return made


def _keep(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """A whole file in its place, or none. ForecastsUnkept."""
    fresh = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            write(file)
        fresh.replace(path)
    except OSError as why:
        with contextlib.suppress(OSError):
            fresh.unlink()
        text = f"{path.parent} cannot be written: {why.strerror}: name another with --research"
        raise ForecastsUnkept(text) from why


def _read(path: Path, shape: tuple[int, ...]) -> Floats | None:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.float64 else None


def _read_hours(path: Path, coins: int) -> HourlyForecasts | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            open_ms, volatility = file["open_ms"], file["volatility"]
    except (OSError, ValueError, EOFError, KeyError, BadZipFile):
        return None
    fits = open_ms.dtype == np.int64 and volatility.dtype == np.float64 and volatility.shape == (len(open_ms), coins)
    return HourlyForecasts(open_ms, volatility) if fits else None
