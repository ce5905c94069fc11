"""Risk: limits, states and reasons. It alone approves, and every refusal says why."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bot.core.commands import Approved
from bot.core.market import DAY_MS, Side
from bot.core.planner import Wish
from bot.core.risk import Level, Limits, Risk, Veto
from bot.core.snapshot import Cause
from bot.core.strategy import Portfolio
from tests.making import COINS

NOW_MS = 20_000 * DAY_MS
NOBUYS = np.zeros(3)


def risk(**limits: float) -> Risk:
    made = Risk(COINS, Limits(**limits))
    made.slices = 10
    return made


def portfolio(*weights: float) -> Portfolio:
    held = np.array(weights)
    return Portfolio(
        10_000.0,
        10_000.0 * (1 - held.sum()),
        held,
        np.where(held > 0, 100.0, np.nan),
        np.where(held > 0, 100.0, np.nan),
        np.where(held > 0, 1, 0),
        np.full(3, 100.0),
    )


def wish(side: Side = Side.BUY, quantity: str = "10", price: str = "100") -> Wish:
    return Wish("BTC/USDT", 0, side, Decimal(quantity), Decimal(price), None, "")


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.lists(st.floats(0, 0.5), min_size=3, max_size=3))
def test_trimmed_targets_stay_within_the_limits(wanted: list[float], held: list[float]) -> None:
    """No entry above position_max, the sum within exposure_max, and no limit turns a wish to buy into a sale."""
    guard, owned = risk(position_max=0.15, exposure_max=0.4), portfolio(*held)
    targets, _ = guard.trim(np.array(wanted), owned, NOBUYS, 0.0, NOW_MS)
    after = np.where(np.isnan(targets), owned.weights, targets)
    entered = after > owned.weights + 1e-12
    assert (after[entered] <= 0.15 + 1e-12).all()
    assert after.sum() <= max(0.4, np.minimum(after, owned.weights).sum()) + 1e-9
    assert (after[np.array(wanted) >= owned.weights] >= owned.weights[np.array(wanted) >= owned.weights] - 1e-12).all()


def test_each_limit_names_itself() -> None:
    """A refused entry says which limit and at what value."""
    guard = risk(volatility_max=0.01)
    _, vetoes = guard.trim(np.array([0.1, np.nan, np.nan]), portfolio(0, 0, 0), NOBUYS, 0.02, NOW_MS)
    assert "risk.volatility_max" in vetoes[0].reason
    guard.broken_at[0] = 9
    _, vetoes = guard.trim(np.array([0.1, np.nan, np.nan]), portfolio(0, 0, 0), NOBUYS, 0.0, NOW_MS)
    assert "risk.sane_candles_min" in vetoes[0].reason
    guard.broken_at[0] = 7
    guard.cool_down("BTC/USDT", NOW_MS)
    _, vetoes = guard.trim(np.array([0.1, np.nan, np.nan]), portfolio(0, 0, 0), NOBUYS, 0.0, NOW_MS)
    assert "cooling down" in vetoes[0].reason


def test_daily_loss_stops_entries_and_exits_go_on() -> None:
    """NO_ENTRIES: a buy is refused with the loss in words, a sell passes."""
    guard = risk(daily_loss_max=0.05)
    guard.observe(10_000, NOW_MS)
    guard.observe(9_400, NOW_MS + 1)
    (cause,) = guard.opened
    assert "risk.daily_loss_max" in cause.text
    assert guard.level is Level.NO_ENTRIES
    targets, vetoes = guard.trim(np.array([0.1, 0.0, np.nan]), portfolio(0, 0.1, 0), NOBUYS, 0.0, NOW_MS)
    assert np.isnan(targets[0])
    assert targets[1] == 0.0
    assert "today's loss" in vetoes[0].reason
    assert isinstance(guard.approve(wish(), "a", 10_000, 1, 0, NOW_MS), Veto)
    assert isinstance(guard.approve(wish(Side.SELL), "a", 10_000, 1, 0, NOW_MS), Approved)


@given(
    st.lists(st.floats(0, 0.2) | st.just(float("nan")), min_size=3, max_size=3),
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
    st.lists(st.floats(0, 0.5), min_size=3, max_size=3),
)
def test_the_ceiling_on_forecast_volatility_stops_entries_and_nothing_else(
    ahead: list[float], wanted: list[float], held: list[float]
) -> None:
    """Above it a coin is not bought, with both values named; sales pass, and so does what is not known."""
    guard, free = risk(forecast_volatility_max=0.05), risk()
    owned, targets = portfolio(*held), np.array(wanted)
    trimmed, vetoes = guard.trim(targets, owned, NOBUYS, 0.0, NOW_MS, np.array(ahead))
    entering = targets > owned.weights
    refused = entering & (np.array(ahead) > 0.05)
    assert np.isnan(trimmed).tolist() == refused.tolist()
    assert [veto.symbol for veto in vetoes] == [COINS[at] for at in np.flatnonzero(refused)]
    assert (trimmed[~entering] == targets[~entering]).all()
    for veto in vetoes:
        value = ahead[COINS.index(veto.symbol)]
        assert veto.reason == f"forecast volatility {value:.4f} an hour is above risk.forecast_volatility_max 0.0500"
    for nothing in (
        free.trim(targets, owned, NOBUYS, 0.0, NOW_MS, np.array(ahead)),
        guard.trim(targets, owned, NOBUYS, 0.0, NOW_MS),
    ):
        assert not nothing[1]


def test_a_new_day_starts_a_new_count_but_ends_no_latched_cause() -> None:
    """The loss limit is latched: only a person leads back."""
    guard = risk(daily_loss_max=0.05)
    guard.observe(10_000, NOW_MS)
    guard.observe(9_400, NOW_MS + 1)
    guard.observe(9_400, NOW_MS + DAY_MS)
    assert guard.level is Level.NO_ENTRIES
    guard.resume(9_400)
    guard.observe(9_400, NOW_MS + DAY_MS + 1)
    assert not guard.level


def test_reduce_sells_everything_and_halted_sends_nothing() -> None:
    """The states order themselves: the highest open cause rules."""
    guard = risk()
    guard.trip(Cause("a", Level.REDUCE, "reduce", latched=True))
    targets, _ = guard.trim(np.array([0.1, np.nan, np.nan]), portfolio(0, 0.1, 0), NOBUYS, 0.0, NOW_MS)
    assert targets[1] == 0.0
    assert np.isnan(targets[[0, 2]]).all()
    guard.trip(Cause("b", Level.HALTED, "halt", latched=True))
    targets, _ = guard.trim(np.array([0.1, 0.0, np.nan]), portfolio(0, 0.1, 0), NOBUYS, 0.0, NOW_MS)
    assert np.isnan(targets).all()
    assert isinstance(guard.approve(wish(Side.SELL), "a", 10_000, 1, 0, NOW_MS), Veto)
    guard.clear("b")
    assert guard.level is Level.REDUCE


@pytest.mark.parametrize("broken", [wish(quantity="NaN"), wish(quantity="-1"), wish(price="Infinity")])
def test_an_insane_order_is_never_approved_and_halts(broken: Wish) -> None:
    """Fault O24: NaN, infinity and negatives cannot become Approved."""
    guard = risk()
    assert isinstance(guard.approve(broken, "a", 10_000, 1, 0, NOW_MS), Veto)
    assert guard.level is Level.HALTED


def test_the_governor_refuses_the_first_order_above_its_cap() -> None:
    """Fault O23: order number cap + 1 of a slice is refused and halts."""
    guard = risk(orders_per_slice_max=3)
    made = [guard.approve(wish(quantity="1"), str(number), 10_000, 1, 7, NOW_MS) for number in range(4)]
    assert [isinstance(order, Approved) for order in made] == [True, True, True, False]
    assert guard.level is Level.HALTED
    assert guard.causes[0].fault == "O23"


def test_an_order_above_order_max_is_refused() -> None:
    """20 % of equity in one order is above 15 %."""
    veto = risk().approve(wish(quantity="20"), "a", 10_000, 1, 0, NOW_MS)
    assert isinstance(veto, Veto)
    assert "risk.order_max" in veto.reason


def test_a_cause_for_a_time_ends_by_itself() -> None:
    """A pause of a symbol is over when its time is."""
    guard = risk()
    guard.trip(Cause("price_jump", Level.NO_ENTRIES, "jumped", "BTC/USDT", NOW_MS + 10))
    assert guard.level is Level.RUNNING, "one symbol's cause is not everybody's"
    _, vetoes = guard.trim(np.array([0.1, np.nan, np.nan]), portfolio(0, 0, 0), NOBUYS, 0.0, NOW_MS)
    assert vetoes[0].reason == "jumped"
    guard.expire(NOW_MS + 9)
    assert not guard.ended
    guard.expire(NOW_MS + 10)
    assert [cause.code for cause in guard.ended] == ["price_jump"]
    assert guard.causes == ()


def test_memory_survives_a_restart() -> None:
    """Causes, peaks, cooldowns and rates come back as they were."""
    guard = risk(drawdown_max=0.1, daily_loss_max=0.05)
    guard.observe(10_000, NOW_MS)
    guard.observe(8_000, NOW_MS + 1)
    guard.cool_down("BTC/USDT", NOW_MS)
    guard.approve(wish(Side.SELL), "a", 10_000, 1, 0, NOW_MS)
    other = risk(drawdown_max=0.1, daily_loss_max=0.05)
    other.restore(guard.remember())
    assert other.remember() == guard.remember()
    assert other.level is Level.REDUCE


def test_contradicting_limits_are_refused() -> None:
    """A position larger than the whole exposure makes no sense and says which setting to change."""
    with pytest.raises(ValidationError, match="position_max is above"):
        Limits(position_max=0.5, exposure_max=0.4)
