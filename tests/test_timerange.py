"""Ranges of days, as they are written and as errors name them."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.timerange import BadRange, TimeRange, parse

DAY_MS = 86_400_000
DAYS = st.dates(date(2009, 1, 1), date(2099, 12, 30))


@given(DAYS, st.integers(1, 1_000), st.sampled_from(["both", "start", "stop"]))
def test_a_range_reads_as_it_is_written(day: date, length: int, ends: str) -> None:
    """Whatever its ends: a range written out is the same range again, and errors name it with its option."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    stop = min(start + timedelta(length), datetime(2099, 12, 31, tzinfo=UTC))
    first_ms, last_ms = (int(at.timestamp()) * 1000 for at in (start, stop))
    span = TimeRange(None if ends == "stop" else first_ms, None if ends == "start" else last_ms)
    assert parse(str(span)) == span
    assert span.option == f"--timerange {span}"


def test_one_day_is_a_range() -> None:
    """20240101 alone begins and ends with that day."""
    assert parse("20240101") == TimeRange(1_704_067_200_000, 1_704_067_200_000 + DAY_MS)


def test_no_range_reads_as_none() -> None:
    """Without a range there is none to repeat in an error: only the option that would give one."""
    assert parse("-") == TimeRange()
    assert TimeRange().option == "--timerange"
    assert str(TimeRange()) == "of all time"


@pytest.mark.parametrize("text", ["2024", "20240230-", "20240101-20240101", "20080101-", "a-b", "2024-01-01"])
def test_what_is_no_range_says_how_one_is_written(text: str) -> None:
    """Wrong digits, days that do not exist, ranges without a day, years nobody has candles of."""
    with pytest.raises(BadRange):
        parse(text)
