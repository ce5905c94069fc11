"""Each fault does what its number says, and stops when it is over. Times are exchange seconds after the start."""

import asyncio
import json
from decimal import Decimal
from itertools import pairwise
from typing import Any

import aiohttp
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from bot.core.market import Candle
from bot.exchanges.binance import BadFrame, Codec
from bot.simulator.faults import Fault
from bot.simulator.server import SimulatedExchange
from bot.simulator.synthetic import START_MS, synthetic_panel
from tests.simulator.talking import HISTORY, MINUTE, Frame, ask, dial, hear, klines, listen, trading

BTC, ETH = "btcusdt@kline_1m", "ethusdt@kline_1m"
BEGAN = START_MS + HISTORY * MINUTE
KLINES = "/api/v3/klines"


def minute(open_ms: int) -> int:
    """How many minutes after the exchange's start."""
    return (open_ms - BEGAN) // MINUTE


def closings(frames: list[Frame], symbol: str = "BTCUSDT") -> list[int]:
    """The minutes of the closing frames, in the order they came."""
    return [minute(k["t"]) for k in klines(frames, symbol, closed=True)]


async def rows_of(exchange: SimulatedExchange, **params: Any) -> list[Any]:
    status, rows, _ = await ask(exchange, KLINES, **{"symbol": "BTCUSDT", "interval": "1m"} | params)
    assert status == 200
    return list(rows)


def seconds(frame: Frame) -> float:
    return float((frame["E"] - BEGAN) / 1000)


async def test_f1_a_silent_socket_has_pings_and_no_data() -> None:
    """Who was connected hears nothing until the end; who connects meanwhile hears everything; pings go on."""
    async with trading("F1@+60s/240s", speed=120.0) as exchange, dial(exchange, f"/ws/{BTC}") as old:
        heard = asyncio.create_task(hear(old, lambda frames: bool(frames) and seconds(frames[-1]) > 330))
        await exchange.clock.sleep(120)
        pongs = exchange.seen.messages["pong"]
        fresh = await listen(exchange, [BTC], 1)
        assert any(120 < seconds(frame) < 300 for frame in fresh)
        assert exchange.seen.messages["pong"] > pongs
        frames = await heard
    assert any(seconds(frame) < 60 for frame in frames) and any(seconds(frame) > 300 for frame in frames)
    assert not [frame for frame in frames if 62 < seconds(frame) < 298]


async def test_f2_a_half_open_socket_answers_nothing() -> None:
    """No data, no pong, no close; a new connection is as always."""
    async with trading("F2@+30s/600s", speed=120.0) as exchange, dial(exchange, f"/ws/{BTC}") as old:
        await exchange.clock.sleep(40)
        pong = await old.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pong, 0.5)
        heard: list[Frame] = []
        with pytest.raises(TimeoutError):
            while True:
                heard.append(json.loads(await asyncio.wait_for(old.recv(), 0.7)))
        assert heard and seconds(heard[-1]) < 33
        assert await listen(exchange, [BTC], 1)
        assert exchange.open_connections == 1


async def test_f3_the_cut_ends_what_was_connected() -> None:
    """Closed with 1001; the next connection stays."""
    async with trading("F3@+60s") as exchange:
        async with dial(exchange, f"/ws/{BTC}") as old:
            frames = await hear(old, lambda heard: False)
            assert old.close_code == 1001 and 55 < seconds(frames[-1]) < 75
        assert seconds((await listen(exchange, [BTC], 2))[-1]) > 120


async def test_f4_a_shutdown_is_announced_and_then_happens() -> None:
    """The event once, raw or wrapped as the connection is; data until the close, 60 s later."""
    async with (
        trading("F4@+60s/60s") as exchange,
        dial(exchange, f"/ws/{BTC}") as raw,
        dial(exchange, f"/stream?streams={BTC}") as combined,
    ):
        frames, wrapped = await asyncio.gather(hear(raw, lambda _: False), hear(combined, lambda _: False))
        assert raw.close_code == combined.close_code == 1001
    events = [frame for frame in frames if frame["e"] == "serverShutdown"]
    assert [set(event) for event in events] == [{"e", "E"}] and 60 <= seconds(events[0]) < 70
    assert 110 < seconds(frames[-1]) < 130
    told = [frame for frame in wrapped if frame["stream"] == "!serverShutdown"]
    assert [frame["data"]["e"] for frame in told] == ["serverShutdown"]


async def test_f5_connections_are_accepted_and_closed_at_once() -> None:
    """Those that were open are cut; every new one ends before a frame comes; afterwards all is well."""
    async with trading("F5@+60s/120s") as exchange:
        async with dial(exchange, f"/ws/{BTC}") as old:
            await hear(old, lambda _: False)
        for _ in range(5):
            async with dial(exchange, f"/ws/{BTC}") as socket:
                assert await hear(socket, lambda _: False) == []
        assert exchange.seen.connections == 6
        await exchange.clock.sleep_until(BEGAN + 181_000)
        assert await listen(exchange, [BTC], 1)


async def test_f6_the_message_limit_can_be_one_a_second() -> None:
    """A second message at once is one too many."""
    async with trading("F6@+0s/600s", speed=1.0) as exchange, dial(exchange, "/ws") as socket:
        for number in (1, 2):
            await socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
        await hear(socket, lambda _: False)
        assert (socket.close_code, exchange.seen.limit_closes) == (1008, 1)


async def test_f7_one_symbol_never_sends() -> None:
    """Neither candles nor quotes of it; the others and REST are untouched."""
    async with trading("F7@+0s/1h,symbol=BTC/USDT") as exchange:
        frames = await listen(exchange, [BTC, ETH, "btcusdt@bookTicker", "ethusdt@bookTicker"], 2)
        assert {frame["s"] for frame in frames} == {"ETHUSDT"}
        assert minute((await rows_of(exchange))[-1][0]) >= 2


async def test_f8_closing_frames_come_twice() -> None:
    """Twice, identical, for the symbol named, while it lasts."""
    async with trading("F8@+60s/121s,symbol=BTC/USDT") as exchange:
        frames = await listen(exchange, [BTC, ETH], 5)
    assert closings(frames)[:7] == [0, 0, 1, 1, 2, 2, 3]
    twice = klines(frames, "BTCUSDT", closed=True)[:2]
    assert twice[0] == twice[1]
    assert closings(frames, "ETHUSDT")[:4] == [0, 1, 2, 3]


async def test_f9_a_closed_candle_is_revised_in_stream_and_rest() -> None:
    """A second closing frame with the close 5 ticks up; REST tells the second; candles outside are as they were."""
    panel = synthetic_panel(4, 2_000)
    async with trading("F9@+60s/30s,symbol=BTC/USDT", panel=panel) as exchange:
        frames = await listen(exchange, [BTC], 3)
        rows = await rows_of(exchange, startTime=BEGAN, limit=2)
    first, second = klines(frames, closed=True)[:2]
    assert first["t"] == second["t"] == BEGAN
    assert Decimal(second["c"]) - Decimal(first["c"]) == Decimal("0.5") and float(first["c"]) == panel.close[HISTORY, 0]
    assert rows[0][4] == second["c"] and float(rows[1][4]) == panel.close[HISTORY + 1, 0]
    async with trading("F9@+60s/30s,kind=rest", panel=panel) as exchange:
        frames = await listen(exchange, [BTC], 3)
        rows = await rows_of(exchange, startTime=BEGAN, limit=1)
    assert closings(frames)[:2] == [0, 1] and Decimal(rows[0][4]) - Decimal(
        klines(frames, closed=True)[0]["c"]
    ) == Decimal("0.5")


async def test_f10_closing_frames_come_out_of_order() -> None:
    """Minute m after minute m + 1; none is lost."""
    async with trading("F10@+60s/200s,symbol=BTC/USDT") as exchange:
        frames = await listen(exchange, [BTC, ETH], 6)
    assert closings(frames)[:5] == [1, 0, 3, 2, 4] and closings(frames, "ETHUSDT")[:5] == [0, 1, 2, 3, 4]


async def test_f11_closing_frames_come_late() -> None:
    """20 s after the close; frames of the next minute come before."""
    async with trading("F11@+60s/90s,value=20", speed=120.0) as exchange:
        frames = await listen(exchange, [BTC], 4)
    late = [frame for frame in frames if frame["k"]["x"]]
    delays = {minute(frame["k"]["t"]): (frame["E"] - frame["k"]["T"]) / 1000 for frame in late}
    assert all(20 <= delays[at] < 25 for at in (0, 1)) and delays[2] < 5
    at = frames.index(late[0])
    assert frames[at - 1]["k"]["t"] > late[0]["k"]["t"]


async def test_f12_closing_frames_never_come() -> None:
    """The next candle does; REST has the closed one."""
    async with trading("F12@+60s/90s") as exchange:
        frames = await listen(exchange, [BTC], 5)
        rows = await rows_of(exchange, startTime=BEGAN, limit=2)
    assert closings(frames)[0] == 2 and {minute(k["t"]) for k in klines(frames)} >= {0, 1, 2}
    assert [minute(row[0]) for row in rows] == [0, 1]


@pytest.mark.parametrize(
    ("fault", "rest"), [("F13@+60s/120s", True), ("F13@+60s/120s,kind=rest", False), ("F25@+60s/2m", False)]
)
async def test_f13_and_f25_nobody_can_connect(fault: str, rest: bool) -> None:
    """Cut, then refused; REST is there or away as well; afterwards both are back and REST has the gap."""
    async with trading(fault) as exchange:
        async with dial(exchange, f"/ws/{BTC}") as old:
            frames = await hear(old, lambda _: False)
            assert seconds(frames[-1]) < 75
        with pytest.raises((InvalidHandshake, ConnectionClosed, EOFError, OSError)):
            await dial(exchange, f"/ws/{BTC}")
        if rest:
            assert await rows_of(exchange)
        else:
            with pytest.raises(aiohttp.ClientError):
                await rows_of(exchange)
        await exchange.clock.sleep_until(BEGAN + 181_000)
        assert await listen(exchange, [BTC], 1)
        assert [minute(row[0]) for row in await rows_of(exchange, startTime=BEGAN, limit=3)] == [0, 1, 2]


async def test_f14_a_suspension_has_no_candles_and_status_break() -> None:
    """Rows absent in REST, silence in the streams, BREAK in the rules; then as before."""
    async with trading("F14@+60s/120s,symbol=BTC/USDT", speed=120.0) as exchange:
        told = asyncio.create_task(listen(exchange, [BTC, ETH, "btcusdt@bookTicker"], 5))
        await exchange.clock.sleep_until(BEGAN + 90_000)
        _, info, _ = await ask(exchange, "/api/v3/exchangeInfo", symbols='["BTCUSDT","ETHUSDT"]')
        assert [one["status"] for one in info["symbols"]] == ["BREAK", "TRADING"]
        _, touch, _ = await ask(exchange, "/api/v3/ticker/bookTicker", symbol="BTCUSDT")
        _, day, _ = await ask(exchange, "/api/v3/ticker/24hr", symbol="BTCUSDT")
        _, book, _ = await ask(exchange, "/api/v3/depth", symbol="BTCUSDT")
        assert touch["bidPrice"] == day["askPrice"] == "0.00000000" and book["bids"] == book["asks"] == []
        frames = await told
        rows = await rows_of(exchange, startTime=BEGAN, limit=3)
    assert [minute(row[0]) for row in rows] == [0, 3, 4]
    assert not {minute(k["t"]) for k in klines(frames, "BTCUSDT")} & {1, 2}
    assert closings(frames)[:2] == [0, 3] and closings(frames, "ETHUSDT")[:4] == [0, 1, 2, 3]


async def test_f15_minutes_without_trades() -> None:
    """n 0, ids -1, no volume and the last close in stream and REST."""
    panel = synthetic_panel(4, 2_000)
    async with trading("F15@+60s/120s", panel=panel) as exchange:
        frames = await listen(exchange, [BTC], 4)
        rows = await rows_of(exchange, startTime=BEGAN + MINUTE, limit=2)
    last = f"{panel.close[HISTORY, 0]:.8f}"
    idle = [k for k in klines(frames) if minute(k["t"]) in (1, 2)]
    assert {(k["o"], k["h"], k["l"], k["c"], k["n"], k["f"], k["L"]) for k in idle} == {
        (last, last, last, last, 0, -1, -1)
    }
    assert all(row[1:6] == [last] * 4 + ["0.00000000"] and row[8] == 0 for row in rows)


async def test_f16_rest_lacks_the_newest_candles() -> None:
    """Neither the running candle nor one younger than 30 s after its close."""
    async with trading("F16@+0s/1h,value=30", speed=60.0) as exchange:
        await exchange.clock.sleep_until(BEGAN + 62_000)
        assert minute((await rows_of(exchange))[-1][0]) == -1
        await exchange.clock.sleep_until(BEGAN + 92_000)
        assert minute((await rows_of(exchange))[-1][0]) == 0


@pytest.mark.parametrize("kind", ["overlap", "reversed", "short", "moved"])
async def test_f17_pages_are_odd_but_tell_no_lies(kind: str) -> None:
    """Earlier rows than asked for, newest first, or fewer; every row in them is right."""
    panel = synthetic_panel(2, 1_000)
    asked = {"startTime": START_MS + 50 * MINUTE, "limit": 300}
    async with trading(f"F17@+0s/1h,kind={kind}", speed=1.0, panel=panel, history=400) as exchange:
        rows = await rows_of(exchange, **asked)
    minutes = [(row[0] - START_MS) // MINUTE for row in rows]
    usual = list(range(50, 350))
    wanted = {
        "overlap": list(range(47, 347)),
        "moved": list(range(40, 340)),
        "short": usual[:100],
        "reversed": usual[::-1],
    }
    assert minutes == wanted[kind]
    assert [float(row[4]) for row in rows] == panel.close[minutes, 0].tolist()


@pytest.mark.parametrize(("kind", "is_odd"), [("shifted", 1_000), ("seconds", None), ("microseconds", None)])
async def test_f18_open_times_are_off_the_grid(kind: str, is_odd: int | None) -> None:
    """A closing frame's open time is shifted, in seconds or in microseconds; the codec refuses it by name."""
    async with trading(f"F18@+60s/30s,kind={kind}") as exchange:
        frames = await listen(exchange, [BTC], 3)
    odd = next(frame for frame in frames if frame["k"]["x"])
    assert odd["k"]["t"] in {BEGAN + (is_odd or 0), BEGAN // 1000, BEGAN * 1000} - {BEGAN}
    with pytest.raises(BadFrame, match="off-grid"):
        Codec(("BTC/USDT",), "1m").decode(json.dumps(odd))


@pytest.mark.parametrize("kind", ["nan", "null", "empty", "zero", "negative", "inf", "huge", "inverted", "outside"])
async def test_f19_insane_values_are_sent(kind: str) -> None:
    """One closing frame with a value no candle can have; the next ones are sane."""
    codec = Codec(("BTC/USDT",), "1m")
    texts: list[str] = []
    async with trading(f"F19@+60s/30s,kind={kind}") as exchange, dial(exchange, f"/ws/{BTC}") as socket:
        async with asyncio.timeout(10):
            while len(texts) < 2:
                text = str(await socket.recv())
                if '"x":true' in text:
                    texts.append(text)
    with pytest.raises(BadFrame):
        codec.decode(texts[0])
    assert isinstance(codec.decode(texts[1]), Candle)


async def test_f20_a_price_ten_times_too_high() -> None:
    """In the stream and in REST's candles for one minute; the quotes of the same time are right."""
    panel = synthetic_panel(4, 2_000)
    async with trading("F20@+60s/60s,symbol=BTC/USDT", speed=120.0, panel=panel) as exchange:
        told = asyncio.create_task(listen(exchange, [BTC], 4))
        await exchange.clock.sleep_until(BEGAN + 90_000)
        _, touch, _ = await ask(exchange, "/api/v3/ticker/bookTicker", symbol="BTCUSDT")
        frames = await told
        rows = await rows_of(exchange, startTime=BEGAN, limit=3)
    closes = panel.close[HISTORY : HISTORY + 3, 0]
    wanted = (closes * [1, 10, 1]).round(1).tolist()
    assert [float(row[4]) for row in rows] == wanted
    assert [float(k["c"]) for k in klines(frames, closed=True)][:3] == wanted
    assert float(touch["bidPrice"]) < closes[1] * 1.1


@pytest.mark.parametrize("kind", ["json", "binary", "event", "fields", "huge"])
async def test_f21_frames_nobody_asked_for(kind: str) -> None:
    """Once a second: broken JSON, binary, an unknown event, unknown fields, or more than a MiB."""
    async with trading(f"F21@+0s/1h,kind={kind}", speed=20.0) as exchange, dial(exchange, f"/ws/{BTC}") as socket:
        async with asyncio.timeout(10):
            while True:
                frame = await socket.recv()
                if kind == "binary" and isinstance(frame, bytes):
                    break
                if kind == "huge" and len(frame) > 1_048_576:
                    break
                if kind in ("event", "fields") and ("somethingNew" in str(frame) or "newField" in str(frame)):
                    json.loads(frame)
                    break
                if kind == "json" and str(frame).endswith('"BTC'):
                    break


async def test_f22_a_flood_of_partial_frames() -> None:
    """50 times as many as usual while it lasts; closing frames come once as always."""
    async with trading("F22@+60s/60s", speed=60.0) as exchange:
        frames = await listen(exchange, [BTC], 3)
    per_minute = [sum(60 * at <= seconds(frame) < 60 * at + 60 for frame in frames) for at in range(3)]
    assert 20 <= per_minute[0] <= 40 and 20 <= per_minute[2] <= 40
    assert 30 * 30 < per_minute[1] < 70 * 40
    assert closings(frames)[:2] == [0, 1]


@pytest.mark.parametrize(("kind", "reason"), [("", "foreign symbol"), (",kind=interval", "foreign interval")])
async def test_f23_a_frame_of_something_else(kind: str, reason: str) -> None:
    """A symbol, or an interval, that nobody subscribed to; the codec refuses it by name."""
    async with trading(f"F23@+0s/1h{kind}", speed=60.0) as exchange:
        frames = await listen(exchange, [BTC], 1)
    odd = [frame for frame in frames if frame["k"]["s"] != "BTCUSDT" or frame["k"]["i"] != "1m"]
    assert 30 < len(odd) < 70
    with pytest.raises(BadFrame, match=reason):
        Codec(("BTC/USDT",), "1m").decode(json.dumps(odd[0]))


async def test_f24_one_of_several_connections_is_dead() -> None:
    """The oldest hears nothing, the other everything."""
    async with trading("F24@+0s/1h") as exchange, dial(exchange, f"/ws/{BTC}") as old:
        frames = await listen(exchange, [BTC], 2)
        assert closings(frames)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(old.recv(), 0.3)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("A1@+0s/90s", 429, -1003),
        ("A2@+0s/90s", 418, -1003),
        ("M6@+0s/90s", 503, -1016),
        ("O4@+0s/90s,kind=error", 500, -1001),
    ],
)
async def test_rest_refuses_everything(fault: str, status: int, code: int) -> None:
    """429 and 418 with Retry-After, 503 and 500 without; afterwards answers again."""
    async with trading(fault) as exchange:
        found, body, headers = await ask(exchange, "/api/v3/time")
        assert (found, body["code"]) == (status, code)
        if status in (429, 418):
            assert 60 <= int(headers["retry-after"]) <= 90
        if status == 418:
            assert "IP banned until" in body["msg"]
        await exchange.clock.sleep_until(BEGAN + 91_000)
        assert (await ask(exchange, "/api/v3/time"))[0] == 200


@pytest.mark.parametrize("kind", ["html", "empty", "broken", "cut"])
async def test_o4_rest_answers_garbage(kind: str) -> None:
    """HTML, nothing or half a JSON with status 200, or an answer that is cut off."""
    async with trading(f"O4@+0s/1h,kind={kind}", speed=1.0) as exchange:
        if kind == "cut":
            with pytest.raises(aiohttp.ClientError):
                await ask(exchange, "/api/v3/time")
            return
        status, body, _ = await ask(exchange, "/api/v3/time")
        assert status == 200 and isinstance(body, str)
        assert body.startswith({"html": "<html>", "empty": "", "broken": '{"serverTime"'}[kind])


async def test_t6_the_servers_time_is_wrong_or_late() -> None:
    """60 s ahead, or answered 3 s late with the time the request came."""
    async with trading("T6@+0s/1h", speed=1.0) as exchange:
        _, body, _ = await ask(exchange, "/api/v3/time")
        assert abs(body["serverTime"] - exchange.clock.now_ms() - 60_000) < 1_000
    async with trading("T6@+0s/1h,kind=late", speed=20.0) as exchange:
        before = exchange.clock.now_ms()
        _, body, _ = await ask(exchange, "/api/v3/time")
        assert exchange.clock.now_ms() - before >= 3_000 and body["serverTime"] - before < 2_500


async def test_faults_can_be_injected_while_it_runs() -> None:
    """A fault added now holds from its time on, for candles not yet made as well."""
    async with trading(speed=120.0) as exchange:
        exchange.inject(Fault("F15", BEGAN + MINUTE, 60.0), Fault("M6", BEGAN, 10_000.0))
        assert (await ask(exchange, "/api/v3/ping"))[0] == 503
        frames = await listen(exchange, [BTC], 3)
    assert [k["n"] == 0 for k in klines(frames, closed=True)][:3] == [False, True, False]


async def test_without_faults_nothing_odd_happens() -> None:
    """Every frame of two minutes is read by the codec; closings are in order and single."""
    async with trading() as exchange:
        frames = await listen(exchange, [BTC, ETH], 4)
    codec = Codec(("BTC/USDT", "ETH/USDT"), "1m")
    for frame in frames:
        codec.decode(json.dumps(frame))
    assert all(two - one == 1 for one, two in pairwise(closings(frames)))
    assert np.all(np.diff([frame["E"] for frame in frames]) >= 0)
