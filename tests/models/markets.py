"""Synthetic markets for the models' tests: a common factor, own noise, minutes and days without candles."""

import numpy as np

from bot.core.market import MINUTE_MS, Floats, Mask, Panel

START_MS = 1_700_000_040_000


def names(coins: int) -> tuple[str, ...]:
    return tuple(f"C{at}/USDT" for at in range(coins))


def panel_of(returns: Floats, present: Mask | None = None, start_ms: int = START_MS) -> Panel:
    """Closes from returns [T, N]; the first row is the base. Where not present there is no candle at all."""
    present = np.ones(returns.shape, dtype=np.bool_) if present is None else present
    close: Floats = np.where(present, 100.0 * np.cumprod(1.0 + returns, axis=0), np.nan)
    open_ms = start_ms + MINUTE_MS * np.arange(len(close), dtype=np.int64)
    volume = np.where(present, 1.0, np.nan)
    return Panel(names(close.shape[1]), MINUTE_MS, open_ms, close, close, close, close, volume, present)


def market(rows: int, coins: int, seed: int = 1, absent: float = 0.0) -> Panel:
    """One factor with quiet and wild hours, coins of different wildness; a share of candles missing at random."""
    rng = np.random.default_rng(seed)
    wild = np.exp(0.5 * np.sin(np.arange(rows) / 200.0))[:, None]
    factor = rng.normal(0, 0.001, (rows, 1))
    own = rng.normal(0, 0.001, (rows, coins))
    size = np.linspace(0.5, 2.0, coins)
    return panel_of(wild * size * (factor + own), rng.random((rows, coins)) >= absent)


def without(panel: Panel, rows: slice) -> Panel:
    """The panel with a hole in time."""
    kept = np.ones(len(panel), dtype=np.bool_)
    kept[rows] = False
    arrays = [
        array[kept]
        for array in (panel.open_ms, panel.open, panel.high, panel.low, panel.close, panel.volume, panel.present)
    ]
    return Panel(panel.symbols, panel.interval_ms, *arrays)  # type: ignore[arg-type]


def with_close(panel: Panel, row: int, coin: int, close: float) -> Panel:
    """The panel with one close changed; NaN makes the candle absent."""
    closes, present = panel.close.copy(), panel.present.copy()
    closes[row, coin] = close
    present[row, coin] = bool(np.isfinite(close))
    return Panel(panel.symbols, panel.interval_ms, panel.open_ms, closes, closes, closes, closes, panel.volume, present)
