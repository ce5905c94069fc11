"""The second connection: before the exchange's 24-hour cut, and when the server says that it is going."""

import asyncio
import contextlib
import itertools

from websockets.exceptions import ConnectionClosed

from bot.core.market import MINUTE_MS
from tests.edge.streaming import Peer, feeding, forever, steady
from tests.making import COINS, START_MS

BTC = COINS[0]
FAREWELL = '{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}'


async def test_a_second_connection_is_there_before_the_cut_and_no_candle_is_lost() -> None:
    """Fault F3: opened at its time, the first one closed when both deliver; every minute's close arrived."""
    live: list[Peer] = []

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        live.append(peer)
        await forever()

    async def exchange() -> None:
        """Closes a minute every few milliseconds and tells every connection that is open."""
        for minute in itertools.count():
            for peer in live:
                with contextlib.suppress(ConnectionClosed):
                    await peer.kline(BTC, minute)
                    sent.add(minute)
            await asyncio.sleep(0.005)

    sent: set[int] = set()
    async with feeding(script, rotate_after_s=60.0, rotate_spread_s=10.0) as scene:
        playing = asyncio.create_task(exchange())
        await scene.until(lambda: len(scene.peers) >= 3 and not scene.peers[1].open)
        playing.cancel()
        first, second, third = scene.peers[:3]
        assert 50 <= second.opened_at - first.opened_at <= 75
        assert 50 <= third.opened_at - second.opened_at <= 75
        assert not first.open
        assert third.open
        assert not scene.holes
        await asyncio.sleep(0.05)
        assert {(one.open_ms - START_MS) // MINUTE_MS for one in scene.candles} == sent
        assert len(scene.began("F3")) <= 2


async def test_after_a_farewell_a_new_connection_is_there_within_a_second() -> None:
    """Fault F4: the old one keeps delivering until both do, then it is closed from our side."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        if peer.number == 1:
            await peer.chatter(seconds=0.1)
            await peer.raw(FAREWELL)
            farewells.append(scene.clock.seconds())
        await steady(peer)

    farewells: list[float] = []
    async with feeding(script) as scene:
        await scene.until(lambda: len(scene.peers) == 2 and not scene.peers[0].open)
        assert scene.peers[1].opened_at - farewells[0] <= 1.0
        assert not scene.holes
        await scene.until(lambda: scene.ended("F4"))
        assert scene.feed.connections == 2


async def test_a_server_that_is_gone_with_its_farewell_leaves_a_hole() -> None:
    """Fault F4 with no notice at all: the sink is told since when data is missing."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        if peer.number == 1:
            await peer.kline()
            await peer.raw(FAREWELL)
            return
        await steady(peer)

    async with feeding(script) as scene:
        await scene.until(lambda: scene.feed.connected and scene.holes)
        assert len(scene.holes) == 1
        assert len(scene.peers) == 2


async def test_the_old_connection_serves_until_a_successor_delivers() -> None:
    """Fault F3 while new connections die at once: nothing is lost, and it is tried again with patience."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        if 1 < peer.number < 4:
            return
        await steady(peer)

    async with feeding(script, rotate_after_s=30.0, rotate_spread_s=0.0) as scene:
        await scene.until(lambda: len(scene.peers) == 4 and not scene.peers[0].open)
        assert not scene.holes
        assert scene.peers[3].open


async def test_what_the_old_server_sent_before_it_closed_is_handed_on() -> None:
    """Closing frames in flight on the old connection when we say goodbye are not thrown away."""
    sent: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        if peer.number == 1:
            await peer.raw(FAREWELL)
            for minute in itertools.count():
                await peer.kline(BTC, minute)
                sent.append(minute)
                await asyncio.sleep(0)
        await steady(peer)

    async with feeding(script) as scene:
        await scene.until(lambda: len(scene.peers) == 2 and not scene.peers[0].open)
        await asyncio.sleep(0.05)
        assert len(sent) > 10
        assert {(one.open_ms - START_MS) // MINUTE_MS for one in scene.candles} == set(sent)
