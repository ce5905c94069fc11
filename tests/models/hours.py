"""Synthetic hours with wicks and volumes, and ways to spoil them."""

import numpy as np

from bot.core.market import FIELDS, Floats, Mask, Panel
from tests.models.markets import names

HOUR_MS = 3_600_000
START_MS = 1_699_999_200_000  # Tuesday 2023-11-14 22:00 UTC


def hours(rows: int, coins: int = 1, seed: int = 1, absent: float = 0.0, quiet: float = 0.0) -> Panel:
    """Random walks that open near the last close; a share of candles missing, and a share without trades."""
    rng = np.random.default_rng(seed)
    shape = (rows, coins)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0, 0.005, shape), axis=0))
    opened = np.vstack((close[:1], close[:-1])) * np.exp(rng.normal(0, 1e-4, shape))
    high = np.maximum(opened, close) * np.exp(np.abs(rng.normal(0, 0.002, shape)))
    low = np.minimum(opened, close) * np.exp(-np.abs(rng.normal(0, 0.002, shape)))
    volume = rng.lognormal(3.0, 1.0, shape)
    present = np.ones(shape, dtype=np.bool_)
    fields = [opened, high, low, close, volume]
    for row, coin in np.argwhere(rng.random(shape) < quiet):
        last = fields[3][max(row - 1, 0), coin]
        for field, value in zip(fields, (last, last, last, last, 0.0), strict=True):
            field[row, coin] = value
        present[row, coin] = False
    missing = rng.random(shape) < absent
    for field in fields:
        field[missing] = np.nan
    return panel(fields, present & ~missing)


def panel(fields: list[Floats], present: Mask | None = None, start_ms: int = START_MS) -> Panel:
    """Hours of open, high, low, close and volume [T, N]."""
    rows, coins = fields[0].shape
    present = np.isfinite(fields[3]) if present is None else present
    open_ms = start_ms + HOUR_MS * np.arange(rows, dtype=np.int64)
    opened, high, low, close, volume = fields
    return Panel(names(coins), HOUR_MS, open_ms, opened, high, low, close, volume, present)


def flat(rows: int, price: float = 70.1, volume: float = 0.0) -> Panel:
    """Candles that traded and never moved."""
    return panel([np.full((rows, 1), price)] * 4 + [np.full((rows, 1), volume)])


def absent_at(given: Panel, row: int, coin: int = 0) -> Panel:
    """The panel without one candle."""
    fields = [getattr(given, name).copy() for name in FIELDS]
    present = given.present.copy()
    for field in fields:
        field[row, coin] = np.nan
    present[row, coin] = False
    return panel(fields, present, int(given.open_ms[0]))


def equal(a: Floats, b: Floats) -> bool:
    """Whether every bit that matters is: NaN is NaN."""
    return bool(np.array_equal(a, b, equal_nan=True))
