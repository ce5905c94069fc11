"""The exchange as a process of its own, and the market of real candles."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from bot.core.market import MINUTE_MS, Panel
from bot.simulator.faults import BadFault
from bot.simulator.market import PanelSource
from bot.simulator.serve import exchange_of, market_of, serve
from bot.simulator.server import SimulatedExchange
from tests.simulator.talking import ask

CANDLES = Path("../shared/data/binance_spot_1m_2021")


async def test_serve_listens_until_it_is_cancelled() -> None:
    """`started` is told the exchange once it answers; cancelled, the port is free again."""
    exchange = exchange_of(market_of(None, 3, 7), speed=60.0)
    started: asyncio.Future[SimulatedExchange] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(exchange, started.set_result))
    found = await asyncio.wait_for(started, 5)
    assert (await ask(found, "/api/v3/ping"))[0] == 200
    assert found.stream_url == found.rest_url.replace("http", "ws")
    port = int(found.rest_url.rpartition(":")[2])
    other = exchange_of(market_of(None, 3, 7))
    with pytest.raises(OSError, match="in use"):
        await serve(other, lambda _: None, port=port)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert serving.cancelled()
    await other.start(port=port)
    await other.stop()


def test_the_endless_market_starts_with_history() -> None:
    """The clock begins 1,500 candles into the synthetic market; a fault's text counts from there."""
    exchange = exchange_of(market_of(None, 3, 7), faults=["F1@+60s"])
    now_ms = exchange.clock.now_ms()
    assert abs(now_ms - exchange.market.source.first_ms - 1_500 * MINUTE_MS) < 5_000
    with pytest.raises(BadFault):
        exchange_of(market_of(None, 3, 7), faults=["nonsense"])


@pytest.mark.skipif(not CANDLES.exists(), reason="the real candles of ../shared/data are not here")
def test_real_candles_are_written_without_loss() -> None:
    """Every price and volume of real candles survives the decimals that were found for its symbol."""
    from bot.edge.candles import load_panel

    panel: Panel = load_panel(CANDLES, ("BTC/USDT", "DOGE/USDT", "WIN/USDT"))
    source = PanelSource(panel)
    for fields, decimals in (
        (("open", "high", "low", "close"), source.price_decimals),
        (("volume",), source.volume_decimals),
    ):
        for name in fields:
            values = getattr(panel, name)
            written = np.round(values * 10.0**decimals) / 10.0**decimals
            known = np.isfinite(values)
            assert np.allclose(written[known], values[known], rtol=1e-14, atol=0.0)
    assert source.price_decimals.tolist()[0] == 2
