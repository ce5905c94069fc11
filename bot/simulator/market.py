"""The market played: candles closed and forming, best bid and ask, for any exchange time. No clock of its own.

Time      the source's: row k is the minute that begins at its open_ms. The exchange's clock starts inside the source.
Forming   a candle is at its open for the first 3 s, then visits its low and high (the nearer way first), is at its
          close from second 54 on, unless another path is given; volume and trades grow evenly. It always ends in
          exactly the source's candle.
Absent    NaN in the source: nothing exists, neither candle nor quote. Volume 0: a minute without trades.
Not told  by a source: quote volume (volume at the candle's average price) and trades, which are derived.
Shapes    N symbols in the source's order; K of them chosen by an index array.
End       a source with `end_ms` has nothing after it, and the exchange then falls silent.
"""

from typing import NamedTuple, Protocol

import numpy as np

from bot.core.market import FIELDS, Floats, Integers, Mask, Panel
from bot.core.rules import decimals_of

Stations = tuple[float, float, float, float]

PATH: Stations = (0.05, 0.30, 0.60, 0.90)  # fractions of the interval: leaves the open, at both extremes, at the close
TRADE_QUOTE = 700.0  # quote currency of one trade on average
TRADES_MAX = 25_000
QUOTE_DEPTH = 0.2  # best quantity as a share of the last minutes' mean volume
QUOTE_ROWS = 10
LAST_ROWS = 1_440
PARTS_KEPT = 16


class Source(Protocol):
    """Where candles come from: a panel, or the endless synthetic market."""

    symbols: tuple[str, ...]
    interval_ms: int
    price_decimals: Integers
    volume_decimals: Integers

    @property
    def first_ms(self) -> int:
        """No row that can still be had opens before it."""
        ...

    @property
    def end_ms(self) -> int | None:
        """No row opens at or after it; None when there is no end."""
        ...

    def between(self, start_ms: int, stop_ms: int) -> Panel:
        """The rows that open in [start, stop). They may be views: read them, do not write."""
        ...


class PanelSource:
    """A panel as it is, with the decimals its own numbers need."""

    def __init__(self, panel: Panel) -> None:
        if not len(panel):
            raise ValueError("an exchange needs candles: the panel is empty")
        self._panel = panel
        self.symbols = panel.symbols
        self.interval_ms = panel.interval_ms
        self.first_ms = int(panel.open_ms[0])
        self.end_ms = int(panel.open_ms[-1]) + panel.interval_ms
        self.price_decimals = decimals_of(panel.open, panel.high, panel.low, panel.close)
        self.volume_decimals = decimals_of(panel.volume)

    def between(self, start_ms: int, stop_ms: int) -> Panel:
        first, stop = np.searchsorted(self._panel.open_ms, (start_ms, stop_ms))
        return self._panel.rows(int(first), int(stop))


class Candles(NamedTuple):
    """Candles of one time, arrays over symbols. `last_trade` is `first_trade` - 1 + trades, both -1 without any."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    quote_volume: Floats
    trades: Integers
    first_trade: Integers
    last_trade: Integers


class History(NamedTuple):
    """Candles of one symbol, oldest first; absent ones are left out."""

    open_ms: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    quote_volume: Floats
    trades: Integers


class Quotes(NamedTuple):
    """Best bid and ask with their quantities, arrays over symbols; NaN where nothing is quoted."""

    bid: Floats
    bid_quantity: Floats
    ask: Floats
    ask_quantity: Floats


class Minute:
    """One row of the source and what follows from it, arrays [N]."""

    def __init__(self, row: Panel, index: int) -> None:
        self.open_ms = int(row.open_ms[0])
        self.open, self.high, self.low, self.close, volume = (getattr(row, name)[0].copy() for name in FIELDS)
        self.absent: Mask = ~np.isfinite(self.close)
        self.volume: Floats = np.where(self.absent, 0.0, np.nan_to_num(volume))
        self.quote_volume = quote_volume_of(self.open, self.high, self.low, self.close, self.volume)
        self.trades = trades_of(self.quote_volume)
        self.trade_base = index * TRADES_MAX


def quote_volume_of(opened: Floats, high: Floats, low: Floats, close: Floats, volume: Floats) -> Floats:
    return np.nan_to_num(volume * (opened + high + low + close) / 4.0)


def trades_of(quote_volume: Floats) -> Integers:
    many = np.minimum(1.0 + quote_volume / TRADE_QUOTE, TRADES_MAX - 1)
    return np.where(quote_volume > 0.0, many, 0.0).astype(np.int64)


class Market:
    """Answers for any time what the exchange would show."""

    def __init__(self, source: Source | Panel, spread_bps: float = 1.0, path: Stations = PATH) -> None:
        self.source: Source = PanelSource(source) if isinstance(source, Panel) else source
        self.spread_bps = spread_bps
        self.path = path
        self.symbols = self.source.symbols
        self.interval_ms = self.source.interval_ms
        self._price_scale = 10.0**self.source.price_decimals
        self._volume_scale = 10.0**self.source.volume_decimals
        self._minutes: dict[int, Minute | None] = {}
        self._depth: tuple[int, Floats] = (-1, np.zeros(0))
        self._before: dict[tuple[int, int], Candles | None] = {}

    def start_ms(self, history: int) -> int:
        """A time inside the source with up to `history` candles before it, and half of a short panel after it."""
        first, end = self.source.first_ms, self.source.end_ms
        rows = history if end is None else min(history, (end - first) // self.interval_ms // 2)
        return first + rows * self.interval_ms

    def open_of(self, time_ms: int, interval_ms: int | None = None) -> int:
        """The open time of the candle that holds `time_ms`."""
        return time_ms - time_ms % (interval_ms or self.interval_ms)

    def forget(self) -> None:
        """What was remembered of the source, which has changed."""
        self._minutes.clear()
        self._before.clear()

    def minute(self, open_ms: int) -> Minute | None:
        """The source's row of this open time; None where it has none."""
        if open_ms not in self._minutes:
            row = self.source.between(open_ms, open_ms + 1) if self._within(open_ms) else None
            while len(self._minutes) > 4:
                self._minutes.pop(next(iter(self._minutes)))
            self._minutes[open_ms] = Minute(row, open_ms // self.interval_ms) if row is not None and len(row) else None
        return self._minutes[open_ms]

    def closed(self, open_ms: int, interval_ms: int) -> Candles | None:
        """The finished candles [N] of one open time; None when no symbol has any."""
        last_ms = open_ms + interval_ms - self.interval_ms
        minute = self.minute(last_ms)
        before = self._closed_part(open_ms, last_ms)
        return _join(before, _finished(minute) if minute else None)

    def forming(self, open_ms: int, interval_ms: int, now_ms: int, begun: Mask | None = None) -> Candles | None:
        """The running candles [N] of one open time, as of `now_ms`.

        Where `begun` [N] is False the newest minute stands at its first trade, however late it is.
        """
        minute_ms = self.open_of(now_ms)
        minute = self.minute(minute_ms)
        now = self._at(minute, now_ms - minute_ms, begun) if minute else None
        return _join(self._closed_part(open_ms, minute_ms), now)

    def quotes(self, now_ms: int) -> Quotes | None:
        """Best bid and ask [N] around the forming price: never crossed, at least a tick apart, and the quantities
        a share of what traded lately. None where the source has no row."""
        minute = self.minute(self.open_of(now_ms))
        if minute is None:
            return None
        price = self._at(minute, now_ms - minute.open_ms, None).close
        ticks = np.maximum(np.rint(price * self.spread_bps / 1e4 * self._price_scale), 1.0)
        bid = np.maximum(np.floor(price * self._price_scale - ticks / 2 + 0.25), 1.0)
        wobble = 0.5 + np.modf(np.arange(len(price)) * 0.618034 + now_ms // 1000 * 0.324718)[0]
        shown = np.maximum(np.floor(self._quantity(minute.open_ms) * wobble * self._volume_scale), 1.0)
        other = np.maximum(np.floor(self._quantity(minute.open_ms) * (2.0 - wobble) * self._volume_scale), 1.0)
        quoted = Quotes(bid, shown, bid + ticks, other)
        scales = (self._price_scale, self._volume_scale, self._price_scale, self._volume_scale)
        return Quotes(*(side / scale for side, scale in zip(quoted, scales, strict=True)))

    def book(self, at: int, quotes: Quotes, levels: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """Bids and asks of symbol number `at` as (price, quantity), best first: the quotes, then level after level a
        tick away, each with one to four times the best quantity. Empty where nothing is quoted."""
        bid, bid_quantity, ask, ask_quantity = (float(side[at]) for side in quotes)
        if np.isnan(bid):
            return [], []
        ticks, steps = float(self._price_scale[at]), float(self._volume_scale[at])
        size = 1.0 + 3.0 * np.modf(np.arange(levels) * 0.618034)[0]
        bids = np.rint(bid * ticks) - np.arange(levels)
        asks = np.rint(ask * ticks) + np.arange(levels)
        below = np.column_stack([bids / ticks, np.rint(bid_quantity * steps * size) / steps])[bids >= 1.0]
        above = np.column_stack([asks / ticks, np.rint(ask_quantity * steps * size) / steps])
        return [(price, size) for price, size in below.tolist()], [(price, size) for price, size in above.tolist()]

    def history(self, at: int, interval_ms: int, start_ms: int, stop_ms: int, now_ms: int) -> History:
        """Candles of symbol number `at` that open in [start, stop) and no later than now, the running one included."""
        running_ms = self.open_of(now_ms)
        stop_ms = self.open_of(min(stop_ms - 1, now_ms), interval_ms) + interval_ms  # the last candle with all its rows
        start_ms = max(self.open_of(start_ms + interval_ms - 1, interval_ms), self.open_of(self.source.first_ms))
        rows = self.source.between(start_ms, min(stop_ms, running_ms))
        columns = [np.asarray(getattr(rows, name)[:, at]) for name in FIELDS]
        columns = [rows.open_ms, *columns]
        minute = self.minute(running_ms) if start_ms <= running_ms < stop_ms else None
        if minute is not None:
            now = self._at(minute, now_ms - running_ms, None)
            newest = (running_ms, now.open[at], now.high[at], now.low[at], now.close[at], now.volume[at])
            columns = [np.append(column, value) for column, value in zip(columns, newest, strict=True)]
        kept = np.isfinite(columns[4])
        return _gathered([column[kept] for column in columns], interval_ms)

    def last_price(self, at: int, now_ms: int) -> float:
        """The last price of symbol number `at`, looking back one day of minutes; 0 when there is none."""
        minute = self.minute(self.open_of(now_ms))
        if minute is not None and not minute.absent[at]:
            return float(self._at(minute, now_ms - minute.open_ms, None).close[at])
        end = self.open_of(now_ms)
        closes = self.source.between(end - LAST_ROWS * self.interval_ms, end).close[:, at]
        known = closes[np.isfinite(closes)]
        return float(known[-1]) if len(known) else 0.0

    def _within(self, time_ms: int) -> bool:
        end = self.source.end_ms
        return time_ms >= self.source.first_ms and (end is None or time_ms < end)

    def _quantity(self, open_ms: int) -> Floats:
        if self._depth[0] != open_ms:
            volume = self.source.between(open_ms - QUOTE_ROWS * self.interval_ms, open_ms).volume
            mean = np.nansum(volume, axis=0) / max(len(volume), 1)
            self._depth = (open_ms, QUOTE_DEPTH * mean)
        return self._depth[1]

    def _closed_part(self, open_ms: int, stop_ms: int) -> Candles | None:
        """The closed rows of an interval that has begun, as one candle [N]; None when there are none."""
        if stop_ms <= open_ms:
            return None
        key, one_less = (open_ms, stop_ms), (open_ms, stop_ms - self.interval_ms)
        if key not in self._before:
            part, from_ms = (self._before[one_less], one_less[1]) if one_less in self._before else (None, open_ms)
            for row_ms in range(from_ms, stop_ms, self.interval_ms):
                row = self.source.between(row_ms, row_ms + 1)
                if len(row):
                    part = _join(part, _finished(Minute(row, row_ms // self.interval_ms)))
            while len(self._before) >= PARTS_KEPT:
                self._before.pop(next(iter(self._before)))
            self._before[key] = part
        return self._before[key]

    def _at(self, minute: Minute, elapsed_ms: int, begun: Mask | None) -> Candles:
        """The minute's candles [N] `elapsed_ms` after its open."""
        share: Floats = np.full(len(minute.open), min(max(elapsed_ms / self.interval_ms, 0.0), 1.0))
        if begun is not None:
            share[~begun] = 0.0
        leave, first, second, arrive = self.path
        down_first = minute.close >= minute.open
        near = np.where(down_first, minute.low, minute.high)
        far = np.where(down_first, minute.high, minute.low)
        path = minute.open + np.clip((share - leave) / (first - leave), 0, 1) * (near - minute.open)
        path += np.clip((share - first) / (second - first), 0, 1) * (far - near)
        path += np.clip((share - second) / (arrive - second), 0, 1) * (minute.close - far)
        price = np.where(share >= arrive, minute.close, np.rint(path * self._price_scale) / self._price_scale)
        price = np.clip(price, minute.low, minute.high)
        seen = [minute.open, price, np.where(share >= first, near, minute.open)]
        seen.append(np.where(share >= second, far, minute.open))
        high, low = np.maximum.reduce(seen), np.minimum.reduce(seen)
        traded = minute.trades > 0
        trades = np.where(traded, np.maximum(1, (minute.trades * share).astype(np.int64)), 0)
        grown = np.maximum(np.floor(minute.volume * share * self._volume_scale), 1.0) / self._volume_scale
        volume = np.where(traded, np.minimum(grown, minute.volume), 0.0)
        part = np.divide(volume, minute.volume, out=np.zeros_like(volume), where=traded)
        base = np.where(traded, minute.trade_base, -1)
        last = np.where(traded, base + trades - 1, -1)
        return Candles(minute.open, high, low, price, volume, minute.quote_volume * part, trades, base, last)


def _finished(minute: Minute) -> Candles:
    traded = minute.trades > 0
    first = np.where(traded, minute.trade_base, -1)
    last = np.where(traded, first + minute.trades - 1, -1)
    prices = (minute.open, minute.high, minute.low, minute.close)
    return Candles(*prices, minute.volume, minute.quote_volume, minute.trades, first, last)


def _join(early: Candles | None, late: Candles | None) -> Candles | None:
    """One candle [N] out of two that follow each other; either may be missing, or absent for some symbols."""
    if early is None or late is None:
        return late if early is None else early
    return Candles(
        np.where(np.isfinite(early.open), early.open, late.open),
        np.fmax(early.high, late.high),
        np.fmin(early.low, late.low),
        np.where(np.isfinite(late.close), late.close, early.close),
        early.volume + late.volume,
        early.quote_volume + late.quote_volume,
        early.trades + late.trades,
        np.where(early.first_trade >= 0, early.first_trade, late.first_trade),
        np.where(late.last_trade >= 0, late.last_trade, early.last_trade),
    )


def _gathered(columns: list[Floats], interval_ms: int) -> History:
    """Rows of one symbol (open time, open, high, low, close, volume) as candles of an interval."""
    open_ms, opened, high, low, close, volume = columns
    if not len(open_ms):
        none, zero = np.zeros(0, np.int64), np.zeros(0)
        return History(none, zero, zero, zero, zero, zero, zero, none)
    quote = quote_volume_of(opened, high, low, close, volume)
    trades = trades_of(quote)
    bucket = open_ms - open_ms % interval_ms
    first = np.flatnonzero(np.diff(bucket, prepend=-1))
    last = np.append(first[1:], len(bucket)) - 1
    return History(
        bucket[first].astype(np.int64),
        opened[first],
        np.maximum.reduceat(high, first),
        np.minimum.reduceat(low, first),
        close[last],
        np.add.reduceat(volume, first),
        np.add.reduceat(quote, first),
        np.add.reduceat(trades, first),
    )
