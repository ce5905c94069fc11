"""The feed against a real server: what it hands on, and what it does with frames nobody should send."""

import asyncio
import json

import pytest

from bot.core.market import MINUTE_MS
from tests.edge.streaming import Peer, feeding, kline, quote, steady
from tests.making import COINS, START_MS

BTC, ETH, SOL = COINS


async def test_candles_quotes_and_prices_reach_the_sink() -> None:
    """One connection, one SUBSCRIBE for everything, and what comes is handed on."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.quote(ETH, 99.0)
        await peer.kline(BTC, 0, x=False, c="100.2")
        await peer.kline(BTC, 0)
        await steady(peer)

    async with feeding(script) as scene:
        await scene.until(lambda: scene.candles and scene.quotes and scene.prices)
        assert [(one.symbol, one.open_ms, one.close) for one in scene.candles] == [(BTC, START_MS, 100.5)]
        assert (scene.quotes[0].symbol, scene.quotes[0].bid) == (ETH, 99.0)
        assert (scene.prices[0].symbol, scene.prices[0].price) == (BTC, 100.2)
        assert scene.feed.connected
        assert scene.feed.connections == scene.feed.attempts == 1
        assert scene.feed.last_data_ms > 0
        assert scene.feed.frames["Candle"] == 1
        assert scene.feed.frames["Ack"] == 1
    (peer,) = scene.peers
    assert len(peer.asked) == 1
    assert sorted(peer.streams) == sorted(
        f"{name}@{kind}" for name in ("btcusdt", "ethusdt", "solusdt") for kind in ("kline_1m", "bookTicker")
    )
    assert not scene.holes
    assert not scene.alerts


async def test_few_messages_are_sent_however_often_it_reconnects() -> None:
    """Fault F6: one SUBSCRIBE a connection, never more than 2 control messages a second on any."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.kline()
        await asyncio.sleep(0.02)

    async with feeding(script) as scene:
        await scene.until(lambda: len(scene.peers) >= 4)
    assert all(len(peer.asked) <= 1 for peer in scene.peers)


async def test_a_close_for_too_many_requests_is_named() -> None:
    """Fault F6: the server's 1008 is an episode of its own, and the feed comes back."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        if peer.number == 1:
            await peer.kline()
            await peer.socket.close(1008, "Too many requests")
        await steady(peer)

    async with feeding(script) as scene:
        await scene.until(lambda: scene.ended("F6"))
        assert scene.alerts[0][1].text == "closed with 1008 Too many requests"
        assert scene.feed.connected


async def test_a_refused_subscription_is_shown_and_tried_again() -> None:
    """An error reply is no ack: a person is told what the exchange said."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        if peer.number == 1:
            await peer.raw('{"code":2,"msg":"Invalid request: too many parameters","id":1}')
        await steady(peer)

    async with feeding(script) as scene:
        await scene.until(lambda: len(scene.peers) == 2 and scene.feed.connected)
        assert scene.alerts[0][1].fault == "F6"
        assert "too many parameters" in scene.alerts[0][1].text


async def test_a_symbol_that_never_sends_leaves_the_others_alone() -> None:
    """Fault F7: the subscription was acknowledged, two coins speak, the third is silent: no reconnect."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.chatter(symbols=(BTC, SOL))

    async with feeding(script) as scene:
        await scene.until(lambda: scene.clock.seconds() > 40)
        assert {one.symbol for one in scene.prices} == {BTC, SOL}
        assert scene.feed.connections == 1
        assert not scene.alerts


async def test_a_closing_frame_that_comes_twice_is_handed_on_twice() -> None:
    """Fault F8: duplicates are the core's to drop, since two connections overlap anyway."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.kline()
        await peer.kline()
        await steady(peer)

    async with feeding(script) as scene:
        await scene.until(lambda: len(scene.candles) == 2)
        assert scene.candles[0] == scene.candles[1]


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        (json.dumps(kline(BTC, 0, t=START_MS // 1000)), "F18"),
        (json.dumps(kline(BTC, 0, t=START_MS + 1)), "F18"),
        ("{broken", "F21"),
        (b"\x00\xff binary", "F21"),
        (json.dumps(kline("DOGE/USDT", 0)), "F23"),
        (json.dumps(kline(BTC, 0, i="5m")), "F23"),
    ],
)
async def test_three_doubtful_frames_within_a_minute_end_the_connection(frame: str | bytes, fault: str) -> None:
    """Faults F18, F21, F23: two are dropped and counted, the third makes the feed reconnect."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.kline()
        if peer.number == 1:
            for _ in range(2):
                await peer.raw(frame)
            await peer.chatter(seconds=0.1)
            await peer.raw(frame)
        await steady(peer)

    async with feeding(script) as scene:
        await scene.until(lambda: scene.prices)
        assert scene.feed.connections == 1
        await scene.until(lambda: len(scene.peers) == 2 and scene.feed.connected)
        assert [one.fault for _, one in scene.alerts] == ["F18"]
        assert sum(count for kind, count in scene.feed.frames.items() if kind.startswith("bad: ")) == 3
        assert not scene.refusals


async def test_doubtful_frames_far_apart_are_only_counted() -> None:
    """Fault F18: three in more than 60 s are no reason to reconnect."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        for _ in range(4):
            await peer.raw("{broken")
            await peer.chatter(seconds=0.2)
        await steady(peer)

    async with feeding(script, speed=200.0) as scene:  # 40 s between two
        await scene.until(lambda: scene.feed.frames["bad: broken JSON"] == 4)
        assert scene.feed.connections == 1


async def test_insane_values_are_refused_to_the_sink_and_keep_the_connection() -> None:
    """Fault F19: every entry of this coin stops, nothing is computed, the others are untouched."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        for minute, price in enumerate(("NaN", "0", "-1", "inf", "1e308", "", None)):
            await peer.kline(BTC, minute, c=price)
            await peer.kline(ETH, minute)
            await peer.chatter(seconds=0.03, symbols=(ETH,))
        await steady(peer)

    async with feeding(script) as scene:
        await scene.until(lambda: len(scene.candles) == 7)
        assert {one.symbol for one in scene.candles} == {ETH}
        assert {symbol for symbol, _ in scene.refusals} == {BTC}
        assert {reason for _, reason in scene.refusals} == {
            "NaN price",
            "zero or negative price",
            "infinite price",
            "broken values",
        }
        assert scene.feed.connections == 1


async def test_a_stream_of_insane_frames_is_told_once_a_second() -> None:
    """Fault F19 in a flood: the refusals themselves are bounded."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        for _ in range(500):
            await peer.raw(json.dumps(quote(BTC, -5.0)))
        await steady(peer)

    async with feeding(script, speed=1.0) as scene:
        await scene.until(lambda: scene.feed.frames["bad: impossible quote"] == 500)
        assert len(scene.refusals) <= 3


async def test_unknown_events_are_counted_and_unknown_fields_ignored() -> None:
    """Fault F21: neither is an error."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.event("btcusdt@trade", {"e": "trade", "s": "BTCUSDT", "p": "1"})
        await peer.kline(BTC, 0, new="field")
        await steady(peer)

    async with feeding(script) as scene:
        await scene.until(lambda: scene.candles)
        assert scene.feed.frames["Unknown"] == 1
        assert not scene.alerts


async def test_a_frame_of_more_than_a_mebibyte_ends_the_connection() -> None:
    """Fault F21: it is not read to its end."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        if peer.number == 1:
            await peer.kline()
            await peer.raw("x" * (1_048_576 + 1))
        await steady(peer)

    async with feeding(script) as scene:
        await scene.until(lambda: len(scene.peers) == 2 and scene.feed.connected)
        assert scene.began("F21")
        assert len(scene.holes) == 1


async def test_in_a_flood_no_closing_frame_is_lost_and_partials_overwrite_each_other() -> None:
    """Fault F22: thousands of partials around every close; of each symbol the newest is handed on in the end."""
    partials, minutes = 2_000, 10

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        for minute in range(minutes):
            for number in range(partials):
                await peer.quote(COINS[number % 3], bid=100.0 + number)
                await peer.kline(COINS[number % 3], minute, x=False, h="1e9", c=str(100 + number))
            await peer.kline(BTC, minute)
        await steady(peer)

    async with feeding(script, silence_s=600.0) as scene:
        await scene.until(lambda: len(scene.candles) == minutes)
        assert [one.open_ms for one in scene.candles] == [START_MS + MINUTE_MS * at for at in range(minutes)]
        assert scene.feed.frames["Quote"] == partials * minutes
        await scene.until(lambda: scene.quotes and scene.quotes[-1].bid >= 100.0 + partials - 3)
        assert len(scene.quotes) + len(scene.prices) + scene.feed.overwritten >= 2 * partials * minutes
        assert scene.feed.overwritten > partials * minutes / 2
        assert scene.feed.connections == 1


async def test_a_price_from_before_a_close_is_not_handed_on_after_it() -> None:
    """What is held back for a turn keeps its place before the candle it led to."""
    order: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        frames = [kline(BTC, 0, x=False, c="100.1"), kline(BTC, 0)]
        await asyncio.sleep(0.02)
        for frame in frames:
            await peer.raw(json.dumps(frame))
        await steady(peer)

    async with feeding(script) as scene:
        scene.on_candle = lambda candle: order.extend(str(one.price) for one in scene.prices)
        await scene.until(lambda: scene.candles)
        assert order == ["100.1"]


async def test_a_bug_in_the_sink_ends_the_feed() -> None:
    """Invariant I24: our own mistakes are never swallowed."""

    def fail(candle: object) -> None:
        raise ZeroDivisionError

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await asyncio.sleep(0.02)
        await peer.kline()

    with pytest.raises(ExceptionGroup) as caught:
        async with feeding(script) as scene:
            scene.on_candle = fail
            await asyncio.sleep(0.2)
    assert caught.group_contains(ZeroDivisionError)
