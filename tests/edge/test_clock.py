"""The clock: exchange time from server samples, durations from monotonic time, and nothing from the wall."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.edge.clock import SAMPLES, Clock, Sample, uptime
from tests.making import START_MS


class Dial:
    """A monotonic and a wall clock that tests turn."""

    def __init__(self) -> None:
        self.monotonic = 1_000.0
        self.wall = START_MS / 1000

    def clock(self, speed: float = 1.0) -> Clock:
        return Clock(speed, monotonic=lambda: self.monotonic, wall=lambda: self.wall)

    def sample(self, offset_ms: int, trip: float = 0.1, speed: float = 1.0) -> Sample:
        """The server's answer, from the middle of a round trip that ends now; it is `offset_ms` ahead of START."""
        middle = self.monotonic - trip / 2
        return Sample(
            self.monotonic - trip, self.monotonic, START_MS + offset_ms + int((middle - 1_000) * 1000 * speed)
        )


def test_it_starts_at_the_walls_opinion() -> None:
    """Until the server has been asked."""
    assert Dial().clock().now_ms() == START_MS
    assert Clock(start_ms=7).now_ms() in (7, 8)


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_a_step_of_the_wall_clock_moves_nothing(step: float) -> None:
    """Fault T1: neither times nor durations."""
    dial = Dial()
    clock = dial.clock()
    dial.monotonic += 10
    dial.wall += 10 + step
    assert clock.now_ms() == START_MS + 10_000
    assert clock.seconds() == 10


def test_time_goes_at_the_exchanges_speed() -> None:
    """At 60x a second here is a minute there; local monotonic time is not scaled."""
    dial = Dial()
    clock = dial.clock(60.0)
    dial.monotonic += 1
    assert clock.now_ms() == START_MS + 60_000
    assert clock.seconds() == 60
    assert clock.monotonic() == 1_001


def test_it_agrees_by_the_median_of_five() -> None:
    """Fault T6: two wild answers of five move nothing."""
    dial = Dial()
    clock = dial.clock()
    offsets = (40, 50, 60, 999_999, -999_999)
    assert len(offsets) == SAMPLES
    assert clock.agree([dial.sample(offset) for offset in offsets]) == pytest.approx(50, abs=2)
    assert clock.now_ms() == pytest.approx(START_MS + 50, abs=2)


def test_answers_that_took_too_long_do_not_count() -> None:
    """Fault T6: a round trip of more than half a second proves nothing; none that counts leaves the clock alone."""
    dial = Dial()
    clock = dial.clock()
    assert clock.agree([dial.sample(9_000, trip=0.6)] * 5) is None
    assert clock.agree([]) is None
    assert clock.now_ms() == START_MS
    assert clock.agree([dial.sample(9_000, trip=0.6)] * 4 + [dial.sample(20, trip=0.5)]) == pytest.approx(20, abs=2)


def test_agreeing_changes_no_duration() -> None:
    """Invariant I26: what runs goes on running."""
    dial = Dial()
    clock = dial.clock()
    dial.monotonic += 5
    clock.agree([dial.sample(-3_600_000)] * 5)
    assert clock.seconds() == 5
    assert clock.now_ms() == pytest.approx(START_MS + 5_000 - 3_600_000, abs=1)


@given(
    st.integers(-(10**7), 10**7),
    st.lists(st.floats(0, 0.5), min_size=5, max_size=5),
    st.sampled_from([1.0, 20.0, 60.0]),
)
def test_after_agreeing_it_is_off_by_half_a_round_trip_at_most(offset: int, trips: list[float], speed: float) -> None:
    """Wherever within its round trip the server looked at its clock."""
    dial = Dial()
    clock = dial.clock(speed)
    dial.monotonic += 100
    samples = [
        Sample(dial.monotonic - trip, dial.monotonic, START_MS + offset + int((100 - trip * part) * 1000 * speed))
        for trip, part in zip(trips, (0.0, 1.0, 0.5, 0.2, 0.9), strict=True)
    ]
    clock.agree(samples)
    truth = START_MS + offset + int(100 * 1000 * speed)
    assert abs(clock.now_ms() - truth) <= max(trips) / 2 * 1000 * speed + 2


async def test_sleeps_are_in_exchange_seconds() -> None:
    """A minute at 600x is a tenth of a second; a time that has passed is not waited for."""
    clock = Clock(600.0)
    began = time.monotonic()
    await clock.sleep(60)
    await clock.sleep(-5)
    await clock.sleep_until(clock.now_ms() - 1)
    assert 0.1 <= time.monotonic() - began < 30


async def test_sleep_until_wakes_at_the_exchanges_time() -> None:
    """Not before, also when the clock is agreed anew meanwhile."""
    clock = Clock(60.0)
    wanted = clock.now_ms() + 6_000
    sleeping = asyncio.create_task(clock.sleep_until(wanted))
    await asyncio.sleep(0)
    now = clock.monotonic()
    clock.agree([Sample(now, now, clock.now_ms() - 3_000)] * 5)
    await sleeping
    assert clock.now_ms() >= wanted


def test_the_monotonic_clock_counts_a_suspended_machine() -> None:
    """Fault T4: it is the time since boot where the system has it, and never runs back."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        assert uptime() == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=0.5)
    assert uptime() <= uptime()
