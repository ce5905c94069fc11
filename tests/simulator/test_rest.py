"""REST as documented: candles and their pages, rules, tickers, weights and errors."""

import asyncio
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from bot.core.hours import hours_of
from bot.core.market import HOUR_MS, MINUTE_MS
from bot.exchanges.binance import decode_instruments
from bot.simulator.limits import Limits
from bot.simulator.synthetic import START_MS, synthetic_panel
from tests.making import panel as flat_panel
from tests.simulator.talking import ask, trading

DEPTH = "/api/v3/depth"
KLINES, DEPTH = "/api/v3/klines", "/api/v3/depth"


async def test_klines_are_the_panel_and_the_last_one_still_forms() -> None:
    """Without times: the newest candles, oldest first, the running one last; closed ones are the panel's exactly."""
    panel = synthetic_panel(4, 2_000)
    async with trading(speed=1.0) as exchange:
        status, rows, _ = await ask(exchange, KLINES, symbol="BTCUSDT", interval="1m")
        assert status == 200 and len(rows) == 61
        for at, row in enumerate(rows[:-1]):
            wanted = [float(getattr(panel, name)[at, 0]) for name in ("open", "high", "low", "close", "volume")]
            assert [float(text) for text in row[1:6]] == wanted and row[0] == panel.open_ms[at]
        assert rows[-1][6] > exchange.clock.now_ms() and rows[-1][1] == rows[-1][4]
        assert rows[0][6] == rows[0][0] + MINUTE_MS - 1 and rows[0][11] == "0" and rows[0][8] > 0


async def test_klines_of_hours_are_made_of_the_minutes() -> None:
    """A closed hour is that of the bot's own resampling, its volume to the last decimal; the running one is there too."""
    panel = synthetic_panel(4, 2_000)
    assert START_MS % HOUR_MS == 0
    hours = hours_of(panel)
    async with trading(speed=1.0, history=330) as exchange:
        _, rows, _ = await ask(exchange, KLINES, symbol="ETHUSDT", interval="1h", startTime=START_MS, limit=1_000)
    assert [row[0] for row in rows] == hours.open_ms[:6].tolist()
    for at, row in enumerate(rows[:5]):
        wanted = [float(getattr(hours, name)[at, 1]) for name in ("open", "high", "low", "close")]
        assert [float(text) for text in row[1:5]] == wanted
        assert float(row[5]) == pytest.approx(float(hours.volume[at, 1]), rel=1e-12)
        assert row[6] == row[0] + HOUR_MS - 1 and row[8] > 0


@pytest.mark.parametrize(
    ("params", "minutes"),
    [
        ({"startTime": 10, "limit": 3}, [10, 11, 12]),
        ({"startTime": 9.5, "limit": 2}, [10, 11]),
        ({"endTime": 10, "limit": 3}, [8, 9, 10]),
        ({"endTime": 10.5, "limit": 2}, [9, 10]),
        ({"startTime": 10, "endTime": 12}, [10, 11, 12]),
        ({"startTime": 10, "endTime": 20, "limit": 2}, [10, 11]),
        ({"startTime": -500, "limit": 2}, [0, 1]),
        ({"startTime": 20, "endTime": 10}, []),
        ({"startTime": 10_000}, []),
        ({"limit": 2}, [59, 60]),
    ],
)
async def test_pages_are_chosen_as_documented(params: dict[str, float], minutes: list[int]) -> None:
    """startTime from there on, endTime the newest up to it, both like startTime but not beyond; times are adjusted."""
    asked: dict[str, Any] = {
        name: int(value) if name == "limit" else max(0, START_MS + int(value * MINUTE_MS))
        for name, value in params.items()
    }
    async with trading(speed=1.0) as exchange:
        _, rows, _ = await ask(exchange, KLINES, symbol="ETHUSDT", interval="1m", **asked)
        assert [(row[0] - START_MS) // MINUTE_MS for row in rows] == minutes


async def test_pages_hold_500_or_at_most_1000_candles() -> None:
    """The default limit is 500, a larger one than 1000 is 1000."""
    async with trading(speed=1.0, panel=synthetic_panel(2, 4_000), history=1_600) as exchange:
        for limit, wanted in (({}, 500), ({"limit": 1_000}, 1_000), ({"limit": 5_000}, 1_000)):
            _, rows, _ = await ask(exchange, KLINES, symbol="BTCUSDT", interval="1m", **limit)
            assert len(rows) == wanted


async def test_longer_candles_begin_on_their_own_grid() -> None:
    """An interval's candles open on its grid and the running one is a sum of what has been."""
    async with trading(speed=1.0) as exchange:
        _, minutes, _ = await ask(exchange, KLINES, symbol="BTCUSDT", interval="1m")
        _, fives, _ = await ask(exchange, KLINES, symbol="BTCUSDT", interval="5m")
        assert [row[0] % (5 * MINUTE_MS) for row in fives] == [0] * 13
        assert fives[0][1] == minutes[0][1] and fives[0][4] == minutes[4][4]
        total = sum(Decimal(row[5]) for row in minutes[:5])
        assert Decimal(fives[0][5]) == total and fives[0][8] == sum(row[8] for row in minutes[:5])


async def test_suspended_minutes_are_absent_and_idle_ones_are_not() -> None:
    """No row at all for a suspension; zero volumes, no trades and the last price for a minute without trades."""
    close = np.full((200, 1), 100.0)
    close[10:15] = np.nan
    panel = flat_panel(close, START_MS, ("BTC/USDT",))
    panel.volume[20] = 0.0
    async with trading(speed=1.0, panel=panel) as exchange:
        _, rows, _ = await ask(exchange, KLINES, symbol="BTCUSDT", interval="1m", startTime=START_MS, limit=20)
        minutes = [(row[0] - START_MS) // MINUTE_MS for row in rows]
        assert minutes == [*range(10), *range(15, 25)]
        idle = rows[minutes.index(20)]
        assert idle[1:6] == ["100.00000000"] * 4 + ["0.00000000"] and idle[7:9] == ["0.00000000", 0]


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        (KLINES, {"interval": "1m"}, -1102),
        (KLINES, {"symbol": "BTCUSDT"}, -1102),
        (KLINES, {"symbol": "NOPEUSDT", "interval": "1m"}, -1121),
        (KLINES, {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        (KLINES, {"symbol": "BTCUSDT", "interval": "1m", "limit": "many"}, -1100),
        (KLINES, {"symbol": "BTCUSDT", "interval": "1m", "limit": "0"}, -1130),
        (KLINES, {"symbol": "BTCUSDT", "interval": "1m", "startTime": "-5"}, -1100),
        (DEPTH, {}, -1102),
        (DEPTH, {"symbol": "NOPEUSDT"}, -1121),
        (DEPTH, {"symbol": "BTCUSDT", "limit": "0"}, -1130),
        (DEPTH, {"symbol": "BTCUSDT", "limit": "ten"}, -1100),
        ("/api/v3/exchangeInfo", {"symbol": "NOPEUSDT"}, -1121),
        ("/api/v3/exchangeInfo", {"symbols": '["BTCUSDT","NOPEUSDT"]'}, -1121),
        ("/api/v3/exchangeInfo", {"symbols": "BTCUSDT"}, -1100),
        ("/api/v3/exchangeInfo", {"symbol": "BTCUSDT", "symbolStatus": "TRADING"}, -1128),
        ("/api/v3/ticker/price", {"symbol": "BTCUSDT", "symbols": '["BTCUSDT"]'}, -1128),
        ("/api/v3/ticker/bookTicker", {"symbol": "btcusdt"}, -1121),
    ],
)
async def test_wrong_requests_are_refused_by_code(path: str, params: dict[str, str], code: int) -> None:
    """HTTP 400 with the documented code and a text."""
    async with trading(speed=1.0) as exchange:
        status, body, _ = await ask(exchange, path, **params)
        assert (status, body["code"]) == (400, code) and body["msg"]


async def test_the_rules_can_be_read_and_every_price_keeps_them() -> None:
    """exchangeInfo holds the filters of every symbol; candles and quotes lie on its steps."""
    async with trading(speed=1.0) as exchange:
        _, info, _ = await ask(exchange, "/api/v3/exchangeInfo")
        rules = decode_instruments(info, exchange.market.symbols)
        assert [rule.symbol for rule in rules] == list(exchange.market.symbols)
        kinds = {one["filterType"] for one in info["symbols"][0]["filters"]}
        assert kinds >= {"PRICE_FILTER", "LOT_SIZE", "MARKET_LOT_SIZE", "NOTIONAL", "PERCENT_PRICE_BY_SIDE"}
        assert {one["rateLimitType"]: one["limit"] for one in info["rateLimits"]}["REQUEST_WEIGHT"] == 6_000
        for rule in rules:
            name = rule.symbol.replace("/", "")
            assert rule.status == "TRADING" and rule.notional_min == 5
            _, rows, _ = await ask(exchange, KLINES, symbol=name, interval="1m", limit=30)
            assert all(Decimal(price) % rule.price_step == 0 for row in rows for price in row[1:5])
            assert all(Decimal(row[5]) % rule.quantity_step == 0 for row in rows)
            _, touch, _ = await ask(exchange, "/api/v3/ticker/bookTicker", symbol=name)
            assert Decimal(touch["bidPrice"]) < Decimal(touch["askPrice"])
            assert all(Decimal(touch[price]) % rule.price_step == 0 for price in ("bidPrice", "askPrice"))
            assert all(Decimal(touch[size]) % rule.quantity_step == 0 for size in ("bidQty", "askQty"))


async def test_symbols_and_tickers_can_be_asked_for_one_some_or_all() -> None:
    """One symbol is an object, several are a list in the order asked, none means all."""
    async with trading(speed=1.0) as exchange:
        for path in ("/api/v3/ticker/price", "/api/v3/ticker/bookTicker", "/api/v3/ticker/24hr"):
            _, one, _ = await ask(exchange, path, symbol="ETHUSDT")
            _, some, _ = await ask(exchange, path, symbols='["SOLUSDT","BTCUSDT"]')
            _, everything, _ = await ask(exchange, path)
            assert one["symbol"] == "ETHUSDT" and [each["symbol"] for each in some] == ["SOLUSDT", "BTCUSDT"]
            assert len(everything) == 4
        _, info, _ = await ask(exchange, "/api/v3/exchangeInfo", symbols='["SOLUSDT"]')
        assert [each["symbol"] for each in info["symbols"]] == ["SOLUSDT"]
        _, none, _ = await ask(exchange, "/api/v3/exchangeInfo", symbolStatus="BREAK")
        assert none["symbols"] == []


async def test_the_book_begins_at_the_quotes_and_goes_away_from_them() -> None:
    """depth: bids fall and asks rise tick by tick from bookTicker's own; `limit` levels of each, 100 by default."""
    async with trading(speed=0.001) as exchange:
        _, touch, _ = await ask(exchange, "/api/v3/ticker/bookTicker", symbol="ETHUSDT")
        _, book, _ = await ask(exchange, DEPTH, symbol="ETHUSDT", limit=5)
        assert book["bids"][0] == [touch["bidPrice"], touch["bidQty"]]
        assert book["asks"][0] == [touch["askPrice"], touch["askQty"]]
        bids, asks = ([Decimal(price) for price, _ in book[side]] for side in ("bids", "asks"))
        step = Decimal("0.01")
        assert bids == [bids[0] - step * level for level in range(5)]
        assert asks == [asks[0] + step * level for level in range(5)]
        assert all(Decimal(size) > 0 for side in ("bids", "asks") for _, size in book[side])
        _, whole, _ = await ask(exchange, DEPTH, symbol="ETHUSDT")
        assert len(whole["bids"]) == len(whole["asks"]) == 100


async def test_a_deeper_book_costs_more() -> None:
    """depth weighs 5, 25, 50 or 250 by the levels asked for, and has at most 5,000."""
    async with trading(speed=1.0) as exchange:
        used = [0]
        for limit in (100, 101, 1_000, 9_999):
            _, book, headers = await ask(exchange, DEPTH, symbol="BTCUSDT", limit=limit)
            used.append(int(headers["x-mbx-used-weight-1m"]))
            assert len(book["asks"]) == min(limit, 5_000)
        assert [after - before for before, after in pairwise(used)] == [5, 25, 50, 250]


async def test_time_is_the_clocks_and_ping_is_empty() -> None:
    """At 60 times the speed the server's time runs 60 times as fast."""
    async with trading(speed=60.0) as exchange:
        _, first, _ = await ask(exchange, "/api/v3/time")
        await asyncio.sleep(0.2)
        _, second, _ = await ask(exchange, "/api/v3/time")
        assert 10_000 < second["serverTime"] - first["serverTime"] < 60_000
        assert (await ask(exchange, "/api/v3/ping"))[1] == {}


async def test_what_is_not_served_is_not_found() -> None:
    """/api/v1 is gone; private paths and writing do not exist here."""
    async with trading(speed=1.0) as exchange:
        for path in ("/api/v1/time", "/api/v3/account", "/api/v3/nothing", "/"):
            assert (await ask(exchange, path))[0] == 404


async def test_every_answer_tells_the_weight_used() -> None:
    """klines cost 2, exchangeInfo 20, time 1; the header counts them in the minute of exchange time."""
    async with trading(speed=1.0) as exchange:
        used = []
        for path, params in (
            (KLINES, {"symbol": "BTCUSDT", "interval": "1m"}),
            ("/api/v3/exchangeInfo", {}),
            ("/api/v3/time", {}),
            (KLINES, {"symbol": "NOPEUSDT", "interval": "1m"}),
        ):
            _, _, headers = await ask(exchange, path, **params)
            used.append(int(headers["x-mbx-used-weight-1m"]))
        assert used == [2, 22, 23, 25] and exchange.used_weight() == 25


async def test_the_weight_limit_is_429_then_418_then_over() -> None:
    """429 with Retry-After; who goes on gets 418 and the real body; after the ban everything is as before."""
    limits = Limits(weight_a_minute=2, ignored_429_max=1, ban_s=30.0)
    async with trading(speed=60.0, limits=limits) as exchange:
        answers = [await ask(exchange, "/api/v3/exchangeInfo") for _ in range(3)]
        assert [status for status, _, _ in answers] == [429, 418, 418]
        assert all(body["code"] == -1003 for _, body, _ in answers)
        assert 1 <= int(answers[0][2]["retry-after"]) <= 60 and 20 <= int(answers[1][2]["retry-after"]) <= 30
        assert "IP banned until" in answers[1][1]["msg"]
        assert (await ask(exchange, "/api/v3/time"))[0] == 418
        await exchange.clock.sleep(90)
        assert (await ask(exchange, "/api/v3/time"))[0] == 200
        assert exchange.seen.statuses[418] == 3 and exchange.seen.requests["/api/v3/exchangeInfo"] == 3
