"""Binance spot: websocket frames and REST answers in, market values out; subscriptions out. Sans I/O.

Source  Binance, "WebSocket Streams" (kline, bookTicker, control messages, serverShutdown) and "REST API" (klines,
        exchangeInfo).
Times   milliseconds UTC; a candle is named by its open, and Binance's close time is not used.
Prices  decimal strings on the wire, floats here: candles feed models, never the ledger.
Trades  a minute without any arrives as n = 0 at the last price: a candle like any other, with trades 0.
Errors  BadFrame, by reason, for anything that is not sane or not ours. Fields we do not know are ignored; an event we
        do not know is Unknown: for the caller to count, no error.
"""

import math
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from bot.core.market import MONEY, TIMEFRAMES, Candle, Instrument, LastPrice, Quote, compact

FRAME_BYTES_MAX = 1_048_576
STREAMS_MAX = 1_024  # of one connection
PRICE_MAX = 1e15
VOLUME_MAX = 1e30
TRADES_MAX = 10**12
TIME_MIN_MS, TIME_MAX_MS = 10**12, 10**13  # 2001 to 2286: seconds and microseconds lie outside

# Every reason a frame is refused for, and the catalogue's number of it.
FAULTS = {
    "off-grid time": "F18",
    "NaN price": "F19",
    "infinite price": "F19",
    "zero or negative price": "F19",
    "high below low": "F19",
    "open or close outside high and low": "F19",
    "impossible volume": "F19",
    "broken values": "F19",
    "impossible quote": "F19",
    "broken JSON": "F21",
    "oversized": "F21",
    "foreign symbol": "F23",
    "foreign interval": "F23",
}


class BadFrame(ValueError):
    """A frame that cannot be used. `symbol` is ours where the frame names one of ours, else ""."""

    def __init__(self, reason: str, symbol: str = "") -> None:
        super().__init__(f"{symbol}: {reason}" if symbol else reason)
        self.reason = reason
        self.symbol = symbol

    @property
    def fault(self) -> str:
        """The catalogue's number: F18 times, F19 values, F21 framing, F23 foreign."""
        return FAULTS[self.reason]


class Ack(msgspec.Struct, frozen=True):
    """A control message was granted. It promises no data: only data does."""

    id: int | str | None


class Refusal(msgspec.Struct, frozen=True):
    """A control message was refused."""

    id: int | str | None
    text: str


class Shutdown(msgspec.Struct, frozen=True):
    """The server is about to go away."""


class Unknown(msgspec.Struct, frozen=True):
    """An event we have no use for. `name` as the frame has it, or ""."""

    name: str


Message = Candle | LastPrice | Quote | Ack | Refusal | Shutdown | Unknown


class Kline(msgspec.Struct, gc=False):
    t: int
    s: str
    i: str
    o: float
    c: float
    h: float
    l: float
    v: float
    q: float
    n: int
    x: bool


class Data(msgspec.Struct, gc=False):
    """A kline or book ticker event, whichever fields came."""

    e: str = ""
    E: int = 0
    s: str = ""
    k: Kline | None = None
    b: float = math.nan
    B: float = math.nan
    a: float = math.nan
    A: float = math.nan


class Frame(Data):
    """The same, bare, or wrapped in `data` as combined streams have it."""

    data: Data | None = None


class Anything(msgspec.Struct):
    """Just enough of any object to tell what it is."""

    e: Any = None
    s: Any = None
    k: Any = None
    data: Any = None
    stream: Any = None
    id: Any = None
    result: Any = msgspec.UNSET
    code: Any = None
    msg: Any = None
    error: Any = None


_frames = msgspec.json.Decoder(Frame, strict=False)  # not strict: numbers stand in strings
_anything = msgspec.json.Decoder(Anything)
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


class Codec:
    """Reads the frames of one universe and timeframe; everything foreign is refused by name."""

    def __init__(self, symbols: tuple[str, ...], timeframe: str) -> None:
        self.symbols = symbols
        self.timeframe = timeframe
        self.interval_ms = TIMEFRAMES[timeframe]
        self._names = {compact(symbol): symbol for symbol in symbols}

    def streams(self, *, book_ticker: bool) -> list[str]:
        """The names of all streams, symbol by symbol: its klines, then its book ticker if wanted."""
        names: list[str] = []
        for symbol in self.symbols:
            name = compact(symbol).lower()
            names.append(f"{name}@kline_{self.timeframe}")
            if book_ticker:
                names.append(f"{name}@bookTicker")
        return names

    def decode(self, frame: bytes | str) -> Message:
        """What one frame says. A Quote's time is 0: book tickers carry none. Raises BadFrame."""
        if len(frame) > FRAME_BYTES_MAX:
            raise BadFrame("oversized")
        try:
            message = _frames.decode(frame)
        except _UNREADABLE:
            return self._other(frame)
        data = message.data or message
        if data.e == "kline" and data.k is not None:
            return self._kline(data.s, data.E, data.k)
        if data.s and not data.e:
            return self._quote(data)
        return self._other(frame)

    def _kline(self, named: str, time_ms: int, kline: Kline) -> Candle | LastPrice:
        symbol = self._names.get(kline.s)
        if symbol is None or named != kline.s:
            raise BadFrame("foreign symbol")
        if kline.i != self.timeframe:
            raise BadFrame("foreign interval", symbol)
        # one chain refuses NaN (every comparison with it is False), infinities, zero, negatives and disorder
        if not (0 < kline.l <= kline.o <= kline.h < PRICE_MAX and kline.l <= kline.c <= kline.h):
            raise BadFrame(_price_fault(kline), symbol)
        if kline.t % self.interval_ms or not (
            TIME_MIN_MS < kline.t < TIME_MAX_MS and TIME_MIN_MS < time_ms < TIME_MAX_MS
        ):
            raise BadFrame("off-grid time", symbol)
        if not (0 <= kline.v < VOLUME_MAX and 0 <= kline.q < VOLUME_MAX and 0 <= kline.n < TRADES_MAX):
            raise BadFrame("impossible volume", symbol)
        if not kline.x:
            return LastPrice(symbol, time_ms, kline.c, kline.n)
        return Candle(symbol, kline.t, kline.o, kline.h, kline.l, kline.c, kline.v, kline.q, kline.n)

    def _quote(self, data: Data) -> Quote:
        symbol = self._names.get(data.s)
        if symbol is None:
            raise BadFrame("foreign symbol")
        if not (0 < data.b <= data.a < PRICE_MAX and 0 <= data.B < VOLUME_MAX and 0 <= data.A < VOLUME_MAX):
            raise BadFrame("impossible quote", symbol)
        return Quote(symbol, 0, data.b, data.B, data.a, data.A)

    def _other(self, frame: bytes | str) -> Ack | Refusal | Shutdown | Unknown:
        """Control replies, and events that are not ours even where their fields share our names."""
        try:
            found = _anything.decode(frame)
        except _UNREADABLE as why:
            raise BadFrame("broken JSON") from why
        if isinstance(found.data, dict):
            event, kline, named = found.data.get("e"), found.data.get("k"), found.data.get("s")
        else:
            event, kline, named = found.e, found.k, found.s
        if event == "serverShutdown":
            return Shutdown()
        if isinstance(event, str) and event != "kline":
            return Unknown(event)
        if event is None and not isinstance(named, str):
            return _reply(found)
        named = kline.get("s", named) if isinstance(kline, dict) else named
        raise BadFrame("broken values", self._names.get(named, "") if isinstance(named, str) else "")

    def decode_klines(self, symbol: str, rows: Any) -> tuple[list[Candle], list[BadFrame]]:
        """REST rows of one symbol in the order they came, the running candle included, and the rows refused.

        BadFrame is raised for what is no list of rows at all. One odd row (there are some around past
        maintenance, off the grid) costs that candle, not the page.
        """
        if not isinstance(rows, list):
            raise BadFrame("broken JSON", symbol)
        candles: list[Candle] = []
        refused: list[BadFrame] = []
        for row in rows:
            try:
                candles.append(self._row(symbol, row))
            except BadFrame as bad:
                refused.append(bad)
        return candles, refused

    def _row(self, symbol: str, row: Any) -> Candle:
        try:
            open_ms, trades = int(row[0]), int(row[8])
            o, h, l, c, v, q = (float(row[at]) for at in (1, 2, 3, 4, 5, 7))
        except (TypeError, ValueError, OverflowError, LookupError) as why:
            raise BadFrame("broken values", symbol) from why
        kline = Kline(open_ms, compact(symbol), self.timeframe, o, c, h, l, v, q, trades, True)
        candle = self._kline(kline.s, open_ms, kline)
        assert isinstance(candle, Candle)
        return candle


def subscribe(streams: list[str], number: int) -> str:
    """One SUBSCRIBE for all streams."""
    return msgspec.json.encode({"method": "SUBSCRIBE", "params": streams, "id": number}).decode()


def _price_fault(kline: Kline) -> str:
    """What is wrong with prices that are."""
    prices = (kline.o, kline.h, kline.l, kline.c)
    if any(math.isnan(price) for price in prices):
        return "NaN price"
    if any(price <= 0 for price in prices):
        return "zero or negative price"
    if any(price >= PRICE_MAX for price in prices):
        return "infinite price"
    return "high below low" if kline.h < kline.l else "open or close outside high and low"


def _reply(found: Anything) -> Ack | Refusal | Unknown:
    number = found.id if isinstance(found.id, int | str) else None
    if found.error is not None:
        text = found.error.get("msg", "") if isinstance(found.error, dict) else found.error
        return Refusal(number, str(text))
    if found.code is not None:
        return Refusal(number, str(found.msg))
    if found.result is not msgspec.UNSET:
        return Ack(number)
    return Unknown(found.stream if isinstance(found.stream, str) else "")


def decode_instruments(exchange_info: Any, wanted: tuple[str, ...] | None = None) -> tuple[Instrument, ...]:
    """The rules of an exchangeInfo answer, for `wanted` in their order, or for every pair it names.

    Raises BadFrame for a shape the source does not describe, NotListed for wanted pairs it lacks.
    """
    try:
        known = {f"{entry['baseAsset']}/{entry['quoteAsset']}": entry for entry in exchange_info["symbols"]}
    except (TypeError, KeyError) as why:
        raise BadFrame("broken JSON") from why
    symbols = tuple(known) if wanted is None else wanted
    missing = [symbol for symbol in symbols if symbol not in known]
    if missing:
        raise NotListed(missing)
    return tuple(_instrument(symbol, known[symbol]) for symbol in symbols)


class NotListed(LookupError):
    """The exchange has no such pairs."""

    exit_code = 78

    def __init__(self, symbols: list[str]) -> None:
        super().__init__(f"market.symbols: the exchange does not list {', '.join(symbols)}")
        self.symbols = symbols


_STATUSES = ("TRADING", "HALT", "BREAK", "CANCEL_ONLY", "END_OF_DAY")


def _instrument(symbol: str, entry: Any) -> Instrument:
    """One pair's rules. A status we do not know is a halt; a market order must pass both lot sizes."""
    try:
        filters = {one["filterType"]: one for one in entry["filters"]}
        price, lot = filters["PRICE_FILTER"], filters["LOT_SIZE"]
        market = filters.get("MARKET_LOT_SIZE", lot)
        notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or {"minNotional": "0"}
        most = _number(market["maxQty"])
        return Instrument(
            symbol,
            _number(price["tickSize"]).normalize(MONEY),
            max(_number(lot["stepSize"]), _number(market["stepSize"])).normalize(MONEY),
            max(_number(lot["minQty"]), _number(market["minQty"])),
            min(_number(lot["maxQty"]), most) if most else _number(lot["maxQty"]),
            _number(notional["minNotional"]),
            entry["status"] if entry["status"] in _STATUSES else "HALT",
        )
    except (TypeError, KeyError, InvalidOperation) as why:
        raise BadFrame("broken values", symbol) from why


def _number(text: str) -> Decimal:
    """A filter's number: exact, finite, not negative."""
    number = Decimal(text)
    if not number.is_finite() or number < 0:
        raise InvalidOperation(text)
    return number
