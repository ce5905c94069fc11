"""Ranges of days as the command line writes them: YYYYMMDD-YYYYMMDD, UTC, the second day not included, ends open.

`20240101-20240201` is January; `20240101-` from then on; `-20240201` up to then; `20240101` alone is that day.
"""

from datetime import UTC, datetime, timedelta

from msgspec import Struct

FIRST_YEAR, LAST_YEAR = 2009, 2099


class BadRange(ValueError):
    """A range that cannot be read; the text says how to write one."""

    exit_code = 2


class TimeRange(Struct, frozen=True):
    """From `start_ms` to before `stop_ms`, milliseconds UTC; None is an open end."""

    start_ms: int | None = None
    stop_ms: int | None = None

    def __str__(self) -> str:
        if self == TimeRange():
            return "of all time"
        return "-".join("" if at_ms is None else f"{_day_of(at_ms):%Y%m%d}" for at_ms in (self.start_ms, self.stop_ms))

    @property
    def option(self) -> str:
        """The option that says so, for errors: nothing was given where both ends are open."""
        return "--timerange" if self == TimeRange() else f"--timerange {self}"


def parse(text: str) -> TimeRange:
    """The range of a text. BadRange when it is none, or ends before it starts."""
    start, dash, stop = text.strip().partition("-")
    if not dash:
        day = _day(start, text)
        return TimeRange(_ms(day), _ms(day + timedelta(days=1)))
    found = TimeRange(_ms(_day(start, text)) if start else None, _ms(_day(stop, text)) if stop else None)
    if found.start_ms is not None and found.stop_ms is not None and found.stop_ms <= found.start_ms:
        raise BadRange(f"the range {text} ends before it starts: the second day is not included")
    return found


def _day(digits: str, text: str) -> datetime:
    try:
        if len(digits) != 8 or not digits.isdecimal():
            raise ValueError
        day = datetime(int(digits[:4]), int(digits[4:6]), int(digits[6:]), tzinfo=UTC)
    except ValueError:
        raise BadRange(f"{text!r} is no range of days: write it as 20240101-20240201, either end may be open") from None
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise BadRange(f"the year {day.year} in {text} is not between {FIRST_YEAR} and {LAST_YEAR}")
    return day


def _ms(day: datetime) -> int:
    return int(day.timestamp()) * 1000


def _day_of(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
