"""Market data as Bybit v5 answers it: a path and its query in, a status and a body out. No sockets, no clock.

Source  Bybit v5, "Get Kline", "Get Bybit Server Time", "Get Instruments Info", and exchange-facts 5.2 and 5.3.
Served  the same market in the categories spot and linear: kline (newest first, the running candle too), time,
        instruments-info. Intervals of weeks and months are not served.
Errors  HTTP 200 with a retCode; 404 for other paths; 403 for ten minutes to who asks more than 600 times in 5 s.
Unsure  what `start` without `end` gives is not documented: here a page from `start` on.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from bot.simulator.limits import Attempts, Limits
from bot.simulator.market import History, Market
from bot.simulator.tamper import EARLIER, Pages
from bot.simulator.wire import Row, Writer

INTERVALS = {
    "1": 60_000, "3": 180_000, "5": 300_000, "15": 900_000, "30": 1_800_000, "60": 3_600_000, "120": 7_200_000,
    "240": 14_400_000, "360": 21_600_000, "720": 43_200_000, "D": 86_400_000,
}  # fmt: skip
CATEGORIES = ("spot", "linear")
LIMIT, LIMIT_MAX = 200, 1_000
PARAMETERS = 10001
FORBIDDEN_MS = 600_000
WIDER = 4


class BadQuestion(Exception):
    """A request that is answered with a retCode."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Bybit:
    def __init__(self, shown: Market, writer: Writer, pages: Pages, limits: Limits) -> None:
        self._shown, self._writer, self._pages = shown, writer, pages
        asked = {"connections": limits.bybit_requests, "connections_window_s": limits.bybit_window_s}
        self._limits = msgspec.structs.replace(limits, **asked)
        self._attempts: dict[str, Attempts] = {}
        self._forbidden_until_ms: dict[str, int] = {}
        self._routes = {
            "/v5/market/kline": self._kline,
            "/v5/market/time": self._time,
            "/v5/market/instruments-info": self._instruments,
        }

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self._routes)

    def answer(self, path: str, query: Mapping[str, str], address: str, now_ms: int) -> tuple[int, bytes]:
        """The status and the body."""
        if not self._allowed(address, now_ms):
            return 403, b'{"ret_msg":"access too frequent, please try again later"}'
        try:
            code, message, result = 0, "OK", self._routes[path](query, now_ms)
        except BadQuestion as why:
            code, message, result = why.code, str(why), {}
        envelope = {"retCode": code, "retMsg": message, "result": result, "retExtInfo": {}, "time": now_ms}
        return 200, msgspec.json.encode(envelope)

    def _allowed(self, address: str, now_ms: int) -> bool:
        if now_ms < self._forbidden_until_ms.get(address, 0):
            return False
        if self._attempts.setdefault(address, Attempts(self._limits)).allow(address, now_ms):
            return True
        self._forbidden_until_ms[address] = now_ms + FORBIDDEN_MS
        return False

    def _time(self, query: Mapping[str, str], now_ms: int) -> dict[str, Any]:
        return {"timeSecond": str(now_ms // 1000), "timeNano": str(now_ms * 1_000_000)}

    def _instruments(self, query: Mapping[str, str], now_ms: int) -> dict[str, Any]:
        """Of spot only what is trading; statuses other than Trading are empty lists here."""
        category = self._category(query, None)
        wanted = [self._symbol(query)] if query.get("symbol") else range(len(self._writer.names))
        minute = self._shown.minute(self._shown.open_of(now_ms))
        trading = [at for at in wanted if minute is not None and not minute.absent[at]]
        if query.get("status", "Trading") != "Trading":
            trading = []
        rules = [self._spot(at) if category == "spot" else self._linear(at) for at in trading]
        return {"category": category, "list": rules, "nextPageCursor": ""}

    def _spot(self, at: int) -> dict[str, Any]:
        rules = self._rules(at)
        lot = {
            "basePrecision": rules["step"],
            "quotePrecision": "0.00000001",
            "minOrderQty": rules["step"],
            "maxOrderQty": "9000000",
            "minOrderAmt": "5",
            "maxOrderAmt": "9000000",
        }
        return {**rules["names"], "innovation": "0", "marginTrading": "none", "lotSizeFilter": lot, **rules["price"]}

    def _linear(self, at: int) -> dict[str, Any]:
        rules = self._rules(at)
        lot = {"qtyStep": rules["step"], "minOrderQty": rules["step"], "maxOrderQty": "9000000"}
        kind = {"contractType": "LinearPerpetual", "settleCoin": rules["names"]["quoteCoin"], "deliveryTime": "0"}
        launched = {"launchTime": str(self._shown.source.first_ms)}
        return {**rules["names"], **kind, **launched, "lotSizeFilter": lot, **rules["price"]}

    def _rules(self, at: int) -> dict[str, Any]:
        known = self._writer.rules(at, "TRADING")
        filters = {one["filterType"]: one for one in known["filters"]}
        names = {"symbol": known["symbol"], "baseCoin": known["baseAsset"], "quoteCoin": known["quoteAsset"]}
        return {
            "names": {**names, "status": "Trading"},
            "step": _plain(filters["LOT_SIZE"]["stepSize"]),
            "price": {"priceFilter": {"tickSize": _plain(filters["PRICE_FILTER"]["tickSize"])}},
        }

    def _kline(self, query: Mapping[str, str], now_ms: int) -> dict[str, Any]:
        category = self._category(query, "linear")
        at = self._symbol(query)
        name = self._writer.names[at]
        step = INTERVALS.get(query.get("interval", ""), 0)
        if not step or step % self._shown.interval_ms:
            raise BadQuestion(PARAMETERS, "Invalid period!")
        limit = _integer(query, "limit", LIMIT)
        if not 1 <= limit <= LIMIT_MAX:
            raise BadQuestion(PARAMETERS, "params error: limit invalid")
        start_ms, stop_ms = self._range(query, step, limit, now_ms)
        kind = self._pages.kind(now_ms, name)
        stop_ms = min(stop_ms + EARLIER.get(kind, 0) * step, now_ms + 1)  # newest first: it errs at the other end
        rows = self._rows(at, step, start_ms, stop_ms, limit, now_ms)
        rows = self._pages.of(rows[::-1], now_ms, name, kind)
        return {"symbol": name, "category": category, "list": [_texts(row) for row in rows]}

    def _range(self, query: Mapping[str, str], step: int, limit: int, now_ms: int) -> tuple[int, int]:
        """Opens from the first to before the second; the candle that holds `start` is the first."""
        start_ms, end_ms = _integer(query, "start", -1), _integer(query, "end", -1)
        if end_ms < 0:
            end_ms = start_ms + limit * step - 1 if start_ms >= 0 else now_ms
        if 0 <= end_ms < start_ms:
            raise BadQuestion(PARAMETERS, "The start time must be before the end time")
        return max(start_ms - start_ms % step, 0) if start_ms >= 0 else 0, min(end_ms, now_ms) + 1

    def _rows(self, at: int, step: int, start_ms: int, stop_ms: int, limit: int, now_ms: int) -> list[Row]:
        """The newest `limit` rows of a range, oldest first, looking back further where candles are absent."""
        start_ms = max(start_ms, self._shown.open_of(self._shown.source.first_ms, step))
        span_ms = limit * step
        while True:
            first_ms = max(start_ms, stop_ms - span_ms)
            history = self._shown.history(at, step, first_ms, stop_ms, now_ms)
            if len(history.open_ms) >= limit or first_ms <= start_ms:
                break
            span_ms *= WIDER
        return self._writer.rows(at, History._make(column[-limit:] for column in history), step)

    def _category(self, query: Mapping[str, str], default: str | None) -> str:
        category = query.get("category", default)
        if category not in CATEGORIES:
            raise BadQuestion(PARAMETERS, "params error: Category is invalid")
        return category

    def _symbol(self, query: Mapping[str, str]) -> int:
        at = self._writer.index.get(query.get("symbol", ""))
        if at is None:
            raise BadQuestion(PARAMETERS, "Not supported symbols")
        return at


def _texts(row: Row) -> list[str]:
    numbers = (row.open, row.high, row.low, row.close, row.volume, row.quote_volume)
    return [str(row.open_ms), *(_plain(number.strip('"')) for number in numbers)]


def _plain(number: str) -> str:
    """Without the zeros that Binance fills up with."""
    return number.rstrip("0").rstrip(".") if "." in number else number


def _integer(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadQuestion(PARAMETERS, f"params error: {name} invalid")
    return int(text)
