"""REST as Binance speaks it: a path and its query in, a status and a body out. No sockets, no clock.

Source  Binance, "REST API", and exchange-facts 2. Weights as documented.
Served  ping, time, exchangeInfo, klines, depth, ticker/price, ticker/bookTicker, ticker/24hr, avgPrice; anything else is
        404.
Errors  HTTP 400 with {"code", "msg"}.
"""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from bot.core.market import DAY_MS
from bot.simulator.limits import MINUTE_MS, Limits
from bot.simulator.market import History, Market, Quotes
from bot.simulator.tamper import EARLIER, Pages
from bot.simulator.wire import INTERVALS, Writer

LIMIT, LIMIT_MAX = 500, 1_000
LEVELS, LEVELS_MAX = 100, 5_000
LEVELS_WEIGHT = ((100, 5), (500, 25), (1_000, 50))  # up to so many levels; 250 beyond
SYMBOLS_CHEAP = 20
NO_TOUCH = ('"0.00000000"',) * 4
RAW_REQUESTS, ORDERS_10S, ORDERS_DAY = 300_000, 50, 160_000
FOREVER_MS = 2**62
WIDER = 4


class RestError(Exception):
    """A request that is answered with HTTP 400."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Rest:
    """`shown` is the market as candles tell it, `quoted` the one behind the quotes."""

    def __init__(self, shown: Market, quoted: Market, writer: Writer, pages: Pages, limits: Limits) -> None:
        self._shown, self._quoted, self._writer = shown, quoted, writer
        self._pages, self._limits = pages, limits
        self._routes = {
            "/api/v3/ping": self._ping,
            "/api/v3/time": self._time,
            "/api/v3/exchangeInfo": self._exchange_info,
            "/api/v3/klines": self._klines,
            "/api/v3/depth": self._depth,
            "/api/v3/ticker/price": self._price,
            "/api/v3/ticker/bookTicker": self._book_ticker,
            "/api/v3/ticker/24hr": self._day,
            "/api/v3/avgPrice": self._average,
        }

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self._routes)

    def weight(self, path: str, query: Mapping[str, str]) -> int:
        """What a request costs, valid or not."""
        single = "symbol" in query
        match path.rpartition("/")[2]:
            case "exchangeInfo":
                return 20
            case "klines" | "avgPrice":
                return 2
            case "price" | "bookTicker":
                return 2 if single else 4
            case "depth":
                levels = query.get("limit", "")
                many = int(levels) if levels.isdecimal() and len(levels) < 9 else LEVELS
                return next((weight for most, weight in LEVELS_WEIGHT if many <= most), 250)
            case "24hr" if single:
                return 2
            case "24hr":
                many = query.get("symbols", "").count(",") + 1 if "symbols" in query else len(self._writer.names)
                return 2 if many <= SYMBOLS_CHEAP else 40 if many <= 100 else 80
            case _:
                return 1

    def answer(self, path: str, query: Mapping[str, str], now_ms: int) -> str:
        """The body. Raises RestError."""
        return self._routes[path](query, now_ms)

    def _ping(self, query: Mapping[str, str], now_ms: int) -> str:
        return "{}"

    def _time(self, query: Mapping[str, str], now_ms: int) -> str:
        return f'{{"serverTime":{now_ms}}}'

    def _exchange_info(self, query: Mapping[str, str], now_ms: int) -> str:
        minute = self._shown.minute(self._shown.open_of(now_ms))
        wanted, _ = self._symbols(query)
        symbols = [
            self._writer.rules(at, "BREAK" if minute is None or bool(minute.absent[at]) else "TRADING") for at in wanted
        ]
        if (status := query.get("symbolStatus")) is not None:
            if status not in ("TRADING", "HALT", "BREAK") or "symbol" in query or "symbols" in query:
                raise RestError(-1128, "Combination of optional parameters invalid.")
            symbols = [one for one in symbols if one["status"] == status]
        weight = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
        limits = [
            weight | {"limit": self._limits.weight_a_minute},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": ORDERS_10S},
            {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": ORDERS_DAY},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": RAW_REQUESTS},
        ]
        info = {
            "timezone": "UTC",
            "serverTime": now_ms,
            "rateLimits": limits,
            "exchangeFilters": [],
            "symbols": symbols,
        }
        return msgspec.json.encode(info).decode()

    def _klines(self, query: Mapping[str, str], now_ms: int) -> str:
        at = self._symbol(query)
        name = self._writer.names[at]
        interval_ms = self._interval(query)
        limit = _limit(query, LIMIT, LIMIT_MAX)
        start_ms, end_ms = _integer(query, "startTime", -1), _integer(query, "endTime", FOREVER_MS)
        kind = self._pages.kind(now_ms, name)
        stop_ms = min(end_ms, now_ms) + 1
        if start_ms >= 0:
            start_ms -= EARLIER.get(kind, 0) * interval_ms
            history = self._oldest(at, interval_ms, max(start_ms, self._shown.source.first_ms), stop_ms, limit, now_ms)
        else:
            history = self._newest(at, interval_ms, stop_ms, limit, now_ms)
        rows = self._writer.rows(at, history, interval_ms)
        return "[" + ",".join(row.text() for row in self._pages.of(rows, now_ms, name, kind)) + "]"

    def _oldest(self, at: int, interval_ms: int, start_ms: int, stop_ms: int, limit: int, now_ms: int) -> History:
        """The first `limit` candles from `start_ms` on, looking further where candles are absent."""
        span_ms = limit * interval_ms
        while True:
            history = self._shown.history(at, interval_ms, start_ms, min(start_ms + span_ms, stop_ms), now_ms)
            if len(history.open_ms) >= limit or start_ms + span_ms >= stop_ms:
                return History._make(column[:limit] for column in history)
            span_ms *= WIDER

    def _newest(self, at: int, interval_ms: int, stop_ms: int, limit: int, now_ms: int) -> History:
        """The last `limit` candles that open before `stop_ms`, looking back further where candles are absent."""
        span_ms = limit * interval_ms
        while True:
            history = self._shown.history(at, interval_ms, stop_ms - span_ms, stop_ms, now_ms)
            if len(history.open_ms) >= limit or stop_ms - span_ms <= self._shown.source.first_ms:
                return History._make(column[-limit:] for column in history)
            span_ms *= WIDER

    def _depth(self, query: Mapping[str, str], now_ms: int) -> str:
        """The order book of one symbol, best first; empty while trading is suspended."""
        at = self._symbol(query)
        limit = _limit(query, LEVELS, LEVELS_MAX)
        quotes = self._quotes(now_ms)
        sides = self._quoted.book(at, quotes, limit) if quotes else ((), ())
        bids, asks = (
            ",".join(f"[{self._writer.price(at, price)},{self._writer.volume(at, size)}]" for price, size in side)
            for side in sides
        )
        return f'{{"lastUpdateId":{now_ms},"bids":[{bids}],"asks":[{asks}]}}'

    def _price(self, query: Mapping[str, str], now_ms: int) -> str:
        wanted, single = self._symbols(query)
        found = [
            f'{{"symbol":"{self._writer.names[at]}","price":{self._writer.price(at, self._last(at, now_ms))}}}'
            for at in wanted
        ]
        return _listed(found, single)

    def _book_ticker(self, query: Mapping[str, str], now_ms: int) -> str:
        wanted, single = self._symbols(query)
        quotes = self._quotes(now_ms)
        found = []
        for at in wanted:
            bid, bid_quantity, ask, ask_quantity = self._touch(at, quotes)
            found.append(
                f'{{"symbol":"{self._writer.names[at]}","bidPrice":{bid},"bidQty":{bid_quantity},'
                f'"askPrice":{ask},"askQty":{ask_quantity}}}'
            )
        return _listed(found, single)

    def _day(self, query: Mapping[str, str], now_ms: int) -> str:
        wanted, single = self._symbols(query)
        return _listed([json.dumps(self._day_of(at, now_ms)) for at in wanted], single)

    def _day_of(self, at: int, now_ms: int) -> dict[str, Any]:
        """The last 24 hours of one symbol; zeros when it did not trade."""
        day = self._shown.history(at, self._shown.interval_ms, now_ms - DAY_MS, now_ms + 1, now_ms)
        last = self._last(at, now_ms)
        known = len(day.open_ms) > 0
        opened = float(day.open[0]) if known else last
        volume, quote_volume = float(day.volume.sum()), float(day.quote_volume.sum())
        touch = self._touch(at, self._quotes(now_ms))
        numbers = {
            "priceChange": f"{last - opened:.8f}",
            "priceChangePercent": f"{(last / opened - 1) * 100 if opened else 0.0:.3f}",
            "weightedAvgPrice": f"{quote_volume / volume if volume else 0.0:.8f}",
            "prevClosePrice": f"{opened:.8f}",
            "lastPrice": f"{last:.8f}",
            "lastQty": self._writer.volume(at, float(day.volume[-1]) if known else 0.0).strip('"'),
            "bidPrice": touch[0].strip('"'),
            "bidQty": touch[1].strip('"'),
            "askPrice": touch[2].strip('"'),
            "askQty": touch[3].strip('"'),
            "openPrice": f"{opened:.8f}",
            "highPrice": f"{day.high.max() if known else last:.8f}",
            "lowPrice": f"{day.low.min() if known else last:.8f}",
            "volume": f"{volume:.8f}",
            "quoteVolume": f"{quote_volume:.8f}",
        }
        times = {"openTime": now_ms - DAY_MS, "closeTime": now_ms, "firstId": 0, "lastId": int(day.trades.sum())}
        return {"symbol": self._writer.names[at], **numbers, **times, "count": int(day.trades.sum())}

    def _average(self, query: Mapping[str, str], now_ms: int) -> str:
        """The volume-weighted average of 5 minutes; the last price when nothing traded."""
        at = self._symbol(query)
        day = self._shown.history(at, self._shown.interval_ms, now_ms - 5 * MINUTE_MS, now_ms + 1, now_ms)
        volume = float(day.volume.sum())
        price = float(day.quote_volume.sum()) / volume if volume else self._last(at, now_ms)
        return f'{{"mins":5,"price":"{price:.8f}","closeTime":{now_ms}}}'

    def _quotes(self, now_ms: int) -> Quotes | None:
        """Best bids and asks, NaN where trading is suspended; None where there is no market."""
        quotes, minute = self._quoted.quotes(now_ms), self._shown.minute(self._shown.open_of(now_ms))
        if quotes is None or minute is None:
            return None
        return Quotes(*(np.where(minute.absent, np.nan, side) for side in quotes))

    def _touch(self, at: int, quotes: Quotes | None) -> tuple[str, str, str, str]:
        """Bid, its quantity, ask, its quantity; zeros where nothing is quoted."""
        return NO_TOUCH if quotes is None or np.isnan(quotes.bid[at]) else self._writer.touch(at, quotes)

    def _last(self, at: int, now_ms: int) -> float:
        return self._shown.last_price(at, now_ms)

    def _symbol(self, query: Mapping[str, str]) -> int:
        name = query.get("symbol", "")
        if not name:
            raise RestError(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        return self._index(name)

    def _symbols(self, query: Mapping[str, str]) -> tuple[list[int], bool]:
        """The numbers of the symbols asked for, and whether one alone was."""
        if "symbol" in query and "symbols" in query:
            raise RestError(-1128, "Combination of optional parameters invalid.")
        if "symbol" in query:
            return [self._symbol(query)], True
        if "symbols" not in query:
            return list(range(len(self._writer.names))), False
        try:
            names = json.loads(query["symbols"])
        except ValueError:
            names = None
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise RestError(-1100, "Illegal characters found in parameter 'symbols'.")
        return [self._index(name) for name in names], False

    def _index(self, name: str) -> int:
        at = self._writer.index.get(name)
        if at is None:
            raise RestError(-1121, "Invalid symbol.")
        return at

    def _interval(self, query: Mapping[str, str]) -> int:
        if not query.get("interval"):
            raise RestError(-1102, "Mandatory parameter 'interval' was not sent, was empty/null, or malformed.")
        interval_ms = INTERVALS.get(query["interval"], 0)
        if not interval_ms or interval_ms % self._shown.interval_ms:
            raise RestError(-1120, "Invalid interval.")
        return interval_ms


def _integer(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        legal = "legal range is '^[0-9]{1,20}$'"
        raise RestError(-1100, f"Illegal characters found in parameter '{name}'; {legal}.")
    return int(text)


def _limit(query: Mapping[str, str], default: int, most: int) -> int:
    """How many are asked for, at most `most`."""
    limit = _integer(query, "limit", default)
    if limit < 1:
        raise RestError(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit, most)


def _listed(found: list[str], single: bool) -> str:
    return found[0] if single else "[" + ",".join(found) + "]"
