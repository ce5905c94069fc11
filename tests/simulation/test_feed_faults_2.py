"""Faults F13 to F17 and F25 on the real daemon: what the exchange does not send, sends late, or REST tells oddly."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bot.config import Exchange, Feed
from bot.core.commands import Fetch, Note, Submit
from bot.core.events import History
from bot.core.market import MINUTE_MS, Side, gather
from bot.core.risk import Level
from bot.core.window import Window
from bot.edge.rest import Rest
from bot.edge.store import Row
from bot.exchanges.binance import Codec
from bot.simulator.synthetic import synthetic_panel
from tests.simulation.restless import (
    asked,
    bought,
    came,
    closes,
    differences,
    filled,
    inject,
    minute,
    present,
    restless,
    row,
    seen,
    streamed,
    truth,
)
from tests.simulation.world import COINS, World
from tests.simulator.talking import trading


def level(world: World) -> Level:
    return world.daemon.engine.risk.level


@pytest.mark.parametrize("minutes", [1, 5])
async def test_a_gap_is_filled_by_rest_and_not_traded(tmp_path: Path, minutes: int) -> None:
    """F13: 1 and 5 minutes away are asked for again and stored; what was missed is not traded; then RUNNING."""
    async with restless(tmp_path) as world:
        first_ms = await inject(world, "F13", minutes, ",kind=rest")
        await seen(world, minute(first_ms, 0))
        await world.until(lambda: world.clock.now_ms() >= minute(first_ms, minutes))
        await seen(world, minute(first_ms, minutes + 5))
        assert level(world) is Level.RUNNING
        assert differences(world) == []
        await world.stop()
    rows = world.rows()
    missed = {minute(first_ms, number) for number in range(minutes - 1)}  # the last one may still be in time
    assert not bought(rows) & missed
    assert not bought(rows, side=Side.SELL) & missed
    assert bought(rows) & {minute(first_ms, minutes + number) for number in range(6)}
    assert missed <= {int(open_ms) for _, panel in filled(rows)[1:] for open_ms in panel.open_ms}


async def test_a_gap_in_the_stream_alone_costs_no_slice(tmp_path: Path) -> None:
    """F13: while REST answers, every slice of the gap is completed at its soft limit and decided."""
    async with restless(tmp_path) as world:
        first_ms = await inject(world, "F13", 2)
        await seen(world, minute(first_ms, 3))
        assert differences(world) == []
        await world.stop()
    rows = world.rows()
    by_rest = streamed(rows, "rest")
    assert {(symbol, first_ms) for symbol in world.panel.symbols} <= by_rest
    assert first_ms in asked(rows)


@pytest.mark.slow
async def test_a_gap_of_four_hours_is_filled_and_nothing_of_it_is_traded(tmp_path: Path) -> None:
    """F13: 240 minutes away, with a window that holds them: whole again, RUNNING, no order of a missed slice."""
    minutes = 240
    settings: dict[str, dict[str, Any]] = {
        "market": {"window": 3 * minutes, "soft_limit_ms": 20_000},
        "risk": {"stale_after_ms": 300_000, "forecast_age_max_ms": 300_000},
        "forecaster": {"budget_s": 300.0},
        "feed": {"silence_s": 300.0, "backoff_max_s": 120.0},
    }
    panel = synthetic_panel(COINS, 8 * minutes, 11)
    async with restless(tmp_path, panel=panel, speed=1_500.0, settings=settings) as world:
        first_ms = await inject(world, "F13", minutes, ",kind=rest")
        await world.until(lambda: level(world) is Level.NO_ENTRIES)
        last_ms = minute(first_ms, minutes - 1)
        await seen(world, minute(last_ms, 2))
        real = truth(world, first_ms, minutes).close
        await world.until(lambda: np.array_equal(closes(world, first_ms, minutes), real))
        await world.until(lambda: level(world) is Level.RUNNING)
        await world.stop()
    orders = bought(world.rows()) | bought(world.rows(), side=Side.SELL)
    assert not {open_ms for open_ms in orders if first_ms <= open_ms < last_ms}


async def test_a_gap_of_more_than_a_page_is_filled_in_pages() -> None:
    """F13: 5,148 minutes are 6 pages a coin; the window that gets them holds the market's every candle."""
    minutes = 5_148
    async with trading(panel=synthetic_panel(3, 2 * minutes + 100, 11), history=minutes + 10) as exchange:
        place = Exchange(rest_url=exchange.rest_url, stream_url=exchange.stream_url, speed=exchange.clock.speed)
        rest = Rest(Codec(exchange.market.symbols, "1m"), place, Feed(), exchange.clock)
        source = exchange.market.source
        first_ms = source.first_ms
        found = await rest.candles(exchange.market.symbols, first_ms, minute(first_ms, minutes - 1))
        await rest.close()
        real = source.between(first_ms, minute(first_ms, minutes))
    window = Window(real.symbols, MINUTE_MS, minutes)
    window.push(real.slice(0))
    window.fill(gather(found, real.symbols, MINUTE_MS))
    assert np.array_equal(window.close, real.close, equal_nan=True)
    assert np.array_equal(window.present, real.present)


async def test_a_suspended_coin_is_absent_and_not_bought_until_three_candles_came(tmp_path: Path) -> None:
    """F14: rows absent, return 0 and masked, nothing carried forward; no entries of it until 3 candles in a row."""
    async with restless(tmp_path) as world:
        name, at = world.panel.symbols[1], 1
        first_ms = await inject(world, "F14", 3, f",symbol={name}")
        await seen(world, minute(first_ms, 3))
        gone, others = closes(world, first_ms, 3)[:, at], np.delete(closes(world, first_ms, 3), at, axis=1)
        returns, real = world.daemon.engine.window.returns(-row(world, first_ms))
        await seen(world, minute(first_ms, 8))
        await world.stop()
    rows = world.rows()
    assert np.isnan(gone).all()
    assert np.isfinite(others).all()
    assert (returns[:, at] == 0).all()
    assert not real[:4, at].any()  # the first candle that came has no close before it
    assert real[1, 0]
    early = {minute(first_ms, number) for number in range(5)}
    assert not bought(rows, name) & early
    assert bought(rows, name) & {minute(first_ms, 6), minute(first_ms, 8)}
    assert any(bought(rows, other) & early for other in world.panel.symbols if other != name)
    vetoes = [note.text for note in world.notes("veto")]
    assert any(name in text and "2 sane candles in a row" in text for text in vetoes)


async def test_minutes_without_trades_are_candles_without_a_return(tmp_path: Path) -> None:
    """F15: a candle of no trades is kept and flagged: present False, its close the last price, volume 0, no return."""
    async with restless(tmp_path) as world:
        name = world.panel.symbols[0]
        first_ms = await inject(world, "F15", 2, f",symbol={name}")
        await seen(world, minute(first_ms, 2))
        before, *quiet, after = closes(world, minute(first_ms, -1), 4)[:, 0]
        flags = present(world, minute(first_ms, -1), 4)[:, 0]
        _, real = world.daemon.engine.window.returns(4)
        volume = world.daemon.engine.window.panel(minute(first_ms, -1)).volume[:2, 0]
        bad = [kind for kind in world.daemon.feed.frames if kind.startswith("bad")]
        await world.stop()
    rows = world.rows()
    assert quiet == [before, before]
    assert after != before
    assert flags.tolist() == [True, False, False, True]
    assert real[:, 0].tolist() == flags.tolist()
    assert volume.tolist() == [0.0, 0.0]
    assert bad == []
    assert {(name, first_ms), (name, minute(first_ms, 1))} <= streamed(rows)
    assert {first_ms, minute(first_ms, 1)} <= asked(rows)  # a quiet coin holds up nobody
    assert not bought(rows, name) & {first_ms}


async def test_rest_is_asked_again_for_what_it_lacks_and_never_believed_about_the_running_candle(
    tmp_path: Path,
) -> None:
    """F16 with F12: REST lacks the newest for 12 s: asked at 8 s, again at 16 s, in time for the slice at 50 s."""
    async with restless(tmp_path) as world:
        name = world.panel.symbols[2]
        first_ms = await inject(world, "F16", 3, f",value=12,symbol={name}")
        await inject(world, "F12", 1, f",symbol={name}", after_s=30)
        await seen(world, minute(first_ms, 2))
        assert differences(world) == []
        await world.stop()
    rows = world.rows()
    late = [open_ms for symbol, open_ms in streamed(rows, "rest") if symbol == name]
    assert late, "REST was never needed"
    fetches = [c for one in rows for c in one.commands if isinstance(c, Fetch) and c.start_ms in late]
    assert len(fetches) >= 2
    assert all(at_ms >= candle.open_ms + MINUTE_MS for at_ms, candle in came(rows, "rest"))
    assert all(panel.open_ms[-1] + MINUTE_MS <= now_ms for now_ms, panel in filled(rows))


@pytest.mark.parametrize("kind", ["overlap", "reversed", "short", "moved"])
async def test_odd_pages_give_the_same_history(tmp_path: Path, kind: str) -> None:
    """F17: pages that overlap, come newest first, are short or moved: the history is that of one perfect answer."""
    async with restless(tmp_path, f"F17@+0s/30m,kind={kind}", settings={"market": {"window": 115}}) as world:
        await world.until(world.daemon.ready.is_set)
        assert len(world.daemon.engine.window) > 110
        assert differences(world) == []


async def test_a_hole_is_filled_from_odd_pages_too(tmp_path: Path) -> None:
    """F17 with F13: what filled the hole is the same, whatever the pages are like."""
    async with restless(tmp_path) as world:
        first_ms = await inject(world, "F13", 3, ",kind=rest")
        await inject(world, "F17", 30)
        await seen(world, minute(first_ms, 5))
        assert differences(world) == []


async def test_everything_away_stops_entries_and_comes_back_in_order(tmp_path: Path) -> None:
    """F25: no entries from the first hard limit on; on return the candles, then RUNNING; nothing old is traded."""
    minutes = 4
    async with restless(tmp_path, settings={"feed": {"backoff_max_s": 10.0}}) as world:
        first_ms = await inject(world, "F25", minutes)
        await world.until(lambda: level(world) is Level.NO_ENTRIES)
        hard_ms = world.clock.now_ms()
        await world.until(lambda: level(world) is Level.RUNNING)
        await seen(world, minute(first_ms, minutes + 4))
        assert differences(world) == []
        await world.stop()
    rows = world.rows()
    assert hard_ms >= first_ms + world.settings().market.hard_limit_ms
    missed = {minute(first_ms, number) for number in range(minutes - 1)}
    assert not (bought(rows) | bought(rows, side=Side.SELL)) & missed
    assert bought(rows) & {minute(first_ms, minutes + number) for number in range(5)}
    tripped, over = noted(rows, "risk.absent"), noted(rows, "risk.absent.over")
    stored = [one.seq for one in rows if isinstance(one.event, History)][1:]
    entries = [one.seq for one in rows for c in one.commands if isinstance(c, Submit) and c.order.side is Side.BUY]
    after = [seq for seq in entries if seq > tripped[0]]
    assert (len(tripped), len(over)) == (1, 1)
    assert stored[0] < after[0]
    assert over[0] < after[0]
    assert [alert.stage for alert in world.alerts if alert.fault == "F25"] == ["began", "ended"]


def noted(rows: list[Row], code: str) -> list[int]:
    """The rows of the journal, by number, at which the engine said this."""
    return [one.seq for one in rows for command in one.commands if isinstance(command, Note) and command.code == code]
