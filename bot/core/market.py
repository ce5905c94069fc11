"""What the market said: candles, quotes, slices of the whole universe, panels of history.

Times   milliseconds UTC; a candle is named by its open and may be used only at or after its close.
Prices  floats: they feed models and marks, never the ledger. Steps and minima of an Instrument are Decimal.
Shapes  T slices, oldest first; N symbols, in universe order.
Absent  a symbol without a candle has NaN in every field of the slice; a candle without a trade keeps
        its (last) price. In both cases `present` is False: there was no real return.
"""

from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from enum import StrEnum
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
FIELDS = ("open", "high", "low", "close", "volume")
MONEY = Context(prec=50)  # ccxt changes the thread's context: money arithmetic always names its own
QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "USD", "EUR", "GBP", "TRY", "BTC", "ETH", "BNB")
TIMEFRAMES = {"1m": MINUTE_MS, "3m": 180_000, "5m": 300_000, "15m": 900_000, "1h": HOUR_MS, "1d": DAY_MS}


class BadSymbol(ValueError):
    """A name that is no trading pair."""


def pair(name: str) -> str:
    """The pair as people write it: "BTCUSDT" and "btc/usdt" are both BTC/USDT."""
    name = name.strip().upper()
    if "/" in name:
        base, _, quote = name.partition("/")
        if base and quote and "/" not in quote:
            return name
    else:
        for quote in QUOTES:
            if name.endswith(quote) and len(name) > len(quote):
                return f"{name[: -len(quote)]}/{quote}"
    raise BadSymbol(f"{name!r} is no pair: write it as BTC/USDT")


def compact(symbol: str) -> str:
    """BTC/USDT as Binance and file names write it: BTCUSDT."""
    return symbol.replace("/", "")


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class Candle(msgspec.Struct, frozen=True, array_like=True):
    """One closed candle of one symbol. `trades` is 0 in a minute without any; volumes in base and quote."""

    symbol: str
    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    trades: int


class Quote(msgspec.Struct, frozen=True, array_like=True):
    """Best bid and ask of one symbol, with the quantities shown, as known at `time_ms`."""

    symbol: str
    time_ms: int
    bid: float
    bid_quantity: float
    ask: float
    ask_quantity: float


class LastPrice(msgspec.Struct, frozen=True, array_like=True):
    """The last traded price of one symbol, as a candle still forming tells it at `time_ms`.

    `trades` in that candle so far: while there are none, the price is an older candle's.
    """

    symbol: str
    time_ms: int
    price: float
    trades: int = 1


class Instrument(msgspec.Struct, frozen=True):
    """What may be ordered of one symbol: the exchange's filters. A limit of 0 is off."""

    symbol: str
    price_step: Decimal
    quantity_step: Decimal
    quantity_min: Decimal
    quantity_max: Decimal
    notional_min: Decimal
    status: Literal["TRADING", "HALT", "BREAK", "CANCEL_ONLY", "END_OF_DAY"] = "TRADING"

    @property
    def base(self) -> str:
        return self.symbol.partition("/")[0]

    @property
    def quote(self) -> str:
        return self.symbol.partition("/")[2]

    def floor_quantity(self, quantity: Decimal) -> Decimal:
        """The quantity rounded down to the step, never above what was given."""
        return floor_to(quantity, self.quantity_step)


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` that is not above `value`."""
    return _to(value, step, ROUND_FLOOR)


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    """The smallest multiple of `step` that is not below `value`."""
    return _to(value, step, ROUND_CEILING)


def _to(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    if not step:
        return value
    steps = MONEY.divide(value, step).to_integral_value(rounding=rounding, context=MONEY)
    return MONEY.multiply(steps, step)


class Slice(msgspec.Struct, frozen=True, eq=False):
    """Every symbol's candle of one time, named by its open. Arrays are [N], in universe order."""

    open_ms: int
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    present: Mask

    @property
    def fields(self) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """The numbers, in the order of FIELDS."""
        return self.open, self.high, self.low, self.close, self.volume


class Panel(msgspec.Struct, frozen=True, eq=False):
    """Aligned candles of N symbols over T slices: what stores load, models train on and replays play.

    `open_ms` [T] is strictly increasing on the interval's grid but may have holes; fields are [T, N].
    """

    symbols: tuple[str, ...]
    interval_ms: int
    open_ms: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    present: Mask

    def __len__(self) -> int:
        return len(self.open_ms)

    def slice(self, row: int) -> Slice:
        """One row, as views."""
        return Slice(
            int(self.open_ms[row]),
            self.open[row],
            self.high[row],
            self.low[row],
            self.close[row],
            self.volume[row],
            self.present[row],
        )

    def locked(self) -> "Panel":
        """The same rows as views nobody can write through."""
        arrays = [getattr(self, name).view() for name in ("open_ms", *FIELDS, "present")]
        for array in arrays:
            array.flags.writeable = False
        return Panel(self.symbols, self.interval_ms, *arrays)

    def rows(self, start: int, stop: int) -> "Panel":
        """Rows start to stop, as views."""
        arrays = (getattr(self, name)[start:stop] for name in ("open_ms", *FIELDS, "present"))
        return Panel(self.symbols, self.interval_ms, *arrays)

    def of(self, symbols: tuple[str, ...]) -> "Panel":
        """The same slices for these symbols, in this order (a copy). KeyError names what is missing."""
        missing = [symbol for symbol in symbols if symbol not in self.symbols]
        if missing:
            raise KeyError(f"not in the panel: {', '.join(missing)}")
        index = [self.symbols.index(symbol) for symbol in symbols]
        arrays = (np.ascontiguousarray(getattr(self, name)[:, index]) for name in (*FIELDS, "present"))
        return Panel(symbols, self.interval_ms, self.open_ms, *arrays)


def returns_of(close: Floats, present: Mask) -> tuple[Floats, Mask]:
    """One-step returns [T, N] of closes [T, N], and where they are real.

    r_t = close_t / close_{t-1} - 1. A return is real where the candle traded and the close before it
    is known (a candle without trades carries the last price, so the next return is real again).
    Elsewhere it is 0 and marked absent. The first row has no close before it and is absent.
    """
    returns = np.empty_like(close)
    returns[:1] = 0.0
    moved = returns[1:]
    np.divide(close[1:], close[:-1], out=moved)
    moved -= 1.0
    real = present.copy()
    real[:1] = False
    known = np.isfinite(np.add.reduce(moved, axis=None))  # one sum tells whether any is not finite
    if not known:
        real &= np.isfinite(returns)
    if not real[1:].all():
        returns[~real] = 0.0
    return returns, real


def gather(candles: Iterable[Candle], symbols: tuple[str, ...], interval_ms: int) -> Panel:
    """Candles in any order as a panel on the grid from the first to the last; foreign symbols are left out."""
    index = {symbol: at for at, symbol in enumerate(symbols)}
    kept = [candle for candle in candles if candle.symbol in index]
    first = min((candle.open_ms for candle in kept), default=0)
    last = max((candle.open_ms for candle in kept), default=-interval_ms)
    rows = (last - first) // interval_ms + 1
    values = np.full((len(FIELDS), rows, len(symbols)), np.nan)
    present = np.zeros((rows, len(symbols)), dtype=np.bool_)
    for candle in kept:
        row, at = (candle.open_ms - first) // interval_ms, index[candle.symbol]
        values[:, row, at] = (candle.open, candle.high, candle.low, candle.close, candle.volume)
        present[row, at] = candle.trades > 0
    open_ms = first + interval_ms * np.arange(rows, dtype=np.int64)
    return Panel(symbols, interval_ms, open_ms, values[0], values[1], values[2], values[3], values[4], present)
