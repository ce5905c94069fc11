"""Where in the day and in the week a slice stands: four columns that know no edge at midnight."""

from typing import TypeVar

import numpy as np

from bot.core.market import HOUR_MS, Floats, Integers

HOURS = 168
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0


Hours = TypeVar("Hours", int, Integers)


def hour_of_week(open_ms: Hours) -> Hours:
    """Whole hours since Monday 00:00 UTC, 0 to 167; of one time or of an array of them."""
    return (open_ms // HOUR_MS + 24 * _EPOCH_WEEKDAY) % HOURS


def time_features(open_ms: Integers) -> Floats:
    """Sine and cosine of the hour of the day, sine and cosine of the weekday: [4, T]."""
    return _TABLE.take(hour_of_week(open_ms), axis=1)


def time_features_of(open_ms: int) -> list[float]:
    """The same four of one slice."""
    found: list[float] = _TABLE[:, hour_of_week(open_ms)].tolist()
    return found


def _table() -> Floats:
    """One column for each hour of the week: a lookup gives the same bits for one slice as for a thousand."""
    hours = np.arange(HOURS)
    day, week = 2.0 * np.pi * (hours % 24) / 24.0, 2.0 * np.pi * (hours // 24) / 7.0
    return np.stack((np.sin(day), np.cos(day), np.sin(week), np.cos(week)))


_TABLE = _table()
