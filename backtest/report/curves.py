"""What the charts draw: long curves thinned to what a screen can show, as a JSON that cannot end its script.

Thinning  a curve keeps its lowest and highest value in each of BUCKETS stretches, its first and its last: never every
          n-th, which would lose the very spikes one looks for. Times are those of the slices that were kept.
Prices    of the COINS_MAX coins traded for most, each with the slices its drawn fills are in; of its buys, and of its sells,
          the lowest and the highest in each of MARKS stretches.
Arrays    as plotly reads them: {"dtype", "bdata"}, base64, little endian. Times are milliseconds UTC.
"""

import base64
from collections import defaultdict

import msgspec
import numpy as np
from numpy.typing import NDArray

from backtest.curve import below_peak
from backtest.result import Result
from backtest.statistics import Statistics
from bot.core.events import Filled
from bot.core.market import Floats, Integers, Side

BUCKETS = 1_000
MARKS = 300
COINS_MAX = 40
REASON_MAX = 100


def thinned(values: Floats, buckets: int) -> Integers:
    """Rows [K] of a curve [T], ascending, K at most 2 * buckets + 2: its extremes stretch by stretch, first and last.

    NaN is neither high nor low; a stretch of nothing but NaN keeps one, so that a gap stays a gap.
    """
    count = len(values)
    if count <= 2 * buckets:
        return np.arange(count, dtype=np.int64)
    length = -(-count // buckets)
    padded = np.full(length * -(-count // length), np.nan)
    padded[:count] = values
    grid = padded.reshape(-1, length)
    starts = length * np.arange(len(grid), dtype=np.int64)
    lows = starts + np.where(np.isnan(grid), np.inf, grid).argmin(axis=1)
    highs = starts + np.where(np.isnan(grid), -np.inf, grid).argmax(axis=1)
    rows: Integers = np.unique(np.concatenate(([0], lows, highs, [count - 1])))
    return rows


def account(result: Result, statistics: Statistics) -> dict[str, object]:
    """Equity, drawdown, exposure and buy and hold's, on one set of times; and where random entries ended."""
    held = statistics.hold.equity if statistics.hold else None
    curves = {"equity": result.equity, "drawdown": -statistics.drawdown, "exposure": result.exposure}
    if held is not None:
        curves |= {"hold": held, "hold_drawdown": -below_peak(held)}
    rows = np.unique(np.concatenate([thinned(curve, BUCKETS) for curve in curves.values()]))
    drawn: dict[str, object] = {name: packed(curve[rows]) for name, curve in curves.items()}
    entries = statistics.random_entries
    ends = None
    if entries is not None:
        ends = [statistics.capital * (1.0 + share) for share in (entries.low, entries.mean, entries.high)]
    return drawn | {"time": packed(result.panel.open_ms[rows] + result.panel.interval_ms), "random": ends}


def drawn_coins(statistics: Statistics) -> list[str]:
    """The coins whose price is drawn, the one traded for most first."""
    traded = [coin for coin in statistics.coins if coin.fills]
    return [coin.symbol for coin in sorted(traded, key=lambda coin: -coin.traded)[:COINS_MAX]]


def prices(result: Result, symbols: list[str]) -> list[dict[str, object]]:
    """Each coin's closes, and its fills upon them."""
    fills: dict[str, list[Filled]] = defaultdict(list)
    for fill in result.fills:
        fills[fill.symbol].append(fill)
    reasons = {order.client_id: order.reason for order in result.orders}
    return [_price(result, symbol, fills[symbol], reasons) for symbol in symbols]


def _price(result: Result, symbol: str, fills: list[Filled], reasons: dict[str, str]) -> dict[str, object]:
    panel = result.panel
    close = panel.close[:, panel.symbols.index(symbol)]
    buys = _spread([fill for fill in fills if fill.side is Side.BUY])
    sells = _spread([fill for fill in fills if fill.side is Side.SELL])
    times = np.array([fill.time_ms for fill in buys + sells], dtype=np.int64)
    met = np.searchsorted(panel.open_ms, times, side="right") - 1
    met = np.concatenate((met - 1, met)).clip(0, len(panel) - 1)  # an open is at the close before
    rows = np.union1d(thinned(close, BUCKETS), met)
    return {
        "symbol": symbol,
        "fills": len(fills),
        "time": packed(panel.open_ms[rows] + panel.interval_ms),
        "close": packed(close[rows].astype(np.float32)),
        "buys": _marks(buys, reasons),
        "sells": _marks(sells, reasons),
    }


def _spread(fills: list[Filled]) -> list[Filled]:
    """The fills a chart has room for."""
    price = np.array([float(fill.price) for fill in fills])
    return [fills[row] for row in thinned(price, MARKS).tolist()]


def _marks(fills: list[Filled], reasons: dict[str, str]) -> dict[str, object]:
    return {
        "time": packed(np.array([float(fill.time_ms) for fill in fills])),
        "price": packed(np.array([float(fill.price) for fill in fills])),
        "quantity": [f"{fill.quantity.normalize():f}" for fill in fills],
        "reason": [reasons.get(fill.client_id, "")[:REASON_MAX] for fill in fills],
    }


def packed(values: NDArray[np.float64] | NDArray[np.float32] | Integers) -> dict[str, str]:
    """An array for plotly: float32 stays, all else is float64."""
    kind = "f4" if values.dtype == np.float32 else "f8"
    content = np.ascontiguousarray(values, dtype=f"<{kind}").tobytes()
    return {"dtype": kind, "bdata": base64.b64encode(content).decode()}


def as_json(value: object) -> str:
    """JSON that is safe inside a script element: no markup can begin or end in it."""
    text = msgspec.json.encode(value).decode()
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
