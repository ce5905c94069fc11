"""Fetching against the simulated exchange: whatever goes wrong, the store in the end is that of one perfect fetch."""

from pathlib import Path

import numpy as np
import pytest

from bot.core.market import MINUTE_MS, Panel
from bot.edge.archives import BadArchive
from bot.edge.candle_store import CandleStore, Series
from bot.edge.fetch import FetchFailed, TryLater
from bot.edge.verify import verify
from bot.simulator.faults import parse_fault
from bot.simulator.limits import Limits
from bot.simulator.synthetic import START_MS, synthetic_panel
from tests.edge.fetching import DAY_MS, DAYS, STOP_MS, exchange, fetch, files, market, same_as_panel, stored

BTC = Series("binance", "1m", "BTC/USDT")
ROWS = DAYS * 1_440


@pytest.fixture(scope="module")
def panel() -> Panel:
    return market()


@pytest.mark.parametrize("name", ["binance", "bybit", "bybit-linear"])
async def test_what_is_stored_is_what_the_exchange_has(name: str, panel: Panel, tmp_path: Path) -> None:
    """Every candle of the range and none else, of each pair; the store is sound; nothing is missing."""
    async with exchange(panel=panel) as running:
        got = await fetch(running, tmp_path, name)
    store = CandleStore(tmp_path)
    for at, symbol in enumerate(panel.symbols):
        series = Series(name, "1m", symbol)
        block = store.read(series)
        assert same_as_panel(block, panel, at, slice(0, ROWS))
        assert np.all(np.isfinite(block.quote_volume)) and not store.missing(series, START_MS, STOP_MS)
        assert verify(store, series) == []
        known = block.trades[block.volume > 0]
        assert np.all(known > 0) if name == "binance" else np.all(known == -1)
    assert got.told == 2 * ROWS and got.pages == 2 * 6


async def test_archives_and_rest_give_the_same_store(panel: Panel, tmp_path: Path) -> None:
    """Byte for byte: from REST, from archives, from both."""
    async with exchange(panel=panel) as running:
        for source in ("rest", "archive", "auto"):
            got = await fetch(running, tmp_path / source, source=source)
            assert (got.archives > 0) == (source != "rest") and got.told == 2 * ROWS
    assert files(tmp_path / "rest") == files(tmp_path / "archive") == files(tmp_path / "auto")


async def test_a_whole_month_comes_as_one_archive(tmp_path: Path) -> None:
    """January from its archive, February by days until that month's archive is there; hourly candles."""
    panel = synthetic_panel(1, 80 * 1_440)
    async with exchange(panel=panel, days=45, speed=600.0) as running:
        stop_ms = START_MS + 40 * DAY_MS
        got = await fetch(running, tmp_path / "archive", source="archive", stop_ms=stop_ms, timeframe="1h")
        await fetch(running, tmp_path / "rest", stop_ms=stop_ms, timeframe="1h")
    assert got.archives == 1 + 9
    assert files(tmp_path / "archive") == files(tmp_path / "rest")


async def test_microseconds_since_2025(tmp_path: Path) -> None:
    """A range over the new year: the archives' times change their unit, the candles do not."""
    late = synthetic_panel(1, 6 * 1_440, start_ms=1_735_689_600_000 - 2 * DAY_MS)
    async with exchange(panel=late, days=3) as running:
        for source in ("rest", "archive"):
            start_ms = int(late.open_ms[0])
            await fetch(running, tmp_path / source, source=source, start_ms=start_ms, stop_ms=start_ms + 3 * DAY_MS)
    assert same_as_panel(stored(tmp_path / "archive", BTC), late, 0, slice(0, 3 * 1_440))
    assert files(tmp_path / "rest") == files(tmp_path / "archive")


@pytest.mark.parametrize("name", ["binance", "bybit"])
async def test_a_suspension_of_days_ends_nothing(name: str, panel: Panel, tmp_path: Path) -> None:
    """Empty pages inside the range: what is behind them is fetched, the gap is the exchange's own."""
    fault = f"F14@{START_MS + 600 * MINUTE_MS}/{2 * 1_440 + 300}m"
    async with exchange(fault, panel=panel) as running:
        await fetch(running, tmp_path, name)
    series = Series(name, "1m", "BTC/USDT")
    manifest = CandleStore(tmp_path).manifest(series)
    assert manifest.gaps == [(START_MS + 600 * MINUTE_MS, START_MS + (900 + 2 * 1_440) * MINUTE_MS)]
    assert manifest.candles == ROWS - 2 * 1_440 - 300 and not manifest.holes


@pytest.mark.parametrize("kind", ["overlap", "reversed", "short", "moved", ""])
@pytest.mark.parametrize("name", ["binance", "bybit"])
async def test_spoilt_pages_spoil_nothing(name: str, kind: str, panel: Panel, tmp_path: Path) -> None:
    """Fault F17: overlapping, reversed, short and moved pages, one kind or all in turn."""
    async with exchange(f"F17@+0s/10h{f',kind={kind}' if kind else ''}", panel=panel) as running:
        await fetch(running, tmp_path, name)
    assert same_as_panel(stored(tmp_path, Series(name, "1m", "BTC/USDT")), panel, 0, slice(0, ROWS))


@pytest.mark.parametrize(
    "fault", ["A1@+0s/90s", "A2@+0s/2m", "M6@+0s/40s", "O4@+0s/40s,kind=cut", "O4@+0s/40s", "F25@+0s/30s"]
)
async def test_an_exchange_that_is_away_is_waited_for(fault: str, panel: Panel, tmp_path: Path) -> None:
    """429, 418, 503, cut and garbled answers, no answer at all, from the first page on; then it goes on."""
    async with exchange(panel=panel) as running:
        clean = await fetch(running, tmp_path / "clean", stop_ms=START_MS + DAY_MS)
        running.inject(parse_fault(fault, running.clock.now_ms()))
        got = await fetch(running, tmp_path / "faulty", stop_ms=START_MS + DAY_MS)
    assert got.pages == clean.pages
    assert files(tmp_path / "faulty") == files(tmp_path / "clean")


async def test_nothing_is_sent_while_the_exchange_bans(panel: Panel, tmp_path: Path) -> None:
    """Fault A2: at most one request of each worker meets the ban, and none repeats it before its end."""
    async with exchange(panel=panel) as running:
        await fetch(running, tmp_path / "first", stop_ms=START_MS + DAY_MS)
        running.inject(parse_fault("A2@+0s/3m", running.clock.now_ms()))
        await fetch(running, tmp_path / "second", stop_ms=START_MS + DAY_MS)
    assert 1 <= running.seen.statuses[418] <= 8


async def test_a_long_ban_is_not_sat_out(panel: Panel, tmp_path: Path) -> None:
    """An hour: the fetch ends and says when to come back; what it has is kept, and the next goes on from there."""
    async with exchange(panel=panel, speed=600.0) as running:
        await fetch(running, tmp_path, stop_ms=START_MS + DAY_MS)
        running.inject(parse_fault("A2@+0s/1h", running.clock.now_ms()))
        with pytest.raises(TryLater, match=r"left alone for 3\d{3} s"):
            await fetch(running, tmp_path)
    assert len(stored(tmp_path, BTC)) == 1_440


async def test_bybits_silence_after_a_403(panel: Panel, tmp_path: Path) -> None:
    """More than it allows in its window is ten minutes of 403, which are waited out; then the store is complete."""
    tight = Limits(bybit_requests=6, bybit_window_s=1_800.0)  # three seconds of a busy machine
    async with exchange(panel=panel, limits=tight, speed=600.0) as running:
        await fetch(running, tmp_path, "bybit")
        assert running.seen.statuses[403] >= 1
    assert same_as_panel(stored(tmp_path, Series("bybit", "1m", "BTC/USDT")), panel, 0, slice(0, ROWS))


async def test_an_exchange_that_stays_away_is_an_error(panel: Panel, tmp_path: Path) -> None:
    """After a few tries, with a sentence that says how to go on."""
    async with exchange(panel=panel, speed=600.0) as running:
        running.inject(parse_fault("M6@+0s/24h", running.clock.now_ms()))
        with pytest.raises(FetchFailed, match="6 times in a row: .* the same command goes on"):
            await fetch(running, tmp_path)


async def test_only_what_is_missing_is_asked_for(panel: Panel, tmp_path: Path) -> None:
    """A second fetch asks nothing; a longer one only for its new part."""
    async with exchange(panel=panel) as running:
        first = await fetch(running, tmp_path, stop_ms=START_MS + 2 * DAY_MS)
        assert (await fetch(running, tmp_path, stop_ms=START_MS + 2 * DAY_MS)).pages == 0
        longer = await fetch(running, tmp_path)
        whole = await fetch(running, tmp_path / "whole")
    assert first.pages == longer.pages == whole.pages // 2
    assert (
        files(tmp_path / "whole").items()
        <= {name.replace("whole/", ""): data for name, data in files(tmp_path).items()}.items()
    )


async def test_a_listing_is_found_without_asking_for_what_was_before(panel: Panel, tmp_path: Path) -> None:
    """Fourteen years before the first candle cost a few daily pages; they are known to be empty from then on."""
    early_ms = START_MS - 14 * 365 * DAY_MS
    async with exchange(panel=panel) as running:
        got = await fetch(running, tmp_path, start_ms=early_ms)
        assert got.pages == 2 * (6 + 6)
        assert got.told == 2 * (STOP_MS - early_ms) // MINUTE_MS
        assert (await fetch(running, tmp_path, start_ms=early_ms)).pages == 0
    assert same_as_panel(stored(tmp_path, BTC), panel, 0, slice(0, ROWS))


async def test_a_range_before_the_listing_is_empty_at_once(panel: Panel, tmp_path: Path) -> None:
    """A year of it costs one daily page a pair, not hundreds."""
    async with exchange(panel=panel) as running:
        got = await fetch(running, tmp_path, start_ms=START_MS - 400 * DAY_MS, stop_ms=START_MS - 35 * DAY_MS)
    assert got.pages == 2 and got.told == 2 * 365 * 1_440
    assert not CandleStore(tmp_path).missing(BTC, START_MS - 400 * DAY_MS, START_MS - 35 * DAY_MS)


@pytest.mark.parametrize("kind", ["corrupted", "truncated", "members", "bomb"])
async def test_a_spoilt_archive_is_refused_and_fetched_again(kind: str, panel: Panel, tmp_path: Path) -> None:
    """Fault S16: the first download of each file is not taken; the store is as from sound ones."""
    async with exchange(f"S16@+0s/10h,kind={kind}", panel=panel, speed=600.0) as running:
        got = await fetch(running, tmp_path / "spoilt", source="archive")
        await fetch(running, tmp_path / "rest")
    assert got.archives == 2 * DAYS and (kind == "truncated" or got.refused == 2 * DAYS)
    assert files(tmp_path / "spoilt") == files(tmp_path / "rest")


async def test_an_archive_that_stays_spoilt(panel: Panel, tmp_path: Path) -> None:
    """Fault S16 for ever: from archives alone a clear error; with REST at hand, REST stands in and it is told."""
    async with exchange("S16@+0s/10h,value=99", panel=panel, speed=600.0) as running:
        with pytest.raises(BadArchive, match=r"daily/klines/\w+/1m/.*SHA-256 .* 4 times in a row: .*--source rest"):
            await fetch(running, tmp_path / "archive", source="archive")
        got = await fetch(running, tmp_path / "auto", source="auto")
        await fetch(running, tmp_path / "rest")
    assert len(got.rejected) == 2 * DAYS
    assert files(tmp_path / "auto") == files(tmp_path / "rest")


async def test_what_no_archive_has_comes_from_rest(panel: Panel, tmp_path: Path) -> None:
    """404 for every file: months fall back to days, days to REST; without REST it stays missing, and is not invented."""
    async with exchange("S16@+0s/10h,kind=gone,value=99", panel=panel) as running:
        got = await fetch(running, tmp_path / "auto", source="auto")
        await fetch(running, tmp_path / "rest")
        await fetch(running, tmp_path / "archive", source="archive")
    assert got.archives == 0 and files(tmp_path / "auto") == files(tmp_path / "rest")
    assert CandleStore(tmp_path / "archive").missing(BTC, START_MS, STOP_MS) == [(START_MS, STOP_MS)]


async def test_breaks_in_an_archive_are_asked_of_rest(panel: Panel, tmp_path: Path) -> None:
    """A gap is the exchange's own only when REST has said so too."""
    fault = f"F14@{START_MS + 600 * MINUTE_MS}/60m"
    async with exchange(fault, panel=panel) as running:
        got = await fetch(running, tmp_path, source="auto")
    manifest = CandleStore(tmp_path).manifest(BTC)
    assert got.archives == 2 * DAYS and got.pages == 2 * 2
    assert manifest.gaps == [(START_MS + 600 * MINUTE_MS, START_MS + 660 * MINUTE_MS)] and not manifest.holes
