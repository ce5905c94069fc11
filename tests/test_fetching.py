"""`lacuna fetch` as people meet it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bot.cli import main
from bot.edge.candle_store import CandleStore
from bot.simulator.server import SimulatedExchange
from bot.simulator.synthetic import synthetic_panel
from tests.edge.fetching import exchange


def lacuna(*words: str) -> Result:
    return CliRunner().invoke(main, ["fetch", *words])


async def fetched(running: SimulatedExchange, out: Path, **options: str) -> Result:
    """The verb against a running exchange, in a thread, for it has a loop of its own."""
    words = {"exchange": "binance", "symbols": "BTC/USDT", "timerange": "20240101-20240102", **options}
    words |= {"out": str(out), "url": running.rest_url}
    return await asyncio.to_thread(lacuna, *(word for key, value in words.items() for word in (f"--{key}", value)))


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--exchange", "binanse", "--symbols", "BTC/USDT"), 78, "no exchange 'binanse': did you mean binance?"),
        (("--exchange", "bybit-liner", "--symbols", "BTC/USDT"), 78, "did you mean bybit-linear?"),
        (("--exchange", "binance", "--symbols", "BTC"), 78, "'BTC' is no pair: write it as BTC/USDT"),
        (("--exchange", "binance", "--symbols", ","), 78, "names no pair"),
        (
            ("--exchange", "binance", "--symbols", "BTC/USDT", "--timeframe", "7m"),
            78,
            "no timeframe '7m': there are 1m,",
        ),
        (("--exchange", "binance", "--symbols", "BTC/USDT", "--timerange", "2024"), 2, "no range of days"),
        (("--exchange", "binance", "--symbols", "BTC/USDT", "--timerange", "20240301-20240201"), 2, "ends before"),
        (("--exchange", "binance", "--symbols", "BTC/USDT", "--url", "ftp://host"), 2, "is no address to fetch from"),
        (("--exchange", "binance", "--symbols", "BTC/USDT", "--url", "http://me:secret@host"), 2, "is no address"),
        (("--exchange", "bybit", "--symbols", "BTC/USDT", "--source", "archive"), 78, "archives of binance alone"),
        (("--exchange", "kraken", "--symbols", "BTC/USDT", "--url", "http://127.0.0.1:1"), 78, "leave --url out"),
    ],
)
def test_nonsense_is_refused_before_anything_is_asked(
    words: tuple[str, ...], code: int, text: str, tmp_path: Path
) -> None:
    """A sentence that says what to write, the exit code of its kind, and no store."""
    got = lacuna(*words, "--out", str(tmp_path / "candles"))
    assert got.exit_code == code and text in got.stderr
    assert not (tmp_path / "candles").exists()


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ({"symbols": "BTC/USDT,ETHH/USDT"}, 78, "binance does not list ETHH/USDT: did you mean ETH/USDT?"),
        ({"exchange": "bybit", "symbols": "BTCC/USDT"}, 78, "bybit does not list BTCC/USDT: did you mean BTC/USDT?"),
        ({"timerange": "20310101-"}, 2, "begins in the future"),
        ({"timerange": "20240101-20310101"}, 2, "ends in the future: leave its end open"),
    ],
)
async def test_what_the_exchange_lacks_is_told_before_work_starts(
    options: dict[str, str], code: int, text: str, tmp_path: Path
) -> None:
    """Unknown pairs with the nearest name, times that have not been: no page is asked for, no store is made."""
    async with exchange(panel=synthetic_panel(2, 6_000), days=2, speed=1.0) as running:
        got = await fetched(running, tmp_path / "candles", **options)
    assert got.exit_code == code and text in got.stderr
    assert not running.seen.requests["/api/v3/klines"] + running.seen.requests["/v5/market/kline"]
    assert not (tmp_path / "candles").exists()


async def test_an_address_where_nobody_is(tmp_path: Path) -> None:
    """Told within seconds."""
    got = await asyncio.to_thread(
        lacuna, "--exchange", "binance", "--symbols", "BTC/USDT", "--url", "http://127.0.0.1:9", "--out", str(tmp_path)
    )
    assert got.exit_code == 74 and "did not answer" in got.stderr and "127.0.0.1" not in got.stderr


async def test_open_ends_reach_from_the_listing_to_now(tmp_path: Path) -> None:
    """Without a range: all there is, but for the last minute or two; the result says what is in the store."""
    async with exchange(panel=synthetic_panel(2, 6_000), days=2, speed=1.0) as running:
        got = await fetched(running, tmp_path, symbols="BTC/USDT,ETH/USDT", timerange="-")
        result: dict[str, Any] = json.loads((await fetched_json(running, tmp_path)).stdout)
    assert got.exit_code == 0
    closed = 2 * 1_440 + 60
    assert 2 * (closed - 2) <= result["candles"] <= 2 * (closed + 1)
    assert (result["symbols"], result["gaps"], result["missing"]) == (2, 0, 0) and result["seconds"] < 60
    assert len(CandleStore(tmp_path).series()) == 2


async def fetched_json(running: SimulatedExchange, out: Path) -> Result:
    words = ["--exchange", "binance", "--symbols", "BTC/USDT,ETH/USDT", "--out", str(out), "--json"]
    return await asyncio.to_thread(lacuna, *words, "--url", running.rest_url)


async def test_archives_without_the_pair(tmp_path: Path) -> None:
    """From archives alone nobody can be asked what is listed: nothing at all there is an error."""
    async with exchange(panel=synthetic_panel(2, 6_000), days=2, speed=1.0) as running:
        words = ["--exchange", "binance", "--symbols", "BTCC/USDT", "--timerange", "20240101-20240102"]
        words += ["--source", "archive", "--archive-url", running.rest_url, "--out", str(tmp_path)]
        got = await asyncio.to_thread(lacuna, *words)
    assert got.exit_code == 78 and "the archives have nothing of BTCC/USDT in the range 20240101-20240102" in got.stderr
