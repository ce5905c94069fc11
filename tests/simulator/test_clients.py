"""Real clients work against the simulated exchange unmodified; only the address is told to them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import ccxt.async_support
import ccxt.pro
import pytest
from binance import AsyncClient, BinanceSocketManager

from bot.core.market import Panel
from bot.simulator.server import SimulatedExchange
from bot.simulator.synthetic import synthetic_panel
from tests.simulator.talking import HISTORY, MINUTE, trading

OPTIONS = {"fetchMarkets": {"types": ["spot"]}, "fetchMargins": False, "fetchCurrencies": False}


@pytest.fixture(scope="module")
def panel() -> Panel:
    return synthetic_panel(6, 2_000)


@pytest.fixture
async def exchange(panel: Panel) -> AsyncIterator[SimulatedExchange]:
    async with trading(speed=60.0, panel=panel) as exchange:
        yield exchange


def pointed(client: Any, exchange: SimulatedExchange) -> Any:
    """A ccxt client whose addresses are the local exchange's (exchange-facts 6.1)."""
    for kind in ("public", "private"):
        client.urls["api"][kind] = f"{exchange.rest_url}/api/v3"
    if "ws" in client.urls["api"]:
        client.urls["api"]["ws"]["spot"] = f"{exchange.stream_url}/ws"
    return client


@pytest.fixture
async def ccxt_rest(exchange: SimulatedExchange) -> AsyncIterator[Any]:
    client = pointed(ccxt.async_support.binance({"options": OPTIONS}), exchange)
    yield client
    await client.close()


@pytest.fixture
async def ccxt_stream(exchange: SimulatedExchange) -> AsyncIterator[Any]:
    client = pointed(ccxt.pro.binance({"options": OPTIONS}), exchange)
    yield client
    await client.close()


@pytest.fixture
async def python_binance(exchange: SimulatedExchange) -> AsyncIterator[AsyncClient]:
    client = AsyncClient()
    client.API_URL = f"{exchange.rest_url}/api"
    yield client
    await client.close_connection()


async def test_ccxt_reads_the_markets(ccxt_rest: Any, exchange: SimulatedExchange) -> None:
    """Every pair is an active spot market with steps and limits."""
    markets = await ccxt_rest.load_markets()
    assert set(markets) == set(exchange.market.symbols)
    bitcoin = markets["BTC/USDT"]
    assert bitcoin["active"] and bitcoin["spot"] and bitcoin["limits"]["cost"]["min"] == 5
    assert bitcoin["precision"] == {**bitcoin["precision"], "price": 0.1, "amount": 1e-05}
    assert bitcoin["limits"]["amount"]["min"] == 1e-05


async def test_ccxt_reads_candles_and_time(ccxt_rest: Any, exchange: SimulatedExchange, panel: Panel) -> None:
    """fetch_ohlcv: the panel's rows, oldest first, the open one last; `since` and `limit` page; the time is right."""
    rows = await ccxt_rest.fetch_ohlcv("ETH/USDT", "1m")
    assert len(rows) >= HISTORY + 1 and rows[-1][0] <= exchange.clock.now_ms()
    for at, row in enumerate(rows[:HISTORY]):
        columns = (panel.open_ms, panel.open[:, 1], panel.high[:, 1], panel.low[:, 1], panel.close[:, 1])
        assert row == [*(column[at] for column in columns), panel.volume[at, 1]]
    page = await ccxt_rest.fetch_ohlcv("ETH/USDT", "1m", since=int(panel.open_ms[10]), limit=5)
    assert [row[0] for row in page] == panel.open_ms[10:15].tolist()
    assert {row[0] % (5 * MINUTE) for row in await ccxt_rest.fetch_ohlcv("ETH/USDT", "5m")} == {0}
    assert abs(await ccxt_rest.fetch_time() - exchange.clock.now_ms()) < 30_000


async def test_ccxt_reads_tickers(ccxt_rest: Any) -> None:
    """fetch_ticker, fetch_bids_asks, fetch_last_prices and fetch_order_book are filled in."""
    ticker = await ccxt_rest.fetch_ticker("BTC/USDT")
    assert ticker["bid"] < ticker["ask"] and ticker["low"] <= ticker["last"] <= ticker["high"]
    touches = await ccxt_rest.fetch_bids_asks(["BTC/USDT", "SOL/USDT"])
    assert all(touch["bid"] < touch["ask"] and touch["bidVolume"] > 0 for touch in touches.values())
    assert len(touches) == 2 and len(await ccxt_rest.fetch_tickers()) == 6
    assert (await ccxt_rest.fetch_last_prices(["SOL/USDT"]))["SOL/USDT"]["price"] > 0
    book = await ccxt_rest.fetch_order_book("SOL/USDT", limit=10)
    assert len(book["bids"]) == len(book["asks"]) == 10 and book["bids"][0][0] < book["asks"][0][0]


async def test_ccxt_knows_our_errors(ccxt_rest: Any, exchange: SimulatedExchange) -> None:
    """An unknown symbol is ccxt's BadSymbol."""
    await ccxt_rest.load_markets()
    with pytest.raises(ccxt.async_support.BadSymbol):
        await ccxt_rest.publicGetKlines({"symbol": "NOPEUSDT", "interval": "1m"})


async def test_ccxt_pro_watches_candles(ccxt_stream: Any, panel: Panel) -> None:
    """watch_ohlcv sees minutes grow and pass; each passed one was the panel's candle."""
    seen: dict[int, list[float]] = {}
    async with asyncio.timeout(20):
        while len(seen) < 4:
            for row in await ccxt_stream.watch_ohlcv("BTC/USDT", "1m"):
                seen[row[0]] = row
    for open_ms in sorted(seen)[1:-1]:
        at = panel.open_ms.tolist().index(open_ms)
        columns = (panel.open[at], panel.high[at], panel.low[at], panel.close[at], panel.volume[at])
        assert seen[open_ms][1:] == [column[0] for column in columns]


async def test_ccxt_pro_watches_many_and_their_quotes(ccxt_stream: Any) -> None:
    """watch_ohlcv_for_symbols and watch_bids_asks deliver several symbols over one socket."""
    pairs = ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
    found: set[str] = set()
    quoted: set[str] = set()
    async with asyncio.timeout(20):
        while len(found) < 3:
            found |= set(await ccxt_stream.watch_ohlcv_for_symbols([[symbol, "1m"] for symbol in pairs]))
        while len(quoted) < 3:
            quoted |= {symbol for symbol, one in (await ccxt_stream.watch_bids_asks(pairs)).items() if one["bid"]}
    assert found == quoted == set(pairs)


async def test_python_binance_reads_rest(
    python_binance: AsyncClient, exchange: SimulatedExchange, panel: Panel
) -> None:
    """get_klines, get_exchange_info, server time, tickers."""
    await python_binance.ping()
    assert abs((await python_binance.get_server_time())["serverTime"] - exchange.clock.now_ms()) < 30_000
    rows = await python_binance.get_klines(symbol="BTCUSDT", interval="1m", limit=30)
    at = panel.open_ms.tolist().index(rows[0][0])
    assert len(rows) == 30 and [float(row[4]) for row in rows[:-1]] == panel.close[at : at + 29, 0].tolist()
    info = await python_binance.get_exchange_info()
    assert {one["symbol"] for one in info["symbols"]} == {symbol.replace("/", "") for symbol in panel.symbols}
    assert (await python_binance.get_symbol_info("ADAUSDT") or {}).get("status") in ("TRADING", None)
    assert float((await python_binance.get_orderbook_ticker(symbol="BTCUSDT"))["bidPrice"]) > 0
    history = await python_binance.get_historical_klines("BTCUSDT", "1m", int(panel.open_ms[0]), int(panel.open_ms[20]))
    assert [row[0] for row in history] == panel.open_ms[:21].tolist()


async def test_python_binance_listens_to_klines(
    python_binance: AsyncClient, exchange: SimulatedExchange, panel: Panel
) -> None:
    """BinanceSocketManager's kline socket and its multiplex socket deliver closing frames."""
    manager = BinanceSocketManager(python_binance, max_queue_size=10_000)
    manager.STREAM_URL = f"{exchange.stream_url}/"
    closed: list[Any] = []
    async with asyncio.timeout(20), manager.kline_socket("BTCUSDT", interval="1m") as socket:
        while len(closed) < 2:
            frame = await socket.recv()
            if frame["k"]["x"]:
                closed.append(frame["k"])
    at = panel.open_ms.tolist().index(closed[0]["t"])
    assert [float(k["c"]) for k in closed] == panel.close[at : at + 2, 0].tolist()
    wanted = {"btcusdt@kline_1m", "ethusdt@bookTicker"}
    found: set[str] = set()
    async with asyncio.timeout(20), manager.multiplex_socket(sorted(wanted)) as socket:
        while found < wanted:
            found.add((await socket.recv())["stream"])
