"""The simulated exchange as Bybit speaks: real ccxt works against it; only the address is told to it."""

from collections.abc import AsyncIterator
from typing import Any

import ccxt.async_support
import pytest

from bot.core.market import Panel
from bot.simulator.limits import Limits
from bot.simulator.server import SimulatedExchange
from bot.simulator.synthetic import synthetic_panel
from tests.simulator.talking import HISTORY, MINUTE, ask, trading

KLINE = "/v5/market/kline"


@pytest.fixture(scope="module")
def panel() -> Panel:
    return synthetic_panel(4, 4_000)


@pytest.fixture
async def exchange(panel: Panel) -> AsyncIterator[SimulatedExchange]:
    async with trading(speed=60.0, panel=panel, history=1_500) as exchange:
        yield exchange


@pytest.fixture
async def client(exchange: SimulatedExchange) -> AsyncIterator[Any]:
    options = {"defaultType": "spot", "fetchMarkets": {"types": ["spot", "linear"]}}
    client = ccxt.async_support.bybit({"options": options})
    client.has["fetchCurrencies"] = False
    client.urls["api"] = dict.fromkeys(client.urls["api"], exchange.rest_url)
    yield client
    await client.close()


async def test_ccxt_reads_markets_time_and_candles(client: Any, exchange: SimulatedExchange, panel: Panel) -> None:
    """Spot and linear markets with their steps; the time; candles oldest first, the running one last."""
    markets = await client.load_markets()
    assert {"BTC/USDT", "BTC/USDT:USDT"} <= set(markets) and len(markets) == 8
    assert markets["BTC/USDT"]["active"] and markets["BTC/USDT"]["precision"] == {
        **markets["BTC/USDT"]["precision"],
        "price": 0.1,
        "amount": 1e-05,
    }
    assert abs(await client.fetch_time() - exchange.clock.now_ms()) < 30_000
    for symbol in ("ETH/USDT", "ETH/USDT:USDT"):
        rows = await client.fetch_ohlcv(symbol, "1m", limit=1_000)
        assert len(rows) == 1_000 and 0 <= exchange.clock.now_ms() - rows[-1][0] < 2 * MINUTE
        at = int((rows[0][0] - panel.open_ms[0]) // MINUTE)
        for row in rows[:-3]:
            assert row[:5] == [getattr(panel, name)[at, ...].tolist() if name == "open_ms" else getattr(panel, name)[at, 1]
                               for name in ("open_ms", "open", "high", "low", "close")]  # fmt: skip
            at += 1
    page = await client.fetch_ohlcv("BTC/USDT", "5m", since=int(panel.open_ms[3]), limit=5)
    assert [row[0] for row in page] == panel.open_ms[5:30:5].tolist()


async def test_an_unknown_symbol_is_an_error_of_ccxts(client: Any) -> None:
    """HTTP 200 with retCode 10001."""
    await client.load_markets()
    client.markets["BTC/USDT"]["id"] = "NOSUCH"
    with pytest.raises(ccxt.BadRequest, match="Not supported symbols"):
        await client.fetch_ohlcv("BTC/USDT", "1m")


async def test_pages_are_newest_first_strings(exchange: SimulatedExchange, panel: Panel) -> None:
    """`end` is included, the newest that fit into the limit are given, 200 without one; seven strings a row."""
    start_ms, end_ms = int(panel.open_ms[10]), int(panel.open_ms[1_300])
    query = {"category": "spot", "symbol": "BTCUSDT", "interval": "1", "start": start_ms, "end": end_ms}
    status, answer, _ = await ask(exchange, KLINE, **query, limit=1_000)
    rows = answer["result"]["list"]
    assert status == 200 and answer["retCode"] == 0 and answer["result"]["category"] == "spot"
    assert [int(row[0]) for row in rows] == panel.open_ms[301:1_301][::-1].tolist()
    assert all(len(row) == 7 and all(isinstance(text, str) for text in row) for row in rows)
    assert [float(row[4]) for row in rows] == panel.close[301:1_301, 0][::-1].tolist()
    assert len((await ask(exchange, KLINE, **query))[1]["result"]["list"]) == 200
    from_start = query | {"end": end_ms, "start": int(panel.open_ms[1_295]) + 5}
    assert len((await ask(exchange, KLINE, **from_start))[1]["result"]["list"]) == 6


async def test_the_category_is_linear_unless_said(exchange: SimulatedExchange) -> None:
    """As documented; the running candle is the first row."""
    _, answer, _ = await ask(exchange, KLINE, symbol="BTCUSDT", interval="60")
    assert answer["result"]["category"] == "linear"
    assert 0 <= exchange.clock.now_ms() - int(answer["result"]["list"][0][0]) < 62 * MINUTE


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"interval": "7"}, "Invalid period!"),
        ({"interval": "1m"}, "Invalid period!"),
        ({"symbol": "NOSUCH"}, "Not supported symbols"),
        ({"symbol": ""}, "Not supported symbols"),
        ({"category": "option"}, "Category"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "0"}, "limit"),
        ({"start": "soon"}, "start"),
        ({"start": "200", "end": "100"}, "start time"),
    ],
)
async def test_a_wrong_question_is_answered_with_a_code(
    query: dict[str, str], text: str, exchange: SimulatedExchange
) -> None:
    """HTTP 200, retCode 10001 and an empty result, in the usual envelope."""
    status, answer, _ = await ask(exchange, KLINE, **({"symbol": "BTCUSDT", "interval": "1"} | query))
    assert status == 200 and answer["retCode"] == 10001 and text in answer["retMsg"] and answer["result"] == {}
    assert set(answer) == {"retCode", "retMsg", "result", "retExtInfo", "time"}


async def test_other_paths_are_not_there(exchange: SimulatedExchange) -> None:
    """Nothing private, nothing that is not served."""
    assert (await ask(exchange, "/v5/account/wallet-balance"))[0] == 404


async def test_asking_too_often_is_forbidden_for_ten_minutes(panel: Panel) -> None:
    """600 in 5 s, here 3: then 403 for every path until the ten minutes are over."""
    limits = Limits(bybit_requests=3, bybit_window_s=300.0)
    async with trading(speed=600.0, panel=panel, history=HISTORY, limits=limits) as exchange:
        start_ms = exchange.clock.now_ms()
        await exchange.clock.sleep_until(start_ms - start_ms % 300_000 + 300_000)
        statuses = [(await ask(exchange, "/v5/market/time"))[0] for _ in range(5)]
        assert statuses == [200, 200, 200, 403, 403]
        await exchange.clock.sleep(601)
        assert (await ask(exchange, "/v5/market/time"))[0] == 200
