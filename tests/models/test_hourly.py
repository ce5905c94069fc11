"""A volatility model on slices: ahead of a replay, or slice by slice as they come, the same forecasts."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bot.core.hours import hours_of, joined
from bot.core.market import FIELDS, HOUR_MS, MINUTE_MS, Floats, Panel
from models.hourly import Hourly, HourlyForecasts, forecast_ahead
from models.model import BadModel
from models.volatility_baselines import fit_baseline
from tests.models.hours import equal
from tests.models.volatile import volatile

QUARTER_MS = 15 * MINUTE_MS
HOURS = volatile(900, coins=3)
VALIDATION_MS = int(HOURS.open_ms[600])
HAR = fit_baseline("har-panel", HOURS, VALIDATION_MS)
EWMA = fit_baseline("ewma", HOURS, VALIDATION_MS)


def quarters(hours: int, seed: int = 7, absent: float = 0.03) -> Panel:
    """Quarters of hours that go on where HOURS end, a few candles of them missing."""
    rng = np.random.default_rng(seed)
    rows = 4 * hours
    close = 100.0 * np.exp(np.cumsum(rng.normal(0, 0.004, (rows, 3)), axis=0))
    opened = np.vstack((close[:1], close[:-1]))
    wick = np.exp(np.abs(rng.normal(0, 0.002, (2, rows, 3))))
    fields = [
        opened,
        np.maximum(opened, close) * wick[0],
        np.minimum(opened, close) / wick[1],
        close,
        np.ones((rows, 3)),
    ]
    gone = rng.random((rows, 3)) < absent
    for field in fields:
        field[gone] = np.nan
    open_ms = int(HOURS.open_ms[-1]) + HOUR_MS + QUARTER_MS * np.arange(rows, dtype=np.int64)
    first, highest, lowest, last, sums = fields
    return Panel(HOURS.symbols, QUARTER_MS, open_ms, first, highest, lowest, last, sums, ~gone)


def nothing(found: Floats | None) -> Floats:
    return np.full(3, np.nan) if found is None else found


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 359), max_size=8), st.integers(0, 3), st.sampled_from([0, 30, 300]))
def test_ahead_and_slice_by_slice_are_the_same(cuts: list[int], late: int, warm: int) -> None:
    """At every close, to the bit: whatever pieces slices come in, where in an hour they begin, and what warmed up."""
    for model in (EWMA, HAR):
        panel = quarters(90)
        panel = panel.rows(late, len(panel))
        before = HOURS.rows(len(HOURS) - warm, len(HOURS)) if warm else None
        ahead = forecast_ahead(model.of(HOURS.symbols), panel, before)
        live = Hourly(model.of(HOURS.symbols), QUARTER_MS)
        if before is not None:
            live.warm(before)
        edges = sorted({0, len(panel), *(cut for cut in cuts if cut < len(panel))})
        known = 0
        for start, stop in itertools.pairwise(edges):
            live.observe(panel.rows(start, stop))
            close_ms = int(panel.open_ms[stop - 1]) + QUARTER_MS
            assert equal(nothing(ahead.at(close_ms)), nothing(live.at(close_ms))), close_ms
            known += int(np.isfinite(nothing(ahead.at(close_ms))).any())
        assert known or model is HAR and not warm


def test_a_forecast_stands_from_the_close_of_its_hour_until_the_next() -> None:
    """An hour opened at 10:00 is forecast on from 11:00 to before 12:00; without the next hour nothing stands then."""
    ten = 10 * HOUR_MS
    told = HourlyForecasts(np.array([ten, ten + 2 * HOUR_MS]), np.array([[0.1], [0.3]]))
    assert told.at(ten + HOUR_MS - 1) is None
    assert nothing(told.at(ten + HOUR_MS))[0] == 0.1
    assert nothing(told.at(ten + 2 * HOUR_MS - 1))[0] == 0.1
    assert told.at(ten + 2 * HOUR_MS) is None
    assert told.at(ten + 3 * HOUR_MS - 1) is None
    assert nothing(told.at(ten + 3 * HOUR_MS))[0] == 0.3


def test_what_comes_later_moves_nothing() -> None:
    """Other candles after a slice leave every forecast up to its close as it was."""
    panel = quarters(60)
    ahead = forecast_ahead(HAR.of(HOURS.symbols), panel, HOURS)
    cut = 101
    changed = {name: getattr(panel, name).copy() for name in FIELDS}
    for name in FIELDS:
        changed[name][cut:] *= 1.5
    other = replace(panel, **changed)
    moved = forecast_ahead(HAR.of(HOURS.symbols), other, HOURS)
    for row in range(len(panel)):
        close_ms = int(panel.open_ms[row]) + QUARTER_MS
        same = equal(nothing(ahead.at(close_ms)), nothing(moved.at(close_ms)))
        assert same or row >= cut, row
    assert not equal(ahead.volatility, moved.volatility)


def test_hours_before_warm_up() -> None:
    """HAR looks back a week: with one before the first slice it forecasts at once, without it does in the second week."""
    panel = quarters(200, absent=0.0)
    cold, warm = (forecast_ahead(HAR.of(HOURS.symbols), panel, before) for before in (None, HOURS))
    begin_ms = int(panel.open_ms[0])
    assert np.isfinite(nothing(warm.at(begin_ms))).all()
    assert cold.at(begin_ms + HOUR_MS) is not None and not np.isfinite(nothing(cold.at(begin_ms + HOUR_MS))).any()
    assert np.isfinite(nothing(cold.at(begin_ms + (HAR.warmup + 1) * HOUR_MS))).all()


def test_hours_that_overlap_the_slices_are_the_slices_own() -> None:
    """What `before` says of hours that the panel has too is not looked at."""
    panel = quarters(30)
    hours = hours_of(panel)
    both = joined((HOURS, replace(hours, **{name: 2.0 * getattr(hours, name) for name in FIELDS})))
    one, other = (forecast_ahead(HAR.of(HOURS.symbols), panel, before) for before in (HOURS, both))
    assert equal(one.volatility, other.volatility)


def test_slices_that_make_no_hours_are_refused() -> None:
    """Four hours, or seven minutes: the model says that it forecasts by the hour."""
    panel = quarters(8)
    for interval_ms in (4 * HOUR_MS, 7 * MINUTE_MS):
        with pytest.raises(BadModel, match="by the hour"):
            Hourly(HAR, interval_ms)
    with pytest.raises(BadModel, match="by the hour"):
        forecast_ahead(HAR, replace(panel, interval_ms=7 * MINUTE_MS))
