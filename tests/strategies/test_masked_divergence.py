"""Masked divergence against numbers worked out by hand."""

import itertools
from typing import Literal

import numpy as np
import pytest
from pydantic import ValidationError

from bot.core.events import Forecast
from bot.core.market import MINUTE_MS, Floats
from bot.core.strategy import Portfolio, View
from bot.core.window import Sight, Window
from strategies.masked_divergence import MaskedDivergence, Settings, confidence, zscore
from tests.making import COINS, panel


def view(divergences: Floats, weights: tuple[float, ...] = (0, 0, 0), gain: float | None = None) -> View:
    """A view whose last rows have these divergences [K, 3]: nothing moved, all of it was inferred."""
    rows = len(divergences)
    window = Window(COINS, MINUTE_MS, rows + 1)
    for row, past in enumerate(panel(np.full((rows + 1, 3), 100.0)).open_ms):
        window.push(panel(np.full((1, 3), 100.0), int(past)).slice(0))
        if row:
            window.infer(divergences[row - 1])
    held = np.array(weights)
    nothing = np.full(3, np.nan)
    owned = Portfolio(
        1_000.0, 0.0, held, np.where(held > 0, 100, nothing), nothing, np.where(held > 0, 1, 0), np.full(3, 100.0)
    )
    gains = None if gain is None else np.full(3, gain)
    return View(
        Sight(window), Forecast(window.newest_ms, divergences[-1], gain=gains), np.flatnonzero(held), lambda: owned
    )


def history(*last: float) -> Floats:
    """Twenty divergences of +0.4 % for every coin, then these."""
    return np.vstack([np.full((20, 3), 0.004), np.array(last)])


def test_a_lagging_coin_is_bought_with_the_size_of_the_formula() -> None:
    """1 % against 0.8 %: consistency 1, magnitude 2, confidence 1, strength 1.25 x 2 capped at 2: 12 %."""
    targets = MaskedDivergence(Settings()).targets(view(history(0.010, 0.0, 0.007)))
    assert targets[0] == pytest.approx(0.06 * 2.0)
    assert np.isnan(targets[1:]).all()


def test_the_literal_rule_bets_the_other_way() -> None:
    """`continuation` buys the coin that ran ahead: against the history its confidence is 0.3 x 2 = 0.6."""
    settings = Settings(bet="continuation")
    targets = MaskedDivergence(settings).targets(view(history(-0.010, 0.010, 0.0)))
    assert targets[0] == pytest.approx(min(0.06 * 0.6 * 1.25 * 2.0, 0.15))
    assert np.isnan(targets[1]), "nothing held, nothing to sell"


def test_a_coin_that_ran_ahead_is_sold_at_most_by_the_formula() -> None:
    """Sell min(0.06 x confidence, 0.12) of equity, never more than is held."""
    targets = MaskedDivergence(Settings()).targets(view(history(-0.010, -0.010, 0.0), (0.10, 0.02, 0.0)))
    assert targets[0] == pytest.approx(0.10 - 0.06 * 0.6)
    assert targets[1] == 0.0


def test_too_little_confidence_is_skipped() -> None:
    """Below 0.3 nothing happens: here 0.7 x 0 + 0.3 x 0.8."""
    past = np.vstack([np.full((20, 3), -0.0125), [[0.010, 0.0, 0.0]]])
    assert np.isnan(MaskedDivergence(Settings()).targets(view(past))).all()


def test_a_round_trip_cost_must_be_beaten_by_the_expected_gain() -> None:
    """Gain 0.05 per unit of 1 % is 0.05 %: below 0.2 % nothing is bought, above 0.04 % it is; unknown is no."""
    costly, cheap = Settings(round_trip_cost=0.002), Settings(round_trip_cost=0.0004)
    seen = view(history(0.010, 0.0, 0.0), gain=0.05)
    assert np.isnan(MaskedDivergence(costly).targets(seen)).all()
    assert MaskedDivergence(cheap).targets(seen)[0] > 0
    assert np.isnan(MaskedDivergence(cheap).targets(view(history(0.010, 0.0, 0.0)))).all()


def test_the_default_is_what_a_round_trip_costs_on_the_account() -> None:
    """A gain of 0.05 of 1 % passes an account that costs 0.04 %, not one that costs 0.22 %; 0 is the published rule."""
    seen = view(history(0.010, 0.0, 0.0), gain=0.05)
    assert MaskedDivergence(Settings(), 0.0004).targets(seen)[0] > 0
    assert np.isnan(MaskedDivergence(Settings(), 0.0022).targets(seen)).all()
    assert MaskedDivergence(Settings(round_trip_cost=0.0), 0.0022).targets(seen)[0] > 0


@pytest.mark.parametrize("bet", ["reversion", "continuation"])
def test_an_opinion_refuses_exactly_what_the_targets_leave_out(bet: Literal["reversion", "continuation"]) -> None:
    """Over many views: "" where there is a target, words where there is none, whichever variant."""
    rng = np.random.default_rng(5)
    refusals = set()
    for entry, spread in itertools.product(("threshold", "zscore"), (0.004, 0.012)):
        rule = MaskedDivergence(Settings(bet=bet, entry=entry, z_slices=60, z_slices_min=20, round_trip_cost=0.002))
        for _ in range(100):
            held = tuple(float(one) for one in rng.choice([0.0, 0.08], 3))
            seen = view(rng.normal(0.001, spread, (61, 3)), held, gain=float(rng.choice([-0.4, 0.4])))
            targets = rule.targets(seen)
            for at in range(3):
                opinion = rule.opinion(seen, at)
                assert (opinion.refusal == "") == bool(np.isfinite(targets[at])), (opinion, targets[at])
                refusals.add(opinion.refusal.partition(" ")[0])
    assert len(refusals) > 4


def test_an_order_says_what_it_was_expected_to_bring() -> None:
    """The gain times the divergence, where the model knows a gain."""
    rule = MaskedDivergence(Settings())
    assert rule.explain(view(history(0.010, 0.0, 0.0), gain=0.3), 0) == (
        "divergence +1.00%, expected +0.30% (reversion)"
    )
    assert rule.explain(view(history(0.010, 0.0, 0.0)), 0) == "divergence +1.00% (reversion)"


@pytest.mark.parametrize("wrong", ["acount", -0.001, 1.5, float("nan"), None, True])
def test_a_cost_that_is_none_is_refused_in_one_sentence(wrong: object) -> None:
    """A typing error must not switch the gate off."""
    with pytest.raises(ValidationError, match='must be "account", or a fraction') as caught:
        Settings(round_trip_cost=wrong)
    assert caught.value.error_count() == 1


def test_confidence_by_hand() -> None:
    """Half of the signs, twice the mean size; 0.5 without any history."""
    recent = np.array([[0.01, np.nan], [-0.01, np.nan]])
    assert confidence(np.array([0.02, 0.02]), recent) == pytest.approx([0.7 * 0.5 + 0.3 * 2, 0.5])


def test_zscore_by_hand_and_only_with_enough_history() -> None:
    """(3 - 1) / 1 = 2; with fewer values than asked for there is none."""
    past = np.array([[0.0], [2.0], [0.0], [2.0], [3.0]])
    assert zscore(past, 4) == pytest.approx([2.0])
    assert np.isnan(zscore(past, 5)).all()


def test_the_zscore_variant_enters_beyond_two_and_exits_when_it_has_come_back() -> None:
    """Entry at z > 2, exit below z_exit after the minimum holding time."""
    rng = np.random.default_rng(1)
    past = rng.normal(0, 0.001, (200, 3))
    settings = Settings(entry="zscore", z_slices=300, window=10)
    entering = np.vstack([past, [[0.005, 0.0, -0.005]]])
    targets = MaskedDivergence(settings).targets(view(entering))
    assert targets[0] == pytest.approx(0.06)
    assert np.isnan(targets[1:]).all()
    leaving = MaskedDivergence(settings).targets(view(entering, (0.0, 0.06, 0.06)))
    assert list(leaving[1:]) == [0.0, 0.0]


def test_the_order_of_coins_does_not_matter() -> None:
    """Permuting the coins permutes the targets."""
    rows = np.random.default_rng(3).normal(0, 0.01, (21, 3))
    order = [2, 0, 1]
    straight = MaskedDivergence(Settings()).targets(view(rows))
    assert np.array_equal(MaskedDivergence(Settings()).targets(view(rows[:, order])), straight[order], equal_nan=True)


def test_contradictions_are_refused() -> None:
    """Settings that could never work say which to change."""
    with pytest.raises(ValidationError, match="z_exit is not below"):
        Settings(z_exit=3.0)
    with pytest.raises(ValidationError, match="base_position_size is above"):
        Settings(base_position_size=0.2)
