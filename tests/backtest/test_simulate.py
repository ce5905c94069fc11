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
from bot.core.market import MINUTE_MS, Floats, Panel, Side
from bot.core.strategy import View
from strategies.masked_divergence import MaskedDivergence, Settings
from tests.making import Wanting, instruments, panel, setup

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
