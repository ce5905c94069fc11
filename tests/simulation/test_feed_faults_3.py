"""Faults F18 to F24 on the real daemon: frames that are broken, insane, foreign or far too many, and a dead line."""

from pathlib import Path

import numpy as np
import pytest

from bot.core.events import CandleRefused, Confirmed
from bot.core.market import FIELDS, MINUTE_MS, Panel, Side
from bot.core.risk import Level, Limits
from bot.simulator.faults import parse_fault
from bot.simulator.synthetic import synthetic_panel
from tests.simulation.restless import (
    asked,
    bought,
    closes,
    differences,
    inject,
    minute,
    restless,
    seen,
    streamed,
)
from tests.simulation.world import COINS, HISTORY, MINUTES, World

QUEUE_MAX = 200  # events; a close brings one for each coin, and each order four


def frames(world: World, kind: str) -> int:
    return world.daemon.feed.frames[kind]


def episodes(world: World, fault: str) -> int:
    return world.faults.get(fault, 0)


@pytest.mark.parametrize("kind", ["shifted", "seconds", "microseconds"])
async def test_candles_off_the_grid_are_dropped_and_end_the_connection(tmp_path: Path, kind: str) -> None:
    """F18: each is a bad frame; three within a minute end the connection; REST gives the candles as they are."""
    async with restless(tmp_path) as world:
        first_ms = await inject(world, "F18", 1, f",kind={kind}", after_s=30)
        await world.until(lambda: episodes(world, "F18") > 0)
        assert frames(world, "bad: off-grid time") >= 3
        await world.until(lambda: world.daemon.feed.connections >= 2)
        await seen(world, minute(first_ms, 2))
        assert differences(world) == []
        assert (world.daemon.engine.window.open_ms % MINUTE_MS == 0).all()
        await world.stop()
    assert first_ms not in {open_ms for _, open_ms in streamed(world.rows())}


async def test_one_candle_off_the_grid_costs_no_connection(tmp_path: Path) -> None:
    """F18: a single one is dropped and asked for from REST; the connection stays."""
    async with restless(tmp_path) as world:
        name = world.panel.symbols[3]
        first_ms = await inject(world, "F18", 1, f",symbol={name}", after_s=30)
        await seen(world, minute(first_ms, 1))
        assert differences(world) == []
        assert frames(world, "bad: off-grid time") == 1
        assert world.daemon.feed.connections == 1
        await world.stop()
    assert (name, first_ms) in streamed(world.rows(), "rest")


INSANE = {
    "null": "broken values",
    "empty": "broken values",
    "zero": "zero or negative price",
    "negative": "zero or negative price",
    "inf": "infinite price",
    "huge": "infinite price",
    "inverted": "high below low",
    "outside": "open or close outside high and low",
}


async def test_insane_values_are_refused_and_stop_entries_until_three_sane_candles(tmp_path: Path) -> None:
    """F19: one candle of each kind of insanity, a coin each: refused by name, no entries, nothing computed from them."""
    panel = synthetic_panel(len(INSANE) + 1, MINUTES, 11)
    async with restless(tmp_path, panel=panel) as world:
        sick, well = panel.symbols[: len(INSANE)], panel.symbols[-1]
        first_ms = await inject(world, "F19", 1, f",symbol={sick[0]},kind={next(iter(INSANE))}", after_s=30)
        for symbol, kind in zip(sick[1:], list(INSANE)[1:], strict=True):
            text = f"F19@{first_ms + 30_000}/1m,symbol={symbol},kind={kind}"
            world.exchange.inject(parse_fault(text, first_ms))
        await seen(world, minute(first_ms, 6))
        assert differences(world) == []
        assert np.isfinite(world.daemon.engine.ledger.mark).all()
        assert all(np.isfinite(equity) and equity > 0 for _, equity in world.daemon.equity_curve)
        assert world.daemon.feed.connections == 1  # the market's trouble, not the connection's
        await world.stop()
    rows = world.rows()
    refused = {one.event.symbol: one.event.reason for one in rows if isinstance(one.event, CandleRefused)}
    assert refused == dict(zip(sick, INSANE.values(), strict=True))
    assert not {(symbol, first_ms) for symbol in sick} & streamed(rows)
    early = {minute(first_ms, number) for number in range(2)}  # the candle itself came sane from REST: the first of 3
    assert early & bought(rows, well)
    later = {minute(first_ms, number) for number in range(2, 7)}
    for symbol in sick:
        assert not early & bought(rows, symbol)
        assert later & bought(rows, symbol)


async def test_a_bare_nan_is_no_json_at_all(tmp_path: Path) -> None:
    """F19: a NaN that is no JSON makes the frame a broken one; its candle comes from REST, nothing is computed from it."""
    async with restless(tmp_path) as world:
        name = world.panel.symbols[0]
        first_ms = await inject(world, "F19", 1, f",symbol={name},kind=nan", after_s=30)
        await seen(world, minute(first_ms, 1))
        assert frames(world, "bad: broken JSON") == 1
        assert differences(world) == []
        await world.stop()
    assert (name, first_ms) not in streamed(world.rows())


async def test_a_price_ten_times_too_high_is_not_believed(tmp_path: Path) -> None:
    """F20: no entries of the coin for the pause, no exit at the false price, equity as before; the book says no."""
    pause_ms = 210_000
    assert Limits().price_jump_pause_ms == 30 * MINUTE_MS  # what it is unless a test cannot wait
    async with restless(tmp_path, settings={"risk": {"price_jump_pause_ms": pause_ms}}) as world:
        name = world.panel.symbols[0]
        first_ms = await inject(world, "F20", 1, f",symbol={name}")
        await seen(world, first_ms)
        assert closes(world, first_ms, 1)[0, 0] == pytest.approx(10 * world.daemon.engine.ledger.mark[0], rel=0.1)
        await seen(world, minute(first_ms, 8))
        equities = [equity for _, equity in world.daemon.equity_curve]
        assert name in world.daemon.engine.ledger.holdings
        await world.stop()
    rows = world.rows()
    assert max(equities) < 1.02 * world.settings().account.cash
    assert min(equities) > 0.95 * world.settings().account.cash
    assert first_ms not in bought(rows, name, Side.SELL)  # it ran ahead of the others: the strategy wants it sold
    assert [note.symbol for note in world.notes("price.unconfirmed")] == [name]
    assert [one.event.symbol for one in rows if isinstance(one.event, Confirmed)] == [name]
    paused = {minute(first_ms, number) for number in range(4)}
    assert not paused & bought(rows, name)
    assert paused & bought(rows, world.panel.symbols[1])
    assert bought(rows, name) & {minute(first_ms, number) for number in (4, 6, 8)}


async def test_a_price_that_really_jumped_may_be_sold_but_not_bought(tmp_path: Path) -> None:
    """F20: no exit before the book agrees; then the mark follows and exits go on, entries of the coin are off."""
    panel, first = jumping(synthetic_panel(COINS, MINUTES, 11), 0, HISTORY + 7, 10.0)
    async with restless(tmp_path, panel=panel) as world:
        await seen(world, minute(first, 4))
        mark = world.daemon.engine.ledger.mark[0]
        level = world.daemon.engine.risk.level
        await world.stop()
    rows, name = world.rows(), panel.symbols[0]
    assert mark == closes_of(panel, minute(first, 4))
    assert level is Level.RUNNING
    assert [note.symbol for note in world.notes("price.confirmed")] == [name]
    assert not {minute(first, number) for number in range(5)} & bought(rows, name)
    sold = bought(rows, name, Side.SELL)
    assert {minute(first, number) for number in range(1, 5)} & sold
    (confirmed,) = (one.seq for one in rows if isinstance(one.event, Confirmed))
    assert not [one.seq for one in rows if first in bought([one], name, Side.SELL) and one.seq < confirmed]


def jumping(panel: Panel, at: int, row: int, factor: float) -> tuple[Panel, int]:
    """The market with one coin's prices so many times as high from a row on, and that row's open."""
    values = {name: getattr(panel, name).copy() for name in FIELDS}
    for name in FIELDS[:4]:
        values[name][row:, at] *= factor
    jumped = Panel(panel.symbols, panel.interval_ms, panel.open_ms, **values, present=panel.present)
    return jumped, int(panel.open_ms[row])


def closes_of(panel: Panel, open_ms: int) -> float:
    return float(panel.close[np.searchsorted(panel.open_ms, open_ms), 0])


async def test_unknown_events_and_fields_do_no_harm(tmp_path: Path) -> None:
    """F21: a field we do not know is ignored, an event we do not know counted; no frame is bad, no connection ends."""
    async with restless(tmp_path) as world:
        first_ms = await inject(world, "F21", 2, ",kind=event")
        await inject(world, "F21", 2, ",kind=fields")
        await seen(world, minute(first_ms, 3))
        assert frames(world, "Unknown") > 0
        assert not [kind for kind in world.daemon.feed.frames if kind.startswith("bad")]
        assert world.daemon.feed.connections == 1
        assert differences(world) == []


@pytest.mark.parametrize(
    ("fault", "reason", "number"),
    [
        ("F21,kind=json", "broken JSON", "F18"),
        ("F21,kind=binary", "broken JSON", "F18"),
        ("F23", "foreign symbol", "F18"),
        ("F23,kind=interval", "foreign interval", "F18"),
        ("F21,kind=huge", "", "F21"),
    ],
)
async def test_bad_frames_end_the_connection_and_lose_no_candle(
    tmp_path: Path, fault: str, reason: str, number: str
) -> None:
    """F21, F23: broken or foreign frames are refused, one above 1 MiB closes the connection; every candle is there."""
    async with restless(tmp_path) as world:
        name, _, options = fault.partition(",")
        first_ms = await inject(world, name, 1, f",{options}" if options else "")
        await world.until(lambda: episodes(world, number) > 0)
        await seen(world, minute(first_ms, 2))
        assert not reason or frames(world, f"bad: {reason}") >= 3
        assert world.daemon.feed.connections >= 2
        assert world.daemon.engine.window.symbols == world.panel.symbols
        assert differences(world) == []
        await world.stop()
    assert {first_ms, minute(first_ms, 1)} <= asked(world.rows())


async def test_a_flood_of_partials_loses_no_closing_frame_and_fills_no_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F22: fifty times the partial frames: they overwrite each other and are counted; every slice is decided."""
    monkeypatch.setattr("bot.daemon.MEASURE_S", 0.1)
    async with restless(tmp_path, speed=40.0) as world:
        first_ms = await inject(world, "F22", 3)
        before = (frames(world, "LastPrice"), world.daemon.feed.overwritten)
        deepest = 0

        def over() -> bool:
            nonlocal deepest
            deepest = max(deepest, world.daemon.pump.depth, world.daemon.journal.depth)
            return world.daemon.engine.window.newest_ms >= minute(first_ms, 2)

        await world.until(over)
        flood = frames(world, "LastPrice") - before[0]
        assert world.daemon.feed.overwritten > before[1]
        counted = 'lacuna_dropped_total{what="partials"} 0.0'
        await world.until(lambda: counted not in world.daemon.metrics.text().decode())
        assert world.daemon.feed.connections == 1
        assert differences(world) == []
        await world.stop()
    rows = world.rows()
    flooded = {minute(first_ms, number) for number in range(3)}
    assert flood > 25 * 30 * 2 * COINS  # half of 50 times 30 a minute, for the two minutes that are surely past
    assert deepest < QUEUE_MAX
    assert {(symbol, open_ms) for symbol in world.panel.symbols for open_ms in flooded} <= streamed(rows)
    assert flooded - {minute(first_ms, 2)} <= asked(rows)


async def test_a_dead_connection_costs_only_its_own_symbols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F24: three connections of two coins each, one dead: its coins are absent, the slices of the others go on."""
    monkeypatch.setattr("bot.edge.feed.STREAMS_MAX", 4)
    settings = {"feed": {"silence_s": 10_000.0}, "risk": {"absent_max": 0.5}}
    async with restless(tmp_path, settings=settings) as world:
        first_ms = await inject(world, "F24", 6)
        assert world.exchange.open_connections == 3
        await seen(world, minute(first_ms, 4))
        there = np.isfinite(closes(world, minute(first_ms, 2), 3))
        assert world.daemon.engine.risk.level is Level.RUNNING
        await world.stop()
    rows = world.rows()
    names = np.array(world.panel.symbols)
    dead = set(names[~there.any(axis=0)])
    assert there[:, [name not in dead for name in names]].all()
    assert dead in [set(names[at : at + 2]) for at in (0, 2, 4)]
    alive = set(names) - dead
    later = {minute(first_ms, number) for number in range(2, 5)}
    for open_ms in later:
        assert {symbol for symbol, at_ms in streamed(rows) if at_ms == open_ms} == alive
    assert all(bought(rows, name) & later for name in alive)
    assert not any(bought(rows, name) & later for name in dead)
