"""Faults F1 to F12 on the real daemon: what the feed suffers, no slice is lost to, and none is decided twice.

Minutes are named by their open. A fault begins `at_s` seconds after the open of a minute that is yet to come.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bot.core.commands import Infer, Submit
from bot.core.events import CandleClosed, Forecasted
from bot.core.market import MINUTE_MS
from bot.core.risk import Level
from bot.simulator.faults import parse_fault
from bot.simulator.limits import Limits
from bot.simulator.synthetic import synthetic_panel
from tests.simulation.restless import Restless
from tests.simulation.world import COINS, MINUTES, Alerted, World

PANEL = synthetic_panel(COINS, MINUTES, 11)
COIN = PANEL.symbols[2]
CALM, BRISK = 40.0, 60.0  # speeds, where limits matter and where they do not
SILENCE_S = 30.0
SOON_MS = 5_000
ROOM_MS = 25_000  # what a busy machine may add to a limit
PATIENT = {"market": {"soft_limit_ms": 15_000, "hard_limit_ms": 40_000}}


def trading(folder: Path, *faults: str, speed: float = CALM, limits: Limits | None = None, **feed: Any) -> World:
    """A daemon that buys and sells every minute."""
    settings = PATIENT | {"feed": feed}
    return World(
        folder,
        *faults,
        panel=PANEL,
        speed=speed,
        model=Restless(PANEL.symbols, MINUTE_MS),
        settings=settings,
        limits=limits,
    )


async def strike(world: World, at_s: int, *faults: str) -> int:
    """Has faults (number, length, options: "F7/5m,symbol=...") begin in a minute to come; that minute's open."""
    await world.slices(1)
    begin_ms = world.clock.now_ms() // MINUTE_MS * MINUTE_MS + at_s * 1000
    if begin_ms < world.clock.now_ms() + SOON_MS:
        begin_ms += MINUTE_MS
    open_ms = begin_ms // MINUTE_MS * MINUTE_MS
    for fault in faults:
        world.exchange.inject(parse_fault(fault.replace("/", f"@{begin_ms}/", 1), open_ms))
    return open_ms


async def seen(world: World, open_ms: int) -> None:
    """Until the slice of this minute is in the window, and decided if it will be."""
    await world.seen(open_ms)


def alerts(world: World, fault: str, stage: str = "began") -> list[Alerted]:
    return [alert for alert in world.alerts if alert.fault == fault and alert.stage == stage]


def slices(world: World) -> list[int]:
    """The slices that closed in time to be traded, in the order in which the model was asked, after a stop."""
    return [command.open_ms for row in world.rows() for command in row.commands if isinstance(command, Infer)]


def orders(world: World) -> set[int]:
    """The slices that led to orders, after a stop."""
    return {command.order.open_ms for row in world.rows() for command in row.commands if isinstance(command, Submit)}


def candles(world: World, open_ms: int, symbol: str = "") -> list[tuple[int, CandleClosed]]:
    """What came of this minute (and symbol), with the time when it became known, after a stop."""
    return [
        (row.now_ms, row.event)
        for row in world.rows()
        if isinstance(row.event, CandleClosed)
        and row.event.candle.open_ms == open_ms
        and symbol in ("", row.event.candle.symbol)
    ]


def check_window(world: World, *absent: tuple[int, str]) -> None:
    """Every candle of the window is the exchange's own, and only those named are absent."""
    window = world.daemon.engine.window.panel()
    at = np.searchsorted(PANEL.open_ms, window.open_ms)
    expected = PANEL.close[at].copy()
    for open_ms, symbol in absent:
        expected[np.flatnonzero(window.open_ms == open_ms), PANEL.symbols.index(symbol)] = np.nan
    np.testing.assert_array_equal(window.close, expected)


def check_slices(world: World, from_ms: int, to_ms: int) -> None:
    """After a stop: each slice closed once and in time, was decided once, and orders were sent at the end."""
    closed = slices(world)
    assert closed == list(range(closed[0], closed[-1] + MINUTE_MS, MINUTE_MS))
    assert closed[0] <= from_ms
    assert closed[-1] >= to_ms
    decided = [row.event.forecast.open_ms for row in world.rows() if isinstance(row.event, Forecasted)]
    assert decided == closed[: len(decided)]
    assert decided[-1] >= to_ms
    assert max(orders(world)) >= to_ms - MINUTE_MS
    assert not world.notes("slice.missed")


async def test_f1_a_silent_socket_is_replaced_and_rest_fills_the_hole(tmp_path: Path) -> None:
    """Fault F1, ten seconds before a close: noticed in time, one slice late at most, nothing lost, one episode."""
    async with trading(tmp_path) as world:
        first_ms = await strike(world, 50, "F1/10m")
        await seen(world, first_ms + MINUTE_MS)
        await world.until(lambda: not world.daemon.faults.open)
        check_window(world)
        assert world.faults == {"F1": 1}
        assert world.daemon.feed.connections == 2
        assert 0 <= alerts(world, "F1")[0].now_ms - first_ms - 50_000 - (SILENCE_S - 3) * 1000 <= ROOM_MS
        assert (await world.stop()).slices_late <= 1
    assert {came.source for _, came in candles(world, first_ms)} == {"rest"}
    assert {came.source for _, came in candles(world, first_ms + MINUTE_MS)} == {"stream"}
    check_slices(world, first_ms, first_ms + MINUTE_MS)


async def test_f2_a_half_open_socket_is_replaced_after_its_ping(tmp_path: Path) -> None:
    """Fault F2: the missing pong alone, with no thought of silence, has it replaced; nothing is lost."""
    async with trading(tmp_path, silence_s=600.0, ping_every_s=10.0, pong_within_s=10.0) as world:
        first_ms = await strike(world, 45, "F2/10m")
        await seen(world, first_ms + MINUTE_MS)
        check_window(world)
        assert world.faults == {"F2": 1}
        assert world.daemon.feed.connections == 2
        assert alerts(world, "F2")[0].now_ms - first_ms - 45_000 <= 20_000 + ROOM_MS
        assert (await world.stop()).slices_late <= 1
    check_slices(world, first_ms, first_ms + MINUTE_MS)


async def test_f3_connections_succeed_each_other_before_the_exchange_cuts_them(tmp_path: Path) -> None:
    """Fault F3, with a life of 2.5 minutes for the 24 hours: never cut, no slice late, REST not needed."""
    limits = Limits(lifetime_s=150.0)
    async with trading(tmp_path, limits=limits, rotate_after_s=90.0, rotate_spread_s=20.0) as world:
        await world.slices(1)
        first_ms = world.daemon.engine.window.newest_ms
        asked = world.exchange.seen.requests["/api/v3/klines"]
        await seen(world, first_ms + 4 * MINUTE_MS)
        check_window(world)
        assert world.exchange.seen.connections >= 3
        assert world.exchange.open_connections <= 2
        assert set(world.faults) == {"F3"}
        assert len(alerts(world, "F3")) == world.faults["F3"]
        assert world.exchange.seen.requests["/api/v3/klines"] == asked
        assert (await world.stop()).slices_late == 0
    check_slices(world, first_ms, first_ms + 4 * MINUTE_MS)
    assert {came.source for _, came in candles(world, first_ms + 3 * MINUTE_MS)} == {"stream"}


@pytest.mark.parametrize("notice", ["60s", "1s"])
async def test_f4_a_shutdown_costs_no_slice(tmp_path: Path, notice: str) -> None:
    """Fault F4 a second before a close: the successor opens at once, and no slice is lost, late or decided twice."""
    async with trading(tmp_path) as world:
        first_ms = await strike(world, 59, f"F4/{notice}")
        await world.until(lambda: world.exchange.seen.connections == 2)
        assert world.clock.now_ms() - first_ms - 59_000 <= ROOM_MS
        await seen(world, first_ms + 2 * MINUTE_MS)
        check_window(world)
        assert world.faults == {"F4": 1}
        assert world.exchange.open_connections == 1
        assert (await world.stop()).slices_late == 0
    check_slices(world, first_ms, first_ms + 2 * MINUTE_MS)


async def test_f5_a_reconnect_storm_spends_no_more_than_its_budget_while_rest_feeds_the_slices(tmp_path: Path) -> None:
    """Fault F5: 20 attempts in five minutes and no more, every slice from REST, one episode, and streams in the end."""
    async with trading(tmp_path, speed=BRISK, backoff_s=1.0, backoff_max_s=2.0) as world:
        first_ms = await strike(world, 30, "F5/280s")
        await world.until(lambda: world.clock.now_ms() >= first_ms + 290_000)
        assert world.daemon.feed.attempts == 20
        assert world.exchange.seen.connections <= 21  # the first may be more than five minutes old
        assert world.daemon.engine.risk.level is Level.RUNNING
        await world.until(lambda: world.daemon.feed.connected)
        await seen(world, first_ms + 6 * MINUTE_MS)
        check_window(world)
        assert world.faults["F5"] == 1
        await world.stop()
    check_slices(world, first_ms, first_ms + 6 * MINUTE_MS)


async def test_f5_with_rest_away_as_well_the_first_hard_limit_ends_entries_until_the_return(tmp_path: Path) -> None:
    """Faults F5 and M6 for four minutes: EXITS at the first hard limit, no order meanwhile, RUN when all is whole."""
    async with trading(tmp_path, speed=BRISK, backoff_max_s=5.0, attempts_max=200) as world:
        first_ms = await strike(world, 45, "F5/4m", "M6/4m")
        risk = world.daemon.engine.risk
        await world.until(lambda: risk.level is not Level.RUNNING)
        assert risk.level is Level.NO_ENTRIES
        assert [(cause.code, cause.fault) for cause in risk.causes] == [("absent", "F25")]
        assert first_ms + MINUTE_MS + 40_000 <= world.clock.now_ms() <= first_ms + MINUTE_MS + 40_000 + ROOM_MS
        await world.until(lambda: risk.level is Level.RUNNING)
        back_ms = world.daemon.engine.window.newest_ms
        await seen(world, back_ms + 2 * MINUTE_MS)
        await world.until(lambda: not world.daemon.faults.open)
        check_window(world)
        assert world.faults == {"F5": 1, "F11": 1, "F25": 1}
        await world.stop()
    assert not set(slices(world)) & set(range(first_ms, back_ms, MINUTE_MS))
    assert not orders(world) & set(range(first_ms, back_ms, MINUTE_MS))
    assert max(orders(world)) >= back_ms


async def test_f6_two_messages_a_second_are_all_it_ever_needs(tmp_path: Path) -> None:
    """Fault F6: one SUBSCRIBE for all streams; a limit of two messages a second is never met."""
    async with trading(tmp_path, "F6@+0s/60m,value=2", speed=BRISK, ping_every_s=10.0) as world:
        await world.slices(1)
        first_ms = world.daemon.engine.window.newest_ms
        await seen(world, first_ms + 4 * MINUTE_MS)
        assert world.exchange.seen.messages["SUBSCRIBE"] == 1
        assert world.exchange.seen.messages["ping"] > 10
        assert world.exchange.seen.limit_closes == 0
        assert world.faults == {}
        check_window(world)
        await world.stop()
    check_slices(world, first_ms, first_ms + 4 * MINUTE_MS)


async def test_f6_a_close_for_too_many_messages_starts_no_storm(tmp_path: Path) -> None:
    """Fault F6: whatever closes with 1008, there is one SUBSCRIBE a connection and one episode, and no slice is lost."""
    async with trading(tmp_path, speed=BRISK) as world:
        first_ms = await strike(world, 10, "F6/2m,value=0.01")
        await world.until(lambda: world.clock.now_ms() > first_ms + 130_000)
        seen_by = world.exchange.seen
        assert seen_by.limit_closes >= 2
        assert seen_by.limit_closes + 1 >= seen_by.connections == seen_by.messages["SUBSCRIBE"] <= 20
        await seen(world, first_ms + 4 * MINUTE_MS)
        check_window(world)
        assert world.faults == {"F6": 1}
        await world.stop()
    check_slices(world, first_ms, first_ms + 4 * MINUTE_MS)


async def test_f7_a_coin_that_never_sends_delays_nobody(tmp_path: Path) -> None:
    """Fault F7: two slices wait for REST, from then on the coin alone is absent until it sends; one alert."""
    async with trading(tmp_path, speed=BRISK) as world:
        first_ms = await strike(world, 30, f"F7/5m,symbol={COIN}")
        asked = world.exchange.seen.requests["/api/v3/exchangeInfo"]
        await seen(world, first_ms + 4 * MINUTE_MS)
        # these three closed before their soft limit, or REST would have filled them in
        check_window(world, *((first_ms + at * MINUTE_MS, COIN) for at in (2, 3, 4)))
        assert 1 <= world.exchange.seen.requests["/api/v3/exchangeInfo"] - asked <= 5
        assert world.faults == {"F7": 1}
        await seen(world, first_ms + 7 * MINUTE_MS)
        await world.until(lambda: not world.daemon.faults.open)
        assert [(alert.stage, alert.symbol) for alert in world.alerts if alert.fault == "F7"] == [
            ("began", COIN),
            ("ended", COIN),
        ]
        assert np.isfinite(world.daemon.engine.window.close[-1]).all()
        await world.stop()
    check_slices(world, first_ms, first_ms + 7 * MINUTE_MS)
    for at in range(5):
        others = {
            came.candle.symbol for _, came in candles(world, first_ms + at * MINUTE_MS) if came.source == "stream"
        }
        assert others == set(PANEL.symbols) - {COIN}


async def test_f8_a_closing_frame_that_comes_twice_is_one_candle(tmp_path: Path) -> None:
    """Fault F8: the second is stored and ignored; one decision a slice, and nothing to report."""
    async with trading(tmp_path, speed=BRISK) as world:
        first_ms = await strike(world, 30, "F8/3m")
        await seen(world, first_ms + 3 * MINUTE_MS)
        check_window(world)
        assert world.faults == {}
        await world.stop()
    check_slices(world, first_ms, first_ms + 3 * MINUTE_MS)
    for at in range(3):
        came = Counter(one.candle for _, one in candles(world, first_ms + at * MINUTE_MS))
        assert set(came.values()) == {2}
        assert len(came) == COINS


async def test_f9_a_revised_candle_is_told_and_changes_no_past(tmp_path: Path) -> None:
    """Fault F9: both versions are in the journal, the window keeps the first, the decision stands; one alert each."""
    async with trading(tmp_path, speed=BRISK) as world:
        first_ms = await strike(world, 30, f"F9/2m,symbol={COIN}")
        await seen(world, first_ms + 3 * MINUTE_MS)
        check_window(world)
        assert world.faults == {"F9": 2}
        await world.stop()
    check_slices(world, first_ms, first_ms + 3 * MINUTE_MS)
    assert [note.symbol for note in world.notes("candle.revised")] == [COIN] * 2
    for at in range(2):
        (known_ms, known), (revised_ms, revised) = candles(world, first_ms + at * MINUTE_MS, COIN)
        assert known_ms <= revised_ms
        assert revised.candle.close > known.candle.close


async def test_f9_a_revision_of_a_tick_is_not_worth_an_alert(tmp_path: Path) -> None:
    """Fault F9: every close of three minutes moved by its tick, whatever its digits, and nobody is told."""
    async with trading(tmp_path, speed=BRISK) as world:
        first_ms = await strike(world, 30, "F9/3m,value=1")
        await seen(world, first_ms + 3 * MINUTE_MS)
        check_window(world)
        assert world.faults == {}
        await world.stop()
    check_slices(world, first_ms, first_ms + 3 * MINUTE_MS)
    assert len({came.candle for _, came in candles(world, first_ms)}) == 2 * COINS


@pytest.mark.parametrize("rest", ["answers", "lacks it"])
async def test_f10_a_candle_that_is_overtaken_is_taken_for_its_own_minute(tmp_path: Path, rest: str) -> None:
    """Fault F10: REST completes the slice; where it cannot, the candle is stored late and decides nothing."""
    lacking = () if rest == "answers" else (f"F16/3m,symbol={COIN},value=900",)
    async with trading(tmp_path, speed=BRISK) as world:
        first_ms = await strike(world, 30, f"F10/1m,symbol={COIN}", *lacking)
        await seen(world, first_ms + 2 * MINUTE_MS)
        check_window(world, *([(first_ms, COIN)] if lacking else []))
        assert world.faults == ({"F11": 1} if lacking else {})
        await world.stop()
    check_slices(world, first_ms, first_ms + 2 * MINUTE_MS)
    late_ms, late = candles(world, first_ms, COIN)[-1]
    (next_ms, _), *_ = candles(world, first_ms + MINUTE_MS, COIN)
    assert next_ms <= late_ms
    assert late.source == "stream"
    assert [note.symbol for note in world.notes("candle.late")] == [COIN] * len(lacking)


@pytest.mark.parametrize(("late_s", "source"), [(6, "stream"), (25, "rest"), (55, "")])
async def test_f11_a_late_candle_is_waited_for_asked_for_and_given_up(tmp_path: Path, late_s: int, source: str) -> None:
    """Fault F11 before the soft limit, after it, and after the hard limit with a REST that lacks the candle."""
    lacking = () if source else (f"F16/3m,symbol={COIN},value=900",)
    async with trading(tmp_path, speed=CALM / 2) as world:
        first_ms = await strike(world, 30, f"F11/1m,symbol={COIN},value={late_s}", *lacking)
        await seen(world, first_ms + MINUTE_MS)
        check_window(world, *([] if source else [(first_ms, COIN)]))
        assert world.faults == ({} if source else {"F11": 1})
        await seen(world, first_ms + 2 * MINUTE_MS)
        assert (await world.stop()).slices_late >= (source != "stream")
    check_slices(world, first_ms, first_ms + 2 * MINUTE_MS)
    came = [one.source for _, one in candles(world, first_ms, COIN)]
    assert came == {"stream": ["stream"], "rest": ["rest", "stream"], "": ["stream"]}[source]
    assert [note.symbol for note in world.notes("candle.late")] == [COIN] * len(lacking)


@pytest.mark.parametrize("rest", ["answers", "lacks it"])
async def test_f12_a_candle_that_never_comes_is_asked_for_and_never_guessed(tmp_path: Path, rest: str) -> None:
    """Fault F12: REST's value, or none: the last partial frame is not promoted."""
    lacking = () if rest == "answers" else (f"F16/3m,symbol={COIN},value=900",)
    async with trading(tmp_path, speed=BRISK) as world:
        first_ms = await strike(world, 30, f"F12/1m,symbol={COIN}", *lacking)
        await seen(world, first_ms + 2 * MINUTE_MS)
        check_window(world, *([(first_ms, COIN)] if lacking else []))
        assert world.faults == {}
        assert world.daemon.feed.frames["LastPrice"] > 0
        await world.stop()
    check_slices(world, first_ms, first_ms + 2 * MINUTE_MS)
    assert [came.source for _, came in candles(world, first_ms, COIN)] == ([] if lacking else ["rest"])
