"""What frames say, on its way to the sink.

A closing candle is handed on at once, every one of them. Of quotes and last prices a turn of the event loop keeps only
the newest of each symbol: in a flood the loop's turns grow longer, more partials overwrite each other, and neither
memory nor the time spent on them grows (fault F22). What is not read yet waits in TCP's bounded buffers.
"""

import asyncio
from collections import Counter
from typing import Protocol

from bot.core.market import Candle, LastPrice, Quote
from bot.edge.clock import Clock
from bot.exchanges.binance import BadFrame, Message

REFUSED_EVERY_S = 1.0


class Sink(Protocol):
    """Where the findings go. Plain calls on the event loop."""

    def candle(self, candle: Candle, source: str) -> None: ...

    def refused(self, symbol: str, reason: str) -> None:
        """What came of this symbol was not sane (fault F19): nothing was computed from it."""
        ...

    def quote(self, quote: Quote) -> None: ...

    def last_price(self, last: LastPrice) -> None: ...

    def hole(self, start_ms: int) -> None:
        """Data came again after there was none since `start_ms`: candles in between are to be asked for."""
        ...


class Intake:
    """`frames` counts what came by kind, and refused frames as "bad: reason"."""

    def __init__(self, sink: Sink, clock: Clock) -> None:
        self.frames: Counter[str] = Counter()
        self.overwritten = 0
        self.last_data_ms = 0
        self._sink = sink
        self._clock = clock
        self._quotes: dict[str, Quote] = {}
        self._prices: dict[str, LastPrice] = {}
        self._partials = asyncio.Event()
        self._refused_at: dict[str, float] = {}

    async def run(self) -> None:
        """Hands on the newest partials, turn by turn, for ever."""
        while True:
            await self._partials.wait()
            self._partials.clear()
            quotes, self._quotes = self._quotes, {}
            prices, self._prices = self._prices, {}
            for quote in quotes.values():
                self._sink.quote(quote)
            for price in prices.values():
                self._sink.last_price(price)

    def count(self, message: Message) -> None:
        """Counts a message that carries no market data."""
        self.frames[type(message).__name__] += 1

    def take(self, message: Candle | LastPrice | Quote) -> None:
        """One piece of market data."""
        kind = type(message)
        self.frames[kind.__name__] += 1
        self.last_data_ms = self._clock.now_ms()
        if isinstance(message, Candle):
            before = self._prices.pop(message.symbol, None)
            if before:
                self._sink.last_price(before)  # not after the candle it led to
            self._sink.candle(message, "stream")
        elif isinstance(message, Quote):
            self.overwritten += message.symbol in self._quotes
            self._quotes[message.symbol] = message
            self._partials.set()
        else:
            self.overwritten += message.symbol in self._prices
            self._prices[message.symbol] = message
            self._partials.set()

    def refuse(self, bad: BadFrame) -> None:
        """One bad frame. An insane value is told to the sink, of a symbol once a second at most."""
        self.frames[f"bad: {bad.reason}"] += 1
        if not bad.symbol or bad.fault != "F19":
            return
        now = self._clock.seconds()
        if now - self._refused_at.get(bad.symbol, -REFUSED_EVERY_S) >= REFUSED_EVERY_S:
            self._refused_at[bad.symbol] = now
            self._sink.refused(bad.symbol, bad.reason)
