"""The streams as documented: control messages, wrapping, the life of a connection, a minute's frames."""

import asyncio
import json
from collections import Counter
from decimal import Decimal
from itertools import pairwise
from typing import Any

import aiohttp
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bot.core.market import Candle, LastPrice, Quote
from bot.exchanges.binance import Codec
from bot.simulator.limits import Limits
from bot.simulator.synthetic import START_MS, synthetic_panel
from tests.making import panel as flat_panel
from tests.simulator.talking import HISTORY, MINUTE, Frame, dial, hear, klines, listen, trading

VARIANTS = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"


async def say(socket: ClientConnection, message: Any) -> Any:
    """Sends a control message and waits for its reply among the data."""
    await socket.send(message if isinstance(message, str) else json.dumps(message))
    async with asyncio.timeout(5):
        while True:
            frame = json.loads(await socket.recv())
            if "result" in frame or "code" in frame:
                return frame


async def test_control_messages_are_answered_as_documented() -> None:
    """Success is result null, or the list, or the property; the id comes back as it was sent."""
    async with trading(speed=1.0, limits=Limits(messages_a_second=100)) as exchange, dial(exchange, "/ws") as socket:
        one, two = "btcusdt@kline_1m", "ethusdt@bookTicker"
        assert await say(socket, {"method": "LIST_SUBSCRIPTIONS", "id": 3}) == {"result": [], "id": 3}
        assert await say(socket, {"method": "SUBSCRIBE", "params": [one, two], "id": 1}) == {"result": None, "id": 1}
        assert await say(socket, {"method": "SUBSCRIBE", "params": [one], "id": None}) == {"result": None, "id": None}
        assert await say(socket, {"method": "LIST_SUBSCRIPTIONS", "id": "ab1"}) == {"result": [one, two], "id": "ab1"}
        assert await say(socket, {"method": "UNSUBSCRIBE", "params": [one], "id": -4}) == {"result": None, "id": -4}
        assert await say(socket, {"method": "LIST_SUBSCRIPTIONS", "id": 5}) == {"result": [two], "id": 5}
        wants = {"method": "GET_PROPERTY", "params": ["combined"], "id": 2}
        assert await say(socket, wants) == {"result": False, "id": 2}
        sets = {"method": "SET_PROPERTY", "params": ["combined", True], "id": 5}
        assert await say(socket, sets) == {"result": None, "id": 5}
        assert await say(socket, wants) == {"result": True, "id": 2}
        assert exchange.seen.messages["SUBSCRIBE"] == 2


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        ({"method": "GET_PROPERTY", "params": ["colour"], "id": 1}, 0, "Unknown property"),
        (
            {"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1},
            1,
            "Invalid value type: expected Boolean",
        ),
        ({"method": "GET_PROPERTY", "params": [7], "id": 1}, 2, "Invalid request: property name must be a string"),
        ({"method": "GET_PROPERTY", "params": ["a", "b"], "id": 1}, 2, "Invalid request: too many parameters"),
        ({"method": "SUBSCRIBE", "params": []}, 2, "Invalid request: request ID must be an unsigned integer"),
        (
            {"method": "SUBSCRIBE", "params": [], "id": 1.5},
            2,
            "Invalid request: request ID must be an unsigned integer",
        ),
        ({"method": "DANCE", "id": 1}, 2, f"Invalid request: unknown variant DANCE, expected one of {VARIANTS}"),
        ({"id": 1}, 2, "Invalid request: missing field `method` at line 1 column 9"),
        ("nonsense", 3, "Invalid JSON: expected value at line 1 column 1"),
        ('{"method": }', 3, "Invalid JSON: expected value at line 1 column 12"),
    ],
)
async def test_wrong_control_messages_get_their_documented_error(message: Any, code: int, text: str) -> None:
    """Code and text; no result, and the connection lives on."""
    async with trading(speed=1.0) as exchange, dial(exchange, "/ws") as socket:
        assert await say(socket, message) == {"code": code, "msg": text}
        assert await say(socket, {"method": "LIST_SUBSCRIPTIONS", "id": 9}) == {"result": [], "id": 9}


async def test_more_streams_than_allowed_are_refused() -> None:
    """1024 are fine; one more is refused and changes nothing."""
    async with trading(speed=1.0) as exchange, dial(exchange, "/ws") as socket:
        names = [f"s{at}usdt@kline_1m" for at in range(1_024)]
        assert (await say(socket, {"method": "SUBSCRIBE", "params": names, "id": 1}))["result"] is None
        refused = await say(socket, {"method": "SUBSCRIBE", "params": ["btcusdt@kline_1m"], "id": 2})
        assert refused["code"] == 2
        assert len((await say(socket, {"method": "LIST_SUBSCRIPTIONS", "id": 3}))["result"]) == 1_024


async def test_raw_streams_are_bare_and_combined_ones_are_wrapped() -> None:
    """/ws/<a>/<b> sends events, /stream?streams=a/b wraps them; SET_PROPERTY changes it on the way."""
    async with trading() as exchange:
        both = ("btcusdt@kline_1m", "ethusdt@bookTicker")
        async with dial(exchange, "/ws/" + "/".join(both)) as socket:
            raw = await hear(socket, lambda heard: len(heard) > 20)
        assert {frame.get("e") or "quote" for frame in raw} == {"kline", "quote"}
        assert all("stream" not in frame for frame in raw)
        async with dial(exchange, "/stream?streams=" + "/".join(both)) as socket:
            wrapped = await hear(socket, lambda heard: len(heard) > 20)
            assert {frame["stream"] for frame in wrapped} == set(both)
            assert all(frame["data"]["s"].lower() == frame["stream"].partition("@")[0] for frame in wrapped)
            await say(socket, {"method": "SET_PROPERTY", "params": ["combined", False], "id": 1})
            assert all("stream" not in frame for frame in await hear(socket, lambda heard: len(heard) > 5))


async def test_an_unknown_symbol_is_acknowledged_and_silent() -> None:
    """The ack proves nothing: no data ever comes, and none in upper case either."""
    async with trading() as exchange, dial(exchange, "/ws") as socket:
        names = ["nopeusdt@kline_1m", "BTCUSDT@kline_1m", "rubbish"]
        assert (await say(socket, {"method": "SUBSCRIBE", "params": names, "id": 1}))["result"] is None
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 0.5)


async def test_every_minute_of_the_stream_ends_in_exactly_the_candle() -> None:
    """Per symbol and minute: frames that grow, the first with the open as its close, one x:true last, all in order;
    the closing frame is the panel's candle, the bot's own codec reads every frame."""
    panel = synthetic_panel(4, 2_000)
    names = [symbol.replace("/", "").lower() for symbol in panel.symbols]
    async with trading(speed=120.0, panel=panel) as exchange:
        frames = await listen(exchange, [f"{name}@kline_1m" for name in names], 4)
    codec = Codec(panel.symbols, "1m")
    assert {type(codec.decode(json.dumps(frame))) for frame in frames} == {Candle, LastPrice}
    for at, name in enumerate(names):
        found = klines(frames, name.upper())
        opens = sorted({k["t"] for k in found})
        assert opens == list(range(opens[0], opens[-1] + 1, MINUTE)) and len(opens) >= 4
        assert [k["t"] for k in found] == sorted(k["t"] for k in found)
        for open_ms in opens[1:-1]:
            minute = [k for k in found if k["t"] == open_ms]
            assert [k["x"] for k in minute] == [False] * (len(minute) - 1) + [True] and len(minute) > 10
            assert minute[0]["c"] == minute[0]["o"] == minute[0]["h"] == minute[0]["l"]
            assert all(Decimal(one["v"]) <= Decimal(two["v"]) for one, two in pairwise(minute))
            row = (open_ms - START_MS) // MINUTE
            wanted = [float(getattr(panel, field)[row, at]) for field in ("open", "high", "low", "close", "volume")]
            assert [float(minute[-1][key]) for key in "ohlcv"] == wanted
            assert minute[-1]["T"] == open_ms + MINUTE - 1 and minute[-1]["L"] - minute[-1]["f"] + 1 == minute[-1]["n"]


async def test_partial_frames_come_every_two_seconds_and_closing_ones_at_once() -> None:
    """At the exchange's own pace: two seconds between a symbol's frames, the close within a tenth of a second."""
    async with trading(speed=40.0) as exchange:
        frames = await listen(exchange, ["btcusdt@kline_1m"], 2)
    times = [frame["E"] for frame in frames if not frame["k"]["x"]]
    assert 1_500 < float(np.median(np.diff(times))) < 2_500
    closings = [frame for frame in frames if frame["k"]["x"]]
    assert closings and all(0 <= frame["E"] - frame["k"]["T"] < 1_000 for frame in closings)


async def test_five_minute_streams_close_on_their_grid_with_the_sum() -> None:
    """Another interval is made of the minutes: its closing frame comes every fifth."""
    panel = synthetic_panel(4, 2_000)
    async with trading(speed=600.0, panel=panel) as exchange:
        frames = await listen(exchange, ["btcusdt@kline_5m", "btcusdt@kline_1m"], 11)
    closed = [k for k in klines(frames, closed=True) if k["i"] == "5m"]
    assert closed and all(k["t"] % (5 * MINUTE) == 0 for k in closed)
    for k in closed:
        rows = slice((k["t"] - START_MS) // MINUTE, (k["t"] - START_MS) // MINUTE + 5)
        assert float(k["h"]) == panel.high[rows, 0].max() and float(k["c"]) == panel.close[rows, 0][-1]
        assert float(k["v"]) == pytest.approx(panel.volume[rows, 0].sum(), rel=1e-9)


async def test_minutes_without_trades_are_sent_and_suspended_ones_are_not() -> None:
    """n = 0 with ids of -1 and the last price in every field; a suspended symbol sends nothing at all."""
    close = np.full((200, 2), 100.0)
    close[HISTORY + 2 : HISTORY + 4, 1] = np.nan
    panel = flat_panel(close, START_MS, ("BTC/USDT", "ETH/USDT"))
    panel.volume[HISTORY + 2 : HISTORY + 4, 0] = 0.0
    async with trading(panel=panel) as exchange:
        streams = [f"{name}@{kind}" for name in ("btcusdt", "ethusdt") for kind in ("kline_1m", "bookTicker")]
        frames = await listen(exchange, streams, 6)
    start_ms = START_MS + HISTORY * MINUTE
    idle = [k for k in klines(frames, "BTCUSDT") if k["t"] - start_ms in (2 * MINUTE, 3 * MINUTE)]
    assert {(k["n"], k["f"], k["L"], k["v"], k["q"]) for k in idle} == {(0, -1, -1, "0.00000000", "0.00000000")}
    assert {k[key] for k in idle for key in "ohlc"} == {"100.00000000"} and sum(k["x"] for k in idle) == 2
    minutes = {(k["t"] - start_ms) // MINUTE for k in klines(frames, "ETHUSDT", closed=True)}
    assert minutes & {1, 2, 3, 4} == {1, 4}


async def test_quotes_come_on_change_and_at_most_once_a_second() -> None:
    """The bot's codec reads them; update ids rise; a symbol's quotes are about a second apart and never repeat."""
    async with trading(speed=20.0) as exchange:
        frames = await listen(exchange, ["btcusdt@bookTicker"], 1)
    codec = Codec(("BTC/USDT",), "1m")
    assert {type(codec.decode(json.dumps(frame))) for frame in frames} == {Quote}
    assert len(frames) <= 62 and len(frames) > 30
    assert [frame["u"] for frame in frames] == sorted({frame["u"] for frame in frames})
    shown = [(frame["b"], frame["B"], frame["a"], frame["A"]) for frame in frames]
    assert all(one != two for one, two in pairwise(shown))


async def test_after_the_panel_the_streams_fall_silent() -> None:
    """The market ends with its last closing frame; pings go on."""
    panel = synthetic_panel(2, 10)
    async with trading(panel=panel, history=6) as exchange:
        frames = await listen_until_quiet(exchange)
        assert klines(frames)[-1]["x"] and klines(frames)[-1]["t"] == panel.open_ms[-1]
        before = exchange.seen.messages["pong"]
        await exchange.clock.sleep(100)
        assert exchange.open_connections == 0 or exchange.seen.messages["pong"] > before


async def listen_until_quiet(exchange: Any) -> list[Frame]:
    heard: list[Frame] = []
    async with dial(exchange, "/ws/btcusdt@kline_1m") as socket:
        while True:
            try:
                heard.append(json.loads(await asyncio.wait_for(socket.recv(), 1.0)))
            except TimeoutError:
                return heard


async def test_the_server_pings_every_twenty_seconds() -> None:
    """Each ping is answered by the client; about three of them in a minute of exchange time."""
    async with trading(speed=60.0) as exchange, dial(exchange, "/ws"):
        await exchange.clock.sleep(185)
        assert 7 <= exchange.seen.messages["pong"] <= 10


async def test_who_does_not_answer_pings_is_dropped() -> None:
    """No pong for a minute: closed. Unsolicited pongs do not help."""
    async with (
        trading(speed=60.0) as exchange,
        aiohttp.ClientSession() as session,
        session.ws_connect(exchange.stream_url + "/ws", autoping=False) as socket,
    ):
        began = exchange.clock.seconds()
        async with asyncio.timeout(10):
            while (message := await socket.receive()).type is aiohttp.WSMsgType.PING:
                await socket.pong(b"not what was sent")
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED) and socket.close_code == 1008
        assert 60 < exchange.clock.seconds() - began < 140
        assert exchange.seen.messages["unsolicited pong"] >= 3


async def test_a_clients_ping_is_answered() -> None:
    """With its own payload, and it counts as a message."""
    async with trading(speed=1.0) as exchange, dial(exchange, "/ws") as socket:
        async with asyncio.timeout(5):
            await (await socket.ping(b"hello"))
        assert exchange.seen.messages["ping"] == 1


async def test_more_than_five_messages_a_second_close_the_connection() -> None:
    """Pings and control messages count together; the sixth is answered with 1008 Too many requests (F6)."""
    async with trading(speed=1.0) as exchange, dial(exchange, "/ws") as socket:
        for number in range(3):
            await socket.ping()
            await socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(5):
                while True:
                    await socket.recv()
        assert (socket.close_code, socket.close_reason) == (1008, "Too many requests")
        assert exchange.seen.limit_closes == 1


async def test_a_connection_lives_24_hours() -> None:
    """After its lifetime it is closed, data or not."""
    limits = Limits(lifetime_s=300.0)
    async with trading(limits=limits) as exchange, dial(exchange, "/ws/btcusdt@kline_1m") as socket:
        began = exchange.clock.seconds()
        frames = await hear(socket, lambda heard: False)
        assert 300 <= exchange.clock.seconds() - began < 360 and frames
        assert socket.close_code == 1001


async def test_connection_attempts_are_limited() -> None:
    """The one above the limit is refused with 429 at the upgrade."""
    async with trading(speed=1.0, limits=Limits(connections=2)) as exchange:
        async with dial(exchange, "/ws"), dial(exchange, "/ws"):
            with pytest.raises(InvalidStatus) as caught:
                await dial(exchange, "/ws")
        assert caught.value.response.status_code == 429
        assert (exchange.seen.connections, exchange.seen.refused_connections) == (2, 1)


async def test_a_reader_that_does_not_read_is_spared_partials_but_no_closing_frame() -> None:
    """What newer frames replace is left out when a client is slow; every minute's closing frame arrives."""
    panel = synthetic_panel(100, 3_000)
    names = [symbol.replace("/", "").lower() for symbol in panel.symbols]
    limits = Limits(pong_within_s=1e9)
    async with trading(speed=600.0, panel=panel, limits=limits) as exchange, dial(exchange, "/ws") as socket:
        await socket.send(json.dumps({"method": "SUBSCRIBE", "params": [f"{n}@kline_1m" for n in names], "id": 1}))
        await asyncio.sleep(3.0)
        end_ms = exchange.clock.now_ms()
        frames = await hear(socket, lambda heard: bool(heard) and heard[-1].get("E", 0) > end_ms)
    minutes = Counter(k["t"] for k in klines(frames, "BTCUSDT"))
    opens = [k["t"] for k in klines(frames, "BTCUSDT", closed=True)]
    assert opens == list(range(opens[0], opens[-1] + 1, MINUTE)) and len(opens) > 20
    assert min(minutes.values()) == 1
