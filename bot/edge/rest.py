"""REST through ccxt: the exchange's time, rules, candles and touch. Reads only; there is no signer.

Times   candles whose close is not before the server's time are still running and are dropped (fault F16).
Pages   1,000 candles each, asked from the newest known open on; whatever comes back, in whatever order and
        overlap, ends as one sorted set (F17).
Limits  half of the exchange's weight at most, counted in its own fixed minutes of exchange time; after 429 or 418
        nothing is sent before Retry-After ends (A1, A2). ccxt's own throttler follows the wall clock (T1) and is off.
Errors  RestError, rebuilt without URL and headers (S1).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from bot.config import Exchange, Feed
from bot.core.market import Candle, Instrument, compact
from bot.edge.clock import SAMPLES, Clock, Sample
from bot.exchanges.binance import BadFrame, Codec, decode_instruments

PAGE = 1_000
WEIGHT_A_MINUTE = 6_000
KLINES_WEIGHT, TIME_WEIGHT, INFO_WEIGHT, TOUCH_WEIGHT = 2, 1, 20, 2
TRIES = 3
AT_ONCE = 8
TIMEOUT_MS = 10_000
DEFAULT_BAN_S = 60.0


class RestError(Exception):
    """The exchange did not answer usefully. `kind` is "unreachable", "limited" or "refused"."""

    exit_code = 74

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Rest:
    def __init__(self, codec: Codec, exchange: Exchange, feed: Feed, clock: Clock) -> None:
        self._codec = codec
        self._clock = clock
        self._url = exchange.rest_url.rstrip("/")
        self._weight_max = int(WEIGHT_A_MINUTE * feed.rest_weight_share)
        self._minute = 0
        self._used = 0
        self._banned_until = 0.0
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._client: Any = None

    def _exchange(self) -> Any:
        """ccxt's client, made at the first call: importing it takes a second."""
        if self._client is None:
            import ccxt.async_support

            options = {"fetchMarkets": {"types": ["spot"]}, "fetchMargins": False, "fetchCurrencies": False}
            settings = {"enableRateLimit": False, "timeout": TIMEOUT_MS, "options": options}
            self._client = ccxt.async_support.binance(settings)
            for kind in ("public", "private"):
                self._client.urls["api"][kind] = f"{self._url}/api/v3"
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def sync_clock(self) -> float:
        """Agrees the clock with the server by five samples; the move in ms. RestError when none could be trusted."""
        samples = []
        for _ in range(SAMPLES):
            before = self._clock.monotonic()
            answer = await self._ask(self._exchange().public_get_time, {}, TIME_WEIGHT)
            after = self._clock.monotonic()
            try:
                samples.append(Sample(before, after, int(answer["serverTime"])))
            except (TypeError, KeyError, ValueError) as why:
                raise RestError("refused", "the server's time is no time") from why
        move = self._clock.agree(samples)
        if move is None:
            raise RestError("unreachable", "every answer about the time took too long")
        return move

    async def instruments(self, symbols: tuple[str, ...]) -> tuple[Instrument, ...]:
        """The rules of these symbols. BadFrame for a broken answer, KeyError naming what is not listed."""
        answer = await self._ask(self._exchange().public_get_exchangeinfo, {}, INFO_WEIGHT)
        try:
            return decode_instruments(answer, symbols)
        except BadFrame as why:
            raise RestError("refused", why.reason) from why

    async def book_mid(self, symbol: str) -> float:
        """The middle between best bid and ask."""
        answer = await self._ask(
            self._exchange().public_get_ticker_bookticker, {"symbol": compact(symbol)}, TOUCH_WEIGHT
        )
        try:
            mid = (float(answer["bidPrice"]) + float(answer["askPrice"])) / 2
        except (TypeError, KeyError, ValueError) as why:
            raise RestError("refused", "the touch is no touch") from why
        if not 0 < mid < float("inf"):
            raise RestError("refused", f"the touch of {symbol} is {mid}")
        return mid

    async def candles(self, symbols: tuple[str, ...], start_ms: int, stop_ms: int) -> list[Candle]:
        """The closed candles with opens from `start_ms` to `stop_ms`, both included, sorted by time and symbol."""
        found = await asyncio.gather(*(self._of_symbol(symbol, start_ms, stop_ms) for symbol in symbols))
        return sorted((candle for some in found for candle in some), key=lambda one: (one.open_ms, one.symbol))

    async def _of_symbol(self, symbol: str, start_ms: int, stop_ms: int) -> list[Candle]:
        interval_ms = self._codec.interval_ms
        kept: dict[int, Candle] = {}
        since_ms = start_ms
        while since_ms <= stop_ms:
            async with self._gate:
                page = await self._page(symbol, since_ms, stop_ms)
            closed_before = self._clock.now_ms() - interval_ms
            fresh = [one for one in page if since_ms <= one.open_ms <= min(stop_ms, closed_before)]
            kept |= {one.open_ms: one for one in fresh}
            if not fresh:
                break
            since_ms = max(one.open_ms for one in fresh) + interval_ms
        return [kept[open_ms] for open_ms in sorted(kept)]

    async def _page(self, symbol: str, start_ms: int, stop_ms: int) -> list[Candle]:
        params = {
            "symbol": compact(symbol),
            "interval": self._codec.timeframe,
            "startTime": start_ms,
            "endTime": stop_ms,
            "limit": PAGE,
        }
        rows = await self._ask(self._exchange().public_get_klines, params, KLINES_WEIGHT)
        try:
            return self._codec.decode_klines(symbol, rows)
        except BadFrame as why:
            raise RestError("refused", f"{symbol}: {why.reason}") from why

    async def _ask(self, call: Callable[[dict[str, Any]], Awaitable[Any]], params: dict[str, Any], weight: int) -> Any:
        """One GET within the limits, tried again a few times where that can help."""
        import ccxt.async_support as ccxt

        for attempt in range(1, TRIES + 1):
            await self._within_limits(weight)
            try:
                return await call(params)
            except ccxt.DDoSProtection as why:
                self._ban()
                raise RestError("limited", type(why).__name__) from None
            except (ccxt.OperationFailed, ccxt.ExchangeError) as why:
                kind = "unreachable" if isinstance(why, ccxt.OperationFailed) else "refused"
                if attempt == TRIES:
                    raise RestError(kind, type(why).__name__) from None
                await self._clock.sleep(attempt)
        raise AssertionError("unreachable")

    async def _within_limits(self, weight: int) -> None:
        """Waits for the end of a ban and for room in the present minute's weight."""
        while True:
            if (left := self._banned_until - self._clock.seconds()) > 0:
                await self._clock.sleep(left)
                continue
            minute = self._clock.now_ms() // 60_000
            if minute != self._minute:
                self._minute, self._used = minute, 0
            if self._used + weight <= self._weight_max:
                self._used += weight
                return
            await self._clock.sleep_until((minute + 1) * 60_000)

    def _ban(self) -> None:
        headers = self._client.last_response_headers or {}
        lowered = {str(name).lower(): value for name, value in headers.items()}
        try:
            seconds = float(lowered.get("retry-after", DEFAULT_BAN_S))
        except ValueError:
            seconds = DEFAULT_BAN_S
        self._banned_until = self._clock.seconds() + seconds
