"""Forecasts made ahead of a replay: none depends on an order, so all of a history is inferred at once, and kept.

Kept    one file a model and history, `FOLDER/v1-<model>-<history>.npy`: the inferred returns [T, N], NaN where unknown.
        Both names are hashes of content; VERSION rises with the code that infers. A file that is cut is made again.
Errors  ForecastsUnkept when the folder cannot be written.
Checked as a live answer is: nothing inferred, or a return beyond RETURN_MAX, makes a slice's forecast a failure.
"""

import contextlib
import hashlib
import os
from pathlib import Path

import numpy as np
from msgspec import Struct

from bot.core.market import FIELDS, Floats, Integers, Panel
from bot.edge.forecaster import RETURN_MAX
from models.bulk import Told, infer_in_bulk, nobody
from models.model import BadModel, Model

VERSION = 1


class ForecastsUnkept(Exception):
    """The forecasts cannot be written where they are to be kept."""

    exit_code = 74


class Forecasts(Struct, frozen=True, eq=False):
    """The answers for every slice of a panel: `returns` [T, N], from K models, each with its own row of `gain` [K, N].

    `model_at` [T] is the model that answered for a slice, None where there is one for all of them; `gain` is None where
    none is known. A slice with no finite return at all has no forecast.
    """

    returns: Floats
    gain: Floats | None = None
    model_at: Integers | None = None

    def gain_at(self, row: int) -> Floats | None:
        """The gain [N] of the model that answered for this row."""
        if self.gain is None:
            return None
        if self.model_at is None:
            (gain,) = self.gain
            return np.asarray(gain)
        return np.asarray(self.gain[self.model_at[row]])


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
    fresh = path.with_suffix(f".{os.getpid()}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            np.save(file, made.returns)
        fresh.replace(path)
    except OSError as why:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise ForecastsUnkept(f"{folder} cannot be written: {why.strerror}: name another with --research") from why
    return made


def _read(path: Path, shape: tuple[int, ...]) -> Floats | None:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.float64 else None
