"""Exchanges to fetch candles from, through ccxt: Binance, Bybit (spot and linear), and any other by its id.

Time    the exchange's own, agreed by samples; ccxt's throttler follows the wall clock (T1) and stays off where the
        limits are known.
Limits  Binance 6,000 weight a minute, of which we take WEIGHT_SHARE; Bybit 600 requests in 5 s, half of them, and ten
        minutes of silence after a 403 (exchange-facts 2.7 and 5.3). Any other: ccxt's throttler.
Pairs   inside the bot BTC/USDT, also where it is the linear perpetual that Bybit calls by the same name.
Errors  RestError; Unknown (exit 78) for an exchange, pair or timeframe that is not there, with the nearest name.
"""

import difflib
from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol

from bot.core.market import TIMEFRAMES, Candle
from bot.edge.clock import SAMPLES, Clock, Sample
from bot.edge.questions import Questions, RestError
from bot.edge.weight import Weight
from bot.exchanges.binance import BadFrame, Codec
from bot.exchanges.bybit_klines import decode_answer, decode_rows

TIMEOUT_MS = 10_000
WEIGHT_SHARE, BINANCE_WEIGHT = 0.6, 6_000
BYBIT_REQUESTS, BYBIT_WINDOW_S, BYBIT_SHARE, FORBIDDEN_S = 600, 5.0, 0.5, 600.0
PAGE, PAGE_UNKNOWN = 1_000, 500
MARKETS_WEIGHT, TICKERS_WEIGHT = 20, 80
NO_LIMIT = 10**9


class Unknown(LookupError):
    """No such exchange, pair or timeframe; the text names the nearest."""

    exit_code = 78


class Venue(Protocol):
    """One exchange. `open` before anything else; `page` candles at most come in one answer.

    `proves_absence`: an empty answer means that there is nothing. `refused` counts rows that were not sane, by reason.
    """

    name: str
    page: int
    proves_absence: bool
    pages: int
    refused: Counter[str]

    async def open(self) -> None:
        """Agrees the clock and reads the markets."""
        ...

    def check(self, symbols: Iterable[str], timeframe: str) -> None:
        """Raises Unknown for what it does not have."""
        ...

    async def candles(self, symbol: str, timeframe: str, start_ms: int, stop_ms: int) -> list[Candle]:
        """One page of candles that open in [start, stop), the running one perhaps among them."""
        ...

    async def close(self) -> None: ...


class _Ccxt:
    """What all have in common."""

    proves_absence = True
    page = PAGE

    def __init__(self, name: str, client: Any, weight: Weight, clock: Clock) -> None:
        self.name = name
        self.pages = 0
        self.refused: Counter[str] = Counter()
        self._client = client
        self._clock = clock
        self._weight = weight
        self._questions = Questions(weight, clock)
        self._ids: dict[str, str] = {}
        client.on_rest_response = self._on_answer

    def _on_answer(self, code: int, reason: str, url: str, method: str, headers: Any, body: str, *request: Any) -> str:
        self._questions.heard(code, headers)
        return body.strip()

    async def open(self) -> None:
        if self._client.has["fetchTime"]:
            samples = [await self._questions.ask(1, self._sample, {}, lambda sample: sample) for _ in range(SAMPLES)]
            if self._clock.agree(samples) is None:
                raise RestError("unreachable", "every answer about the time took too long")
        markets = await self._questions.ask(MARKETS_WEIGHT, self._markets, {}, _not_empty)
        self._ids = {name: markets[self._unified(name)]["id"] for name in map(self._plain, markets) if name}

    async def _sample(self, params: dict[str, Any]) -> Sample:
        before = self._clock.monotonic()
        answer = await self._client.fetch_time()
        after = self._clock.monotonic()
        if not isinstance(answer, int):
            raise BadFrame("broken values")
        return Sample(before, after, answer)

    async def _markets(self, params: dict[str, Any]) -> Any:
        return await self._client.load_markets()

    def _plain(self, unified: str) -> str:
        """The bot's name of a ccxt symbol; "" for kinds of market that are not ours."""
        return "" if ":" in unified else unified

    def _unified(self, symbol: str) -> str:
        return symbol

    def check(self, symbols: Iterable[str], timeframe: str) -> None:
        there = [name for name in TIMEFRAMES if name in self._client.timeframes]
        if timeframe not in there:
            raise Unknown(f"{self.name} has no candles of {timeframe!r} that we keep: there are {', '.join(there)}")
        for symbol in symbols:
            if symbol not in self._ids:
                raise Unknown(f"{self.name} does not list {symbol}{nearest(symbol, self._ids)}")

    async def close(self) -> None:
        await self._client.close()


class _Binance(_Ccxt):
    async def candles(self, symbol: str, timeframe: str, start_ms: int, stop_ms: int) -> list[Candle]:
        codec = Codec((symbol,), timeframe)
        params = {
            "symbol": self._ids[symbol],
            "interval": timeframe,
            "startTime": max(start_ms, 0),
            "endTime": stop_ms - 1,
            "limit": PAGE,
        }
        found, refused = await self._questions.ask(
            2, self._client.public_get_klines, params, lambda rows: codec.decode_klines(symbol, rows)
        )
        return _counted(self, found, refused)


class _Bybit(_Ccxt):
    def __init__(self, name: str, client: Any, weight: Weight, clock: Clock, category: str) -> None:
        super().__init__(name, client, weight, clock)
        self._category = category

    def _on_answer(self, code: int, reason: str, url: str, method: str, headers: Any, body: str, *request: Any) -> str:
        if code == 403:
            self._weight.ban(FORBIDDEN_S)
        return super()._on_answer(code, reason, url, method, headers, body)

    def _plain(self, unified: str) -> str:
        if self._category == "spot":
            return super()._plain(unified)
        pair, _, settled = unified.partition(":")
        return pair if settled == pair.partition("/")[2] else ""  # no dated futures: those end in -250328

    def _unified(self, symbol: str) -> str:
        return symbol if self._category == "spot" else f"{symbol}:{symbol.partition('/')[2]}"

    async def candles(self, symbol: str, timeframe: str, start_ms: int, stop_ms: int) -> list[Candle]:
        params = {
            "category": self._category,
            "symbol": self._ids[symbol],
            "interval": self._client.timeframes[timeframe],
            "start": max(start_ms, 0),
            "end": stop_ms - 1,
            "limit": PAGE,
        }
        step = TIMEFRAMES[timeframe]
        found, refused = await self._questions.ask(
            1, self._client.public_get_v5_market_kline, params, lambda answer: decode_answer(symbol, answer, step)
        )
        return _counted(self, found, refused)


class _Any(_Ccxt):
    """Pages and limits as ccxt has them; an exchange that looks back only so far answers emptily, or with newer ones."""

    proves_absence = False

    def __init__(self, name: str, client: Any, weight: Weight, clock: Clock) -> None:
        super().__init__(name, client, weight, clock)
        spot = (client.features or {}).get("spot") or {}
        self.page = (spot.get("fetchOHLCV") or {}).get("limit") or PAGE_UNKNOWN

    async def candles(self, symbol: str, timeframe: str, start_ms: int, stop_ms: int) -> list[Candle]:
        async def asked(params: dict[str, Any]) -> Any:
            return await self._client.fetch_ohlcv(symbol, timeframe, max(start_ms, 0), self.page, params)

        step = TIMEFRAMES[timeframe]
        found, refused = await self._questions.ask(
            1, asked, {"until": stop_ms - 1}, lambda rows: decode_rows(symbol, rows, step)
        )
        return _counted(self, found, refused)


def venue_of(name: str, url: str | None, clock: Clock) -> Venue:
    """The exchange of this name, at its own address or at `url`. Raises Unknown."""
    import ccxt.async_support

    timeout = {"timeout": max(TIMEOUT_MS / clock.speed, 1_000)}
    if name == "binance":
        spot = {"fetchMarkets": {"types": ["spot"]}, "fetchMargins": False, "fetchCurrencies": False}
        client = ccxt.async_support.binance({"enableRateLimit": False, "options": spot, **timeout})
        if url:
            client.urls["api"]["public"] = f"{url.rstrip('/')}/api/v3"
        return _Binance(name, client, Weight(int(BINANCE_WEIGHT * WEIGHT_SHARE), clock), clock)
    if name in ("bybit", "bybit-linear"):
        category = name.partition("-")[2] or "spot"
        options = {"defaultType": "spot", "fetchMarkets": {"types": [category]}}
        client = ccxt.async_support.bybit({"enableRateLimit": False, "options": options, **timeout})
        client.has["fetchCurrencies"] = False
        if url:
            client.urls["api"] = dict.fromkeys(client.urls["api"], url.rstrip("/"))
        weight = Weight(int(BYBIT_REQUESTS * BYBIT_SHARE), clock, BYBIT_WINDOW_S)
        return _Bybit(name, client, weight, clock, category)
    if name not in ccxt.async_support.exchanges:
        raise Unknown(f"there is no exchange {name!r}{nearest(name, (*ccxt.async_support.exchanges, 'bybit-linear'))}")
    if url:
        raise Unknown(f"another address can be given for binance and bybit, not for {name}: leave --url out")
    client = getattr(ccxt.async_support, name)({"timeout": TIMEOUT_MS})
    if not client.has["fetchOHLCV"]:
        raise Unknown(f"{name} has no candles: fetch them from another exchange")
    return _Any(name, client, Weight(NO_LIMIT, clock), clock)


def nearest(name: str, there: Iterable[str]) -> str:
    """The end of a sentence: which name may have been meant."""
    found = difflib.get_close_matches(name, list(there), 1, 0.5)
    return f": did you mean {found[0]}?" if found else ""


def _counted(venue: _Ccxt, found: list[Candle], refused: list[BadFrame]) -> list[Candle]:
    venue.pages += 1
    venue.refused.update(bad.reason for bad in refused)
    return found


def _not_empty(markets: Any) -> dict[str, Any]:
    if not isinstance(markets, dict) or not markets:
        raise BadFrame("broken JSON")
    return markets
