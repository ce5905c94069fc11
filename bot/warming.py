"""The volatility model of a replay, and the hours that warm it up.

Wanted  where decisions depend on it (bot/building.py); a replay of any other computes none.
Warm    its `warmup` hours and the one that runs must be over before the first decision. They are made of the candles before
        it; where those do not reach back so far, of a folder of candles of an hour or less (`--hours`).
Absent  a coin that the folder lacks has no forecast until its candles have made the hours; a remark names it.
"""

from pathlib import Path

import numpy as np
from msgspec import Struct

from bot.building import volatility_missing, volatility_wanted, what_wants_volatility
from bot.config import BadConfiguration, Settings
from bot.core.hours import hours_of
from bot.core.market import FIELDS, HOUR_MS, Floats, Mask, Panel
from bot.edge.candle_sources import EVER, source_of, timeframe_of
from bot.edge.candles import load_panel, utc
from bot.volatility import volatility_folder, volatility_model
from models.checkpoint import digest
from models.volatility_model import VolatilityModel

NAMED = 5  # coins in a remark


class Volatility(Struct, frozen=True, eq=False):
    """A model for the coins of a panel, which has seen nothing, its hash, and the hours `before` the panel, if any."""

    model: VolatilityModel
    model_hash: str
    before: Panel | None

    def of(self, symbols: tuple[str, ...]) -> "Volatility":
        """The same for these of its coins."""
        return Volatility(self.model.of(symbols), self.model_hash, self.before and self.before.of(symbols))

    def known_ms(self, interval_ms: int) -> int:
        """The open of the last candle of this length that fitting has seen."""
        return self.model.fitted_ms + HOUR_MS - interval_ms

    def rows(self, interval_ms: int) -> int:
        """The slices of this length that must be over before a decision where no hours come before them."""
        return (self.model.warmup + 1) * (HOUR_MS // interval_ms)

    def rows_lacking(self, interval_ms: int) -> int:
        """The same where `before` do."""
        hours = 0 if self.before is None else min(self.model.warmup, len(self.before))
        return (self.model.warmup + 1 - hours) * (HOUR_MS // interval_ms)


def volatility_of(
    settings: Settings, symbols: tuple[str, ...], interval_ms: int, begin_ms: int, hours: Path | None
) -> tuple[Volatility | None, tuple[str, ...]]:
    """What a replay of these coins, with candles from `begin_ms` on, needs; None where it needs none; and remarks.

    BadConfiguration where a model is needed and none is named, and where the candles make no hours.
    """
    if not volatility_wanted(settings):
        if hours is not None:
            raise BadConfiguration([f"--hours {hours}: nothing here decides on forecast volatility: leave it out"])
        return None, ()
    model, folder = volatility_model(settings, symbols), volatility_folder(settings)
    if model is None or folder is None:
        raise volatility_missing(settings)
    if HOUR_MS % interval_ms:
        text = f"{what_wants_volatility(settings)} decides on forecasts by the hour"
        raise BadConfiguration([f"--candles: {text}, and candles of {timeframe_of(interval_ms)} make no hours"])
    before, remarks = (None, ()) if hours is None else hours_before(hours, symbols, begin_ms, model.warmup)
    return Volatility(model, digest(folder), before), remarks


def hours_before(
    folder: Path, symbols: tuple[str, ...], begin_ms: int, count: int
) -> tuple[Panel | None, tuple[str, ...]]:
    """The last `count` hours of a folder that are over when candles begin, or the hour that they begin in is.

    BadCandles where the folder cannot be read; None with a remark where it has no such hours.
    """
    there = source_of(folder, None, None, None)
    stop_ms = -(-begin_ms // HOUR_MS) * HOUR_MS
    first_ms, after_ms = there.extent(*EVER) or (0, 0)
    start_ms, stop_ms = max(stop_ms - count * HOUR_MS, first_ms), min(stop_ms, after_ms)
    known = tuple(symbol for symbol in symbols if symbol in there.symbols)
    if not known or start_ms >= stop_ms or source_of(folder, known, None, None).extent(start_ms, stop_ms) is None:
        return None, (f"--hours {folder} has no hours of these coins before {utc(begin_ms)}: they warm nothing up",)
    hours = hours_of(load_panel(folder, known, start_ms, stop_ms))
    some = [symbol for symbol in known if np.isfinite(hours.close[:, hours.symbols.index(symbol)]).any()]
    lacking = [symbol for symbol in symbols if symbol not in some]
    return _widened(hours, symbols), ((f"--hours {folder} has nothing of {_names(lacking)}",) if lacking else ())


def _names(symbols: list[str]) -> str:
    more = f" and {len(symbols) - NAMED} coins more" if len(symbols) > NAMED else ""
    return ", ".join(symbols[:NAMED]) + more


def _widened(hours: Panel, symbols: tuple[str, ...]) -> Panel:
    """The hours with a column for each of the symbols, absent where there is none."""
    at = [symbols.index(symbol) for symbol in hours.symbols]
    present: Mask = np.zeros((len(hours), len(symbols)), dtype=np.bool_)
    present[:, at] = hours.present
    fields: list[Floats] = []
    for name in FIELDS:
        field = np.full(present.shape, np.nan)
        field[:, at] = getattr(hours, name)
        fields.append(field)
    opened, high, low, close, volume = fields
    return Panel(symbols, HOUR_MS, hours.open_ms, opened, high, low, close, volume, present)
