"""REST through ccxt: the exchange's time, rules, candles and touch. Reads only; there is no signer.

Times   candles whose close is not safely before the server's time are still running and are left out (fault F16).
Pages   1,000 candles each; whatever comes back, in whatever order, overlap and number, what is still missing is asked
        for again, so that the set in the end is that of one perfect answer (F17).
Limits  a share of the exchange's weight; after 429 or 418 nothing is sent before Retry-After ends (A1, A2). ccxt's own
        throttler follows the wall clock (T1) and is off. Its implicit calls load no markets.
Errors  RestError, rebuilt without URL and headers (S1); NotListed for pairs the exchange does not have.
"""

import asyncio
import json
from collections import Counter
from typing import Any

from bot.config import Exchange, Feed
from bot.core.market import Candle, Instrument, compact
from bot.edge.clock import SAMPLES, Clock, Sample
from bot.edge.questions import Questions, RestError
from bot.edge.weight import Weight
from bot.exchanges.binance import BadFrame, Codec, decode_instruments

__all__ = ["Rest", "RestError"]

PAGE = 1_000
WEIGHT_A_MINUTE = 6_000
KLINES_WEIGHT, TIME_WEIGHT, INFO_WEIGHT, TOUCH_WEIGHT = 2, 1, 20, 2
AT_ONCE = 8
TIMEOUT_MS, TIMEOUT_WALL_MIN_MS = 10_000, 1_000
SKEW_MS = 250  # how far our idea of the server's time may be off before that is an alert of its own (T2)
LEAD_CANDLES = 10  # an answer that begins too late is asked again from this much earlier
NAMED_MAX = 400  # pairs that fit into one URL


class Rest:
    """`refused` counts rows of candles that were not sane, by reason."""

    def __init__(self, codec: Codec, exchange: Exchange, feed: Feed, clock: Clock) -> None:
        self.refused: Counter[str] = Counter()
        self._codec = codec
        self._hourly = Codec(codec.symbols, "1h")
        self._clock = clock
        self._url = exchange.rest_url.rstrip("/")
        self._questions = Questions(Weight(int(WEIGHT_A_MINUTE * feed.rest_weight_share), clock), clock)
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._made: Any = None

    @property
    def _client(self) -> Any:
        """ccxt's client, made at the first call: importing it takes a second."""
        if self._made is None:
            import ccxt.async_support

            timeout_ms = max(TIMEOUT_MS / self._clock.speed, TIMEOUT_WALL_MIN_MS)
            self._made = ccxt.async_support.binance({"enableRateLimit": False, "timeout": timeout_ms})
            self._made.urls["api"]["public"] = f"{self._url}/api/v3"
            self._made.on_rest_response = self._on_answer
        return self._made

    def _on_answer(self, code: int, reason: str, url: str, method: str, headers: Any, body: str, *request: Any) -> str:
        """ccxt's hook for every answer, called before it judges the status: here the limits hear of it."""
        self._questions.heard(code, headers)
        return body.strip()

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()

    async def sync_clock(self) -> float:
        """Agrees the clock with the server by five samples; the move in ms. RestError when none can be trusted (T6)."""
        samples = [
            await self._questions.ask(TIME_WEIGHT, self._sample, {}, lambda sample: sample) for _ in range(SAMPLES)
        ]
        move = self._clock.agree(samples)
        if move is None:
            raise RestError("unreachable", "every answer about the time took too long")
        return move

    async def _sample(self, params: dict[str, Any]) -> Sample:
        before = self._clock.monotonic()
        answer = await self._client.public_get_time(params)
        after = self._clock.monotonic()
        try:
            return Sample(before, after, int(answer["serverTime"]))
        except (TypeError, LookupError, ValueError) as why:
            raise BadFrame("broken values") from why

    async def instruments(self, symbols: tuple[str, ...]) -> tuple[Instrument, ...]:
        """The rules of these symbols, in their order. NotListed names what the exchange does not have."""
        named = {"symbols": json.dumps([compact(symbol) for symbol in symbols], separators=(",", ":"))}
        asked = named if len(symbols) <= NAMED_MAX else {}
        try:
            return await self._rules(asked, symbols)
        except RestError as why:
            if why.kind not in ("refused", "unlisted") or not asked:
                raise
            return await self._rules({}, symbols)  # one unknown name spoils the question: the whole list names it

    async def _rules(self, params: dict[str, Any], symbols: tuple[str, ...]) -> tuple[Instrument, ...]:
        return await self._questions.ask(
            INFO_WEIGHT,
            self._client.public_get_exchangeinfo,
            params,
            lambda answer: decode_instruments(answer, symbols),
        )

    async def book_mid(self, symbol: str) -> float:
        """The middle between best bid and ask."""
        return await self._questions.ask(
            TOUCH_WEIGHT, self._client.public_get_ticker_bookticker, {"symbol": compact(symbol)}, _mid
        )

    async def candles(self, symbols: tuple[str, ...], start_ms: int, stop_ms: int) -> list[Candle]:
        """The closed candles with opens from `start_ms` to `stop_ms`, both included, sorted by time and symbol.

        A pair the exchange does not list (any more) has none, and spoils nothing for the others (fault M2).
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                asked = [tasks.create_task(self._of_listed(symbol, start_ms, stop_ms)) for symbol in symbols]
        except BaseExceptionGroup as group:
            troubles, bugs = group.split(RestError)
            if bugs or not troubles:
                raise
            raise troubles.exceptions[0] from None
        return sorted((candle for one in asked for candle in one.result()), key=lambda one: (one.open_ms, one.symbol))

    async def hours(self, symbol: str, start_ms: int, stop_ms: int) -> list[Candle]:
        """The closed hours of one pair in the same way, whatever the timeframe; RestError also where it is not listed."""
        return await self._of_symbol(symbol, start_ms, stop_ms, self._hourly)

    async def _of_listed(self, symbol: str, start_ms: int, stop_ms: int) -> list[Candle]:
        try:
            return await self._of_symbol(symbol, start_ms, stop_ms, self._codec)
        except RestError as why:
            if why.kind != "unlisted":
                raise
            return []

    async def _of_symbol(self, symbol: str, start_ms: int, stop_ms: int, codec: Codec) -> list[Candle]:
        """Asks for windows of a page; of what a window's answer lacks, for that again; an empty answer is a hole."""
        step = codec.interval_ms
        known: dict[int, Candle] = {}
        missing = [(-(-start_ms // step) * step, min(stop_ms, self._newest_closed_ms(step)) // step * step)]
        while missing:
            first, last = missing.pop()
            if first > last:
                continue
            window_end = min(last, first + (PAGE - 1) * step)
            missing.append((window_end + step, last))
            for lead in (0, LEAD_CANDLES):
                async with self._gate:
                    page = await self._page(symbol, first - lead * step, window_end, codec)
                closed_ms = self._newest_closed_ms(step)
                fresh = {one.open_ms: one for one in page if start_ms <= one.open_ms <= min(stop_ms, closed_ms)}
                new = fresh.keys() - known.keys()
                known |= fresh
                if any(first <= open_ms <= window_end for open_ms in new):
                    missing += _gaps(first, window_end, step, known)
                    break
        return [known[open_ms] for open_ms in sorted(known)]

    def _newest_closed_ms(self, interval_ms: int) -> int:
        """No candle of this length that opened later has surely closed."""
        return self._clock.now_ms() - SKEW_MS - interval_ms

    async def _page(self, symbol: str, start_ms: int, stop_ms: int, codec: Codec) -> list[Candle]:
        params = {
            "symbol": compact(symbol),
            "interval": codec.timeframe,
            "startTime": start_ms,
            "endTime": stop_ms,
            "limit": PAGE,
        }
        candles, refused = await self._questions.ask(
            KLINES_WEIGHT,
            self._client.public_get_klines,
            params,
            lambda rows: codec.decode_klines(symbol, rows),
        )
        self.refused.update(bad.reason for bad in refused)
        return candles


def _gaps(first: int, last: int, step: int, known: dict[int, Candle]) -> list[tuple[int, int]]:
    """The runs of opens from `first` to `last` that are not known."""
    found: list[tuple[int, int]] = []
    begin: int | None = None
    for open_ms in range(first, last + step, step):
        if open_ms in known:
            if begin is not None:
                found.append((begin, open_ms - step))
            begin = None
        elif begin is None:
            begin = open_ms
    return found + ([(begin, last)] if begin is not None else [])


def _mid(answer: Any) -> float:
    try:
        bid, ask = float(answer["bidPrice"]), float(answer["askPrice"])
    except (TypeError, LookupError, ValueError) as why:
        raise BadFrame("broken values") from why
    if not 0 < bid <= ask < float("inf"):
        raise BadFrame("impossible quote")
    return (bid + ask) / 2
