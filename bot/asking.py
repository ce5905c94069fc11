"""What the daemon asks of REST: time and rules, the first history, past hours, stragglers, holes, a price, silent coins.

Whatever is asked for is asked again until it is answered, as often as the exchange allows (faults A1, A2); answers
come back as events. A coin the exchange does not list any more (fault M2) holds up nobody: it is told once.
"""

import asyncio
from collections.abc import Callable, Iterable

import numpy as np
from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from bot.config import BadConfiguration, Settings
from bot.core.commands import Fetch
from bot.core.engine import Engine
from bot.core.events import AnyEvent, CandleClosed, Confirmed, History
from bot.core.market import HOUR_MS, Candle, Instrument, Panel, gather
from bot.core.snapshot import Snapshot
from bot.edge.clock import Clock
from bot.edge.faults import Faults
from bot.edge.rest import Rest, RestError
from bot.exchanges.binance import NotListed

RETRY_S = 2.0
SKEW_MAX_MS = 250.0
ASK_SILENT_S = 60.0
HOURS, HOURS_ROUNDS = 1_000, 3  # one page; how often a coin is asked for that fails where others do not
HOPELESS = ("refused", "unlisted")


class Asking:
    """`post` takes what was answered."""

    def __init__(
        self,
        rest: Rest,
        engine: Engine,
        settings: Settings,
        clock: Clock,
        log: FilteringBoundLogger,
        faults: Faults,
        post: Callable[[AnyEvent], None],
    ) -> None:
        self._rest = rest
        self._engine = engine
        self._settings = settings
        self._symbols = engine.setup.symbols
        self._clock = clock
        self._log = log
        self._faults = faults
        self._post = post
        self._silent: set[str] = set()
        self._unlisted: set[str] = set()

    # -- the start

    async def rules(self, past: Snapshot | None) -> tuple[Instrument, ...]:
        """The exchange's rules, behind its time. BadConfiguration for a coin it does not list that is not held."""
        while True:
            try:
                await self._rest.sync_clock()
                return await self._rules(past)
            except RestError as why:
                self._log.warning("exchange.unreachable", why=str(why))
                await self._wait_after(why)

    async def _rules(self, past: Snapshot | None) -> tuple[Instrument, ...]:
        """What is held of a coin that is gone stays ours, by the rules it had."""
        try:
            return await self._rest.instruments(self._symbols)
        except NotListed as why:
            kept = {one.symbol: replace(one, status="BREAK") for one in _at_stake(past) if one.symbol in why.symbols}
            gone = [symbol for symbol in why.symbols if symbol not in kept]
            if gone:
                text = f"market.symbols: the exchange does not list {', '.join(gone)}"
                raise BadConfiguration([f"{text}: leave it out, and train the model without it"]) from None
            listed = await self._rest.instruments(tuple(one for one in self._symbols if one not in kept))
            self._unlist(kept)
            rules = {one.symbol: one for one in listed} | kept
            return tuple(rules[symbol] for symbol in self._symbols)

    async def first_history(self) -> Panel:
        """The window's candles up to the last one that has closed."""
        interval_ms, rows = self._engine.setup.interval_ms, self._engine.window.capacity
        while True:
            stop_ms = self._clock.now_ms() // interval_ms * interval_ms - interval_ms
            try:
                candles = await self._rest.candles(self._symbols, stop_ms - (rows - 1) * interval_ms, stop_ms)
            except RestError as why:
                self._log.warning("history.unreachable", why=str(why))
                await self._wait_after(why)
                continue
            history = gather(candles, self._symbols, interval_ms)
            if len(history):
                return history
            await self._clock.sleep(RETRY_S)

    async def hours(self) -> Panel:
        """The last hours that have closed. A coin that cannot be had while others can is left without, told once."""
        found: dict[str, list[Candle]] = {}
        failed: dict[str, RestError] = {}
        wanted, rounds = self._symbols, 0
        while wanted and rounds < HOURS_ROUNDS:
            if failed:
                await self._wait_after(max(failed.values(), key=lambda why: why.retry_after))
            stop_ms = self._clock.now_ms() // HOUR_MS * HOUR_MS - HOUR_MS
            first_ms = stop_ms - (HOURS - 1) * HOUR_MS
            answers = await asyncio.gather(*(self._hours_of(symbol, first_ms, stop_ms) for symbol in wanted))
            told = dict(zip(wanted, answers, strict=True))
            failed = {symbol: one for symbol, one in told.items() if isinstance(one, RestError)}
            found |= {symbol: one for symbol, one in told.items() if not isinstance(one, RestError)}
            rounds += bool(found)
            wanted = tuple(symbol for symbol, why in failed.items() if why.kind not in HOPELESS)
        lacking = [symbol for symbol in self._symbols if not found.get(symbol)]
        if lacking:
            text = "no past hours could be had of these: no volatility is forecast of them before enough have passed"
            self._log.warning("hours.lacking", text=text, symbols=", ".join(lacking))
        candles = [one for several in found.values() for one in several]
        return await asyncio.to_thread(gather, candles, self._symbols, HOUR_MS)  # the loop has slices to close

    async def _hours_of(self, symbol: str, start_ms: int, stop_ms: int) -> list[Candle] | RestError:
        try:
            return await self._rest.hours(symbol, start_ms, stop_ms)
        except RestError as why:
            return why

    async def _wait_after(self, why: RestError) -> None:
        """A little, or as long as the exchange said (faults A1, A2)."""
        await self._clock.sleep(max(RETRY_S, why.retry_after or 0.0))

    # -- what is missing

    async def stragglers(self, wanted: Fetch) -> None:
        """What comes back are candles like any other."""
        try:
            candles = await self._rest.candles(wanted.symbols, wanted.start_ms, wanted.stop_ms)
        except RestError as why:
            self._faults.begin("F11", f"REST did not answer for stragglers: {why}")
            return
        self._faults.end("F11")
        self._hand_on(candles)

    async def hole(self, start_ms: int) -> None:
        """The stream was away since `start_ms`: the window is filled, the slice that is waited for completed."""
        interval_ms = self._engine.setup.interval_ms
        start_ms = max(start_ms // interval_ms * interval_ms - interval_ms, self._engine.window.oldest_ms)
        while True:
            try:
                candles = await self._rest.candles(self._symbols, start_ms, self._clock.now_ms() - interval_ms)
                break
            except RestError as why:
                self._log.warning("hole.unreachable", why=str(why))
                await self._wait_after(why)
        self._faults.end("F11")
        waited_ms = self._engine.slices.next_ms
        past = gather((one for one in candles if one.open_ms < waited_ms), self._symbols, interval_ms)
        if len(past):
            self._post(History(past))
        self._hand_on(one for one in candles if one.open_ms >= waited_ms)

    def _hand_on(self, candles: Iterable[Candle]) -> None:
        for candle in candles:
            self._post(CandleClosed(candle, "rest"))

    async def price(self, symbol: str) -> None:
        """The book's price of a coin whose candle jumped (fault F20)."""
        try:
            price = await self._rest.book_mid(symbol)
        except RestError as why:
            self._faults.count("F20", f"the book of {symbol} could not be had: {why}", symbol)
            return
        self._post(Confirmed(symbol, price))

    # -- again and again

    async def keep_time(self) -> None:
        """Measures the server's time for ever (faults T1, T2)."""
        while True:
            await self._clock.sleep(self._settings.feed.resync_every_s)
            try:
                move = await self._rest.sync_clock()
                if abs(move) > SKEW_MAX_MS * self._clock.speed:
                    self._faults.count("T2", f"the clock was {move:.0f} ms away from the exchange's")
            except RestError as why:
                self._faults.count("T6", f"the server's time could not be had: {why}")

    async def ask_for_the_silent(self) -> None:
        """Once a minute, what the exchange says of coins that send nothing (faults F7, M2); one alert a coin."""
        while True:
            await self._clock.sleep(ASK_SILENT_S)
            silent = {self._symbols[at] for at in np.nonzero(self._engine.slices.silent())[0]}
            self._forget_but(silent)
            silent -= self._unlisted
            if not silent or len(silent) > self._settings.risk.absent_max * len(self._symbols):
                continue  # when many are away it is the feed or the exchange, and has its own alert
            try:
                for rule in await self._rest.instruments(tuple(sorted(silent))):
                    self._faults.begin("F7", f"no candles; the exchange says {rule.status}", rule.symbol)
                    self._silent.add(rule.symbol)
            except NotListed as why:
                self._unlist(why.symbols)  # what it says of the others is heard next time
            except RestError as why:
                self._log.info("silent.unreachable", why=str(why))

    def _forget_but(self, silent: set[str]) -> None:
        """Ends the episodes of coins that send again."""
        for symbol in self._silent - silent:
            self._faults.end("F7", symbol)
        self._silent &= silent
        there = {self._symbols[at] for at in np.nonzero(np.isfinite(self._engine.window.close[-1]))[0]}
        for symbol in self._unlisted & there:
            self._faults.end("M2", symbol)
        self._unlisted -= there

    def _unlist(self, symbols: Iterable[str]) -> None:
        """The bot goes on without these: no candle, so no entry; what is held of them is kept."""
        for symbol in symbols:
            self._faults.end("F7", symbol)
            self._silent.discard(symbol)
            self._faults.begin("M2", "the exchange does not list it any more: left alone, what is held is kept", symbol)
            self._unlisted.add(symbol)


def _at_stake(past: Snapshot | None) -> tuple[Instrument, ...]:
    """The rules of what was held or ordered."""
    if past is None:
        return ()
    at_stake = {held.symbol for held in past.holdings} | {order.symbol for order in past.orders if not order.final}
    return tuple(one for one in past.instruments if one.symbol in at_stake)
