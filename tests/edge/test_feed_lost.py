"""The feed against a server that falls silent, goes away, or is not there at all.

Seconds are exchange seconds. `ROOM_S` is what a busy machine may add.
"""

import asyncio
import datetime
import ipaddress
import random
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from bot.config import Exchange
from bot.config import Feed as Settings
from bot.edge.backoff import Backoff, Budget
from bot.edge.clock import Clock
from bot.edge.faults import Faults
from bot.edge.feed import Feed
from bot.exchanges import binance
from tests.edge.streaming import Peer, Scene, feeding, forever, listening, serving, steady
from tests.making import COINS

SPEED = 20.0
ROOM_S = 2.0


async def fall_silent(peer: Peer) -> None:
    """The first connection stops sending, TCP and pongs go on; the next ones are well."""
    await peer.subscribed()
    if peer.number == 1:
        await peer.kline()
        await forever()
    await steady(peer)


async def test_a_silent_socket_is_replaced_within_fifteen_seconds() -> None:
    """Fault F1: no data for 15 s, reconnected, and the sink is told since when data is missing."""
    async with feeding(fall_silent, speed=SPEED) as scene:
        await scene.until(lambda: scene.candles)
        heard_at, heard_ms = scene.clock.seconds(), scene.feed.last_data_ms
        await scene.until(lambda: scene.began("F1"))
        assert scene.began("F1")[0] - heard_at == pytest.approx(15, abs=ROOM_S)
        await scene.until(lambda: scene.feed.connected and scene.holes)
        assert scene.peers[1].opened_at - heard_at <= 16 + ROOM_S
        assert scene.holes == [pytest.approx(heard_ms, abs=200)]
        await scene.until(lambda: scene.ended("F1"))


async def test_data_of_one_coin_keeps_the_socket_alive() -> None:
    """Fault F1 is about the connection: a frame every 10 s, of any coin, is life."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.chatter(wall_s=10 / SPEED, symbols=(COINS[2],))

    async with feeding(script, speed=SPEED) as scene:
        await scene.until(lambda: scene.clock.seconds() > 45)
        assert scene.feed.connections == 1


async def test_acks_and_garbage_are_no_sign_of_life() -> None:
    """Fault F1: only data is data."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.kline()
        while True:
            await peer.raw('{"result":null,"id":1}')
            await peer.event("x", {"e": "news"})
            await asyncio.sleep(0.05)

    async with feeding(script, speed=SPEED) as scene:
        await scene.until(lambda: scene.began("F1"))
        assert scene.began("F1")


async def test_a_half_open_socket_is_noticed_by_our_own_ping() -> None:
    """Fault F2: nothing comes back, not even pongs; 10 s to the ping, 10 s for the pong."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        if peer.number == 1:
            await peer.kline()
            peer.socket.transport.pause_reading()  # what the client sends goes nowhere
            await forever()
        await steady(peer)

    async with feeding(script, speed=SPEED, silence_s=600.0) as scene:
        await scene.until(lambda: scene.candles)
        heard_at = scene.clock.seconds()
        await scene.until(lambda: scene.began("F2"))
        assert scene.began("F2")[0] - heard_at <= 20 + ROOM_S
        await scene.until(lambda: scene.feed.connected and scene.holes)


async def test_pings_that_are_answered_keep_a_quiet_socket() -> None:
    """Fault F2: pongs alone are enough for the ping's judgement."""
    async with feeding(fall_silent, speed=SPEED, silence_s=600.0) as scene:
        await scene.until(lambda: scene.clock.seconds() > 50)
        assert scene.feed.connections == 1


async def test_a_stall_of_our_own_loop_is_not_the_sockets_fault() -> None:
    """Nothing is heard while our loop stands still; what has arrived meanwhile is taken before anyone is blamed."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        while True:
            await peer.kline(x=False)
            for _ in range(5):  # the other side stood still as well, and needs its time to speak again
                await asyncio.sleep(0.03)

    async with feeding(script, speed=SPEED) as scene:
        for _ in range(2):
            await scene.until(lambda: scene.feed.connected)
            await asyncio.sleep(0.2)
            time.sleep(1.0)  # 20 s of exchange time in which neither side can run
        await asyncio.sleep(0.3)
        assert not scene.alerts
        assert scene.feed.connections == 1


async def test_after_a_minute_of_standing_still_the_socket_is_distrusted() -> None:
    """Fault T4: a suspended machine wakes with sockets that look open and are not."""
    shift = 0.0
    scene = Scene(Clock(20.0, monotonic=lambda: time.monotonic() + shift))
    async with serving(steady, scene) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with listening(url, scene):
            await scene.until(lambda: scene.feed.connected)
            shift = 600.0
            await scene.until(lambda: scene.began("T4"))
            await scene.until(lambda: scene.feed.connected and scene.holes)


async def test_a_reconnect_storm_stays_within_the_budget_and_never_gives_up() -> None:
    """Fault F5: accepted and closed at once, over and over: 20 attempts in 5 minutes at most, one episode."""

    async def script(peer: Peer) -> None:
        if peer.number > 45:
            await steady(peer)

    async with feeding(script, speed=600.0, backoff_max_s=5.0) as scene:
        await scene.until(lambda: len(scene.peers) >= 45)
        await scene.until(lambda: scene.feed.connected)
        times = [peer.opened_at for peer in scene.peers]
        # without a budget twenty attempts take under 100 s; the rest of the five minutes is room for a stalled machine
        assert all(later - earlier >= 240 for earlier, later in zip(times, times[20:], strict=False))
        assert scene.feed.attempts <= 20
        assert len(scene.began("F5")) == 1
        assert len(scene.holes) == 1


async def test_a_connection_that_flaps_is_one_episode() -> None:
    """Invariant I29: a frame between two losses ends nothing; a while of data does."""

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        await peer.kline()
        if peer.number > 5:
            await steady(peer)

    async with feeding(script, backoff_s=0.5, backoff_max_s=0.5) as scene:
        await scene.until(lambda: scene.ended("F5"))
        assert len(scene.began("F5")) == len(scene.ended("F5")) == 1
        assert len(scene.holes) == 5


async def test_an_exchange_that_is_not_there_is_asked_until_it_is() -> None:
    """Faults F5, F25: refused, then there; the time before the first data is a hole too."""
    scene = Scene(Clock(60.0))
    async with serving(steady, scene) as server:
        port = server.sockets[0].getsockname()[1]
    async with listening(f"ws://127.0.0.1:{port}", scene, backoff_max_s=1.0):
        await scene.until(lambda: scene.feed.connections >= 3)
        assert scene.began("F5")
        assert not scene.feed.connected
        async with serving(steady, scene, port=port):
            await scene.until(lambda: scene.feed.connected)
            assert len(scene.holes) == 1


async def test_a_server_that_accepts_and_says_nothing_is_given_up() -> None:
    """Fault F5: TCP opens, the upgrade is never answered: 10 s, then the next attempt."""
    asked: list[asyncio.StreamWriter] = []

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer)

    scene = Scene(Clock(60.0))
    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    try:
        async with listening(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", scene):
            await scene.until(lambda: len(asked) == 2)
            assert scene.alerts[0][1].text == "not open within 10 s"
    finally:
        for writer in asked:
            writer.close()
        server.close()


async def test_a_name_that_does_not_resolve_is_tried_again() -> None:
    """Fault F26: DNS fails, the feed goes on asking."""
    scene = Scene(Clock(60.0))
    async with listening("ws://no-such-host.invalid", scene, backoff_max_s=1.0):
        await scene.until(lambda: scene.feed.connections >= 2)
        assert scene.began("F26")
        assert len(scene.alerts) == 1


def certificate(folder: Path, host: str, days: int) -> ssl.SSLContext:
    """A server's context with a certificate nobody vouches for, valid from long ago for `days`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    begins = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=100)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, begins, begins + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path = folder / "server.pem"
    private = key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    path.write_bytes(made.public_bytes(pem) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.mark.parametrize("days", [1, 1_000])
async def test_a_certificate_that_does_not_hold_is_never_accepted(tmp_path: Path, days: int) -> None:
    """Fault F26: expired or not vouched for, verification stays on and the feed keeps asking."""
    scene = Scene(Clock(60.0))
    async with (
        serving(steady, scene, ssl=certificate(tmp_path, "127.0.0.1", days)) as server,
        listening(f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}", scene, backoff_max_s=1.0),
    ):
        await scene.until(lambda: scene.feed.connections >= 2)
        assert scene.began("F26")
        assert "certificate" in scene.alerts[0][1].text.lower()
    assert not scene.peers


async def test_of_several_connections_a_dead_one_costs_its_own_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault F24: streams beyond the limit of one connection go to a second; its loss leaves the first alone."""
    monkeypatch.setattr("bot.edge.feed.STREAMS_MAX", 4)

    async def script(peer: Peer) -> None:
        await peer.subscribed()
        mine = tuple(symbol for symbol in COINS if any(symbol[:3].lower() in name for name in peer.streams))
        if peer.number < 3 and COINS[2] in mine:
            await peer.kline(COINS[2])
            return
        await peer.chatter(symbols=mine)

    async with feeding(script) as scene:
        await scene.until(lambda: len(scene.peers) == 3 and scene.feed.connected)
        assert sorted(len(peer.streams) for peer in scene.peers) == [2, 2, 4]
        first = next(peer for peer in scene.peers if len(peer.streams) == 4)
        assert first.open
        assert {alert.symbol for _, alert in scene.alerts} == {"line 2"}
        assert {one.symbol for one in scene.prices} == set(COINS)


def test_a_universe_within_the_limit_has_one_connection() -> None:
    """512 coins with klines and book tickers are 1,024 streams; one coin more makes a second connection."""
    for coins, lines in ((512, 1), (513, 2)):
        scene = Scene(Clock())
        codec = binance.Codec(tuple(f"C{at}/USDT" for at in range(coins)), "1m")
        feed = feed_of(codec, scene)
        assert len(feed._lines) == lines


def feed_of(codec: binance.Codec, scene: Scene) -> Feed:
    return Feed(codec, Settings(), Exchange(), scene.clock, scene, Faults(scene.alert), random.Random(1))


@given(st.integers(0, 2**32), st.integers(1, 100))
def test_waits_are_jittered_up_to_a_doubling_limit(seed: int, tries: int) -> None:
    """Full jitter: anywhere from nothing to 1, 2, 4 ... 60 s, and short again after a reset."""
    backoff = Backoff(1.0, 60.0, random.Random(seed))
    for number in range(tries):
        assert 0 <= backoff.next_s() <= min(60.0, 2.0**number)
    backoff.reset()
    assert backoff.next_s() <= 1.0


async def test_the_budget_holds_in_every_window() -> None:
    """Invariant I9: never more than 20 in any 300 s, and none is refused for ever."""
    clock = Clock(5_000.0)
    budget = Budget(20, 300.0, clock)
    times = []
    async with asyncio.timeout(5):
        for _ in range(50):
            await budget.spend()
            times.append(clock.seconds())
    assert all(later - earlier >= 299 for earlier, later in zip(times, times[20:], strict=False))
    assert budget.spent <= 20
