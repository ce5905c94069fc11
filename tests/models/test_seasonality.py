"""The curves of the week, and New York's clock without a database."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.market import HOUR_MS
from models.model import BadModel
from models.seasonality import Seasonality, fit_seasonality, new_york_ms
from models.time_features import HOURS, hour_of_week

START_MS = 1_640_995_200_000  # 2022-01-01


@given(st.integers(1_199_145_600, 2_019_686_400))
def test_new_york_is_where_the_database_says(second: int) -> None:
    """From 2008 to 2033, through every change of the clocks."""
    there = datetime.fromtimestamp(second, UTC).astimezone(ZoneInfo("America/New_York"))
    offset = there.utcoffset()
    assert offset is not None
    assert int(new_york_ms(np.array([second * 1000]))[0]) == second * 1000 + int(offset.total_seconds()) * 1000


def test_clocks_change_at_two_in_the_morning() -> None:
    """2024-03-10 and 2024-11-03: the hour before and the hour after, to the millisecond."""
    for text, before, after in (("2024-03-10T07:00", -5, -4), ("2024-11-03T06:00", -4, -5)):
        at = int(np.datetime64(text, "ms").astype(np.int64))
        found = new_york_ms(np.array([at - 1, at])) - np.array([at - 1, at])
        assert (found // HOUR_MS).tolist() == [before, after]


def test_both_curves_are_found_again() -> None:
    """Hours made of a curve in UTC, one in New York and noise: their sum is found, in summer and in winter."""
    rng = np.random.default_rng(3)
    utc, new_york = rng.normal(0, 0.3, (2, 2, HOURS))
    made = Seasonality(("A/USDT", "B/USDT"), utc, new_york)
    open_ms = START_MS + HOUR_MS * np.arange(3 * 8760)
    slow = np.cumsum(rng.normal(0, 0.02, (len(open_ms), 2)), axis=0)
    logs = made.at(open_ms) + slow + rng.normal(0, 0.1, slow.shape)
    logs[rng.random(logs.shape) < 0.05] = np.nan
    found = fit_seasonality(made.symbols, open_ms, logs).at(open_ms)
    wanted = made.at(open_ms)
    wanted = wanted - wanted[: 52 * HOURS].mean(axis=0)
    found = found - found[: 52 * HOURS].mean(axis=0)
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.99
    assert np.abs(found - wanted).mean() < 0.04


def test_a_coin_never_seen_has_the_mean_curve() -> None:
    """And coins come in any order."""
    rng = np.random.default_rng(1)
    made = Seasonality(("A/USDT", "B/USDT"), *rng.normal(0, 0.3, (2, 2, HOURS)))
    open_ms = START_MS + HOUR_MS * np.arange(HOURS)
    found, own = made.of(("B/USDT", "X/USDT")).at(open_ms), made.at(open_ms)
    assert np.array_equal(found[:, 0], own[:, 1])
    assert np.allclose(found[:, 1], own.mean(axis=1))
    assert hour_of_week(START_MS) == 5 * 24


def test_curves_of_another_shape_are_refused() -> None:
    """As BadModel, also without any coin."""
    made = Seasonality(("A/USDT",), np.zeros((1, HOURS)), np.zeros((1, HOURS)))
    assert np.array_equal(Seasonality.load(("A/USDT",), made.tensors()).utc, made.utc)
    for symbols in ((), ("A/USDT", "B/USDT")):
        with pytest.raises(BadModel):
            Seasonality.load(symbols, made.tensors())
