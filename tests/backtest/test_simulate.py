"""The historical pump: what fills when, at what price, and that skipping ahead changes nothing at all."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from backtest.forecasts import Forecasts
from backtest.simulate import Delays, Replay, Venue
from bot.core.fills import FillModel
from bot.core.market import HOUR_MS, MINUTE_MS, Floats, Panel, Side
from bot.core.strategy import View
from models.hourly import HourlyForecasts
from strategies import build
from strategies.masked_divergence import MaskedDivergence, Settings
from tests.making import Wanting, instruments, panel, setup, walk

DAY = 1_440


def venue(fee_bps: int = 10, **delays: int) -> Venue:
    """Fills at the open, a fee in USDT."""
    costs = FillModel(Decimal(fee_bps), "quote", Decimal(0), Decimal(0), Decimal(1))
    return Venue(instruments(), costs, Delays(**delays))


def replay(candles: Panel, strategy: Any, forecasts: Forecasts | None = None, **limits: Any) -> Replay:
    first = max(strategy.warmup, 2)
    return Replay(candles, first, setup(rows=5, **limits), strategy, venue(), Decimal(10_000), forecasts)


class Once(Wanting):
    """Wants 30 % of the first coin at its first decision, and nothing after."""

    asked = 0

    def targets(self, view: View) -> Floats:
        self.asked += 1
        return np.array([0.3 if self.asked == 1 else np.nan, np.nan, np.nan])


def test_an_order_fills_at_the_next_open_and_not_at_the_close_it_was_decided_on() -> None:
    """Decided at the close of candle 2 (100), filled at the open of candle 3 (103); the fee is 0.1 % of its value."""
    candles = panel(np.array([[100.0] * 3] * 5))
    candles.open[3] = 103.0
    run = replay(candles, Once())
    run.run()
    (fill,) = run.fills
    assert (fill.side, fill.price, fill.quantity) == (Side.BUY, Decimal(103), Decimal("30.000"))
    assert fill.fee == Decimal("3.09")
    assert fill.time_ms == int(candles.open_ms[3]) + 650, "slice known after 500 ms, 150 ms to the exchange"
    assert run.engine.equity == 10_000 - 30 * 3 - 3.09


def test_nothing_fills_where_nothing_traded() -> None:
    """A candle without a trade fills no order; what outlives its minute is cancelled."""
    candles = panel(np.array([[100.0] * 3] * 6))
    candles.present[3:5, 0] = False
    run = replay(candles, Once())
    run.run()
    assert not run.fills
    assert [order.state for order in run.orders.values()] == ["canceled"]


def test_an_order_slower_than_a_candle_meets_the_one_that_runs_when_it_arrives() -> None:
    """With two minutes to the exchange the fill is at the open two candles later."""
    candles = panel(np.array([[100.0] * 3] * 8))
    candles.open[5] = 105.0
    slow = Venue(instruments(), venue().fills, Delays(latency_ms=2 * MINUTE_MS))
    made = setup(rows=5)
    made = replace(made, planner=made.planner.model_copy(update={"life_ms": 10 * MINUTE_MS}))
    run = Replay(candles, 2, made, Once(), slow, Decimal(10_000))
    run.run()
    assert [fill.price for fill in run.fills] == [Decimal(105)]


SWINGS = st.lists(
    st.sampled_from([-0.06, -0.03, -0.01, -0.004, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.004, 0.01, 0.03, 0.06, 9.0]),
    min_size=3 * 120,
    max_size=3 * 120,
)


@settings(max_examples=60)
@given(
    SWINGS,
    st.sets(st.integers(0, 3 * 120 - 1), max_size=8),
    st.sampled_from([0, 0.03]),
    st.sampled_from([0, 0.02]),
    st.sampled_from([0.03, 1.0]),
    st.integers(0, DAY),
)
def test_skipping_ahead_changes_nothing(
    moves: list[float], absent: set[int], stop: float, trailing: float, loss: float, minute: int
) -> None:
    """Stops, trailing stops, loss limits, midnight, absent candles, jumps in doubt: same orders, fills and equity."""
    close = 100.0 * np.cumprod(1 + np.array(moves).reshape(120, 3), axis=0)
    close = np.clip(close, 1.0, 1e6).round(2)
    close.reshape(-1)[sorted(absent)] = np.nan
    candles = panel(close, start_ms=1_700_006_400_000 + minute * MINUTE_MS)
    np.copyto(candles.open, close, where=np.isnan(candles.open))  # after an absent candle there is none before
    inferred = np.random.default_rng(len(absent)).normal(0, 0.004, close.shape).astype(np.float64)
    inferred[np.isnan(close)] = np.nan
    limits = {"stop_loss": stop, "trailing_stop": trailing, "daily_loss_max": loss, "drawdown_max": max(loss, 0.1)}
    runs = []
    for skipping in (False, True):
        strategy = MaskedDivergence(Settings(window=5, divergence_threshold=0.02, min_return_threshold=0.0))
        run = replay(candles, strategy, Forecasts(inferred), absent_max=0.4, cooldown_ms=120_000, **limits)
        run.run_skipping() if skipping else run.run()
        runs.append(run)
    stepped, skipped = runs
    assert list(map(astuple, skipped.fills)) == list(map(astuple, stepped.fills))
    assert skipped.orders == stepped.orders
    assert skipped.digest.value == stepped.digest.value
    assert skipped.equity == stepped.equity
    assert skipped.engine.ledger.positions() == stepped.engine.ledger.positions()
    assert skipped.engine.risk.remember() == stepped.engine.risk.remember()
    assert skipped.notes == stepped.notes


def test_an_order_that_comes_in_the_middle_of_a_candle_waits_for_the_next_open() -> None:
    """The open was traded long before: half a minute of latency costs a candle."""
    candles = panel(np.array([[100.0] * 3] * 8))
    candles.open[3], candles.open[4] = 90.0, 104.0
    late = Venue(instruments(), venue().fills, Delays(latency_ms=30_000))
    run = Replay(candles, 2, setup(rows=5), Once(), late, Decimal(10_000))
    run.run()
    assert [fill.price for fill in run.fills] == [Decimal(104)]


def test_a_strategy_cannot_write_into_the_candles() -> None:
    """Marks and windows are views of the panel, and nobody can write through them."""

    class Scribbling(Wanting):
        def targets(self, view: View) -> Floats:
            view.portfolio.mark[:] = 0.1
            return view.portfolio.mark

    run = replay(panel(np.array([[100.0] * 3] * 8)), Scribbling())
    with pytest.raises(ValueError, match="read-only"):
        run.run()


def hourly(candles: Panel, seed: int, known: float = 0.9) -> HourlyForecasts:
    """Volatilities of every whole hour of these candles, some not known."""
    open_ms = np.unique(candles.open_ms // HOUR_MS)[1:-1] * HOUR_MS
    rng = np.random.default_rng(seed)
    volatility = rng.lognormal(-4.5, 0.5, (len(open_ms), len(candles.symbols)))
    return HourlyForecasts(open_ms, np.where(rng.random(volatility.shape) < known, volatility, np.nan))


def test_a_decision_sees_the_volatilities_that_stand_at_its_close() -> None:
    """The hour that the slice completes counts, the one that runs does not; before the first hour nothing is known."""
    candles = walk(200)
    told = hourly(candles, 1, known=1.0)
    seen: dict[int, Floats] = {}

    class Seeing(Wanting):
        wants_volatility = True

        def targets(self, view: View) -> Floats:
            assert view.forecast is not None and view.forecast.volatility is not None
            assert np.isnan(view.forecast.returns).all() and np.isnan(view.window.inferred).all()
            seen[view.window.newest_ms + MINUTE_MS] = view.forecast.volatility.copy()
            return super().targets(view)

    run = replay(candles, Seeing(), Forecasts(None, volatility=told))
    run.run()
    assert len(seen) == len(candles) - run.first
    for close_ms, volatility in seen.items():
        hour = close_ms // HOUR_MS * HOUR_MS - HOUR_MS  # the newest that is over
        at = np.flatnonzero(told.open_ms == hour)
        expected = told.volatility[at[0]] if len(at) else np.full(3, np.nan)
        assert np.array_equal(volatility, expected, equal_nan=True)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**16),
    st.sampled_from(["hold", "masked-divergence"]),
    st.sampled_from(["portfolio", "coin"]),
    st.sampled_from([0.0, 0.015]),
    st.sampled_from([0, 0.03]),
    st.integers(0, 59),
)
def test_skipping_ahead_changes_nothing_of_a_sized_strategy(
    seed: int, of: str, per: str, ceiling: float, stop: float, minute: int
) -> None:
    """Volatility targets of both kinds, the ceiling on entries, stops, absent candles: the same orders and equity."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0, 0.004, (400, 3)), axis=0)).round(4)
    close[rng.random(close.shape) < 0.002] = np.nan
    candles = panel(close, start_ms=1_700_006_400_000 + minute * MINUTE_MS)
    np.copyto(candles.open, close, where=np.isnan(candles.open))
    inferred = np.where(np.isnan(close), np.nan, rng.normal(0, 0.004, close.shape))
    forecasts = Forecasts(None if of == "hold" else inferred, volatility=hourly(candles, seed))
    sections: dict[str, dict[str, Any]] = {
        "volatility-target": {"of": of, "per": per, "band": 0.1, "target": 0.6},
        "masked-divergence": {"window": 5, "divergence_threshold": 0.012, "min_return_threshold": 0.0},
    }
    limits = {"stop_loss": stop, "forecast_volatility_max": ceiling, "daily_loss_max": 0.5, "drawdown_max": 0.5}
    runs = []
    for skipping in (False, True):
        strategy = build("volatility-target", sections, 0.0)
        strategy.warmup = strategy.rows = min(strategy.rows, 241)  # or there would be nothing left to decide
        run = replay(candles, strategy, forecasts, absent_max=0.4, cooldown_ms=120_000, **limits)
        run.run_skipping() if skipping else run.run()
        runs.append(run)
    stepped, skipped = runs
    assert list(map(astuple, skipped.fills)) == list(map(astuple, stepped.fills))
    assert skipped.orders == stepped.orders
    assert skipped.digest.value == stepped.digest.value
    assert skipped.equity == stepped.equity
    assert skipped.engine.risk.remember() == stepped.engine.risk.remember()
    assert skipped.notes == stepped.notes
    assert of != "hold" or ceiling or stepped.fills
