"""Volatility target against numbers worked out by hand."""

import typing
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bot.core.events import Forecast
from bot.core.market import HOUR_MS, MINUTE_MS, Floats
from bot.core.strategy import Block, Portfolio, Strategy, View
from bot.core.window import Sight, Window
from strategies import SETTINGS, build, involved
from strategies.hold import Hold
from strategies.hold import Settings as HoldSettings
from strategies.masked_divergence import MaskedDivergence
from strategies.masked_divergence import Settings as MaskedSettings
from strategies.volatility_target import BLOCK, HOURS, Settings, VolatilityTarget, correlation, together
from tests.making import COINS, Wanting, panel

NOON_MS = 1_700_006_400_000 + 12 * HOUR_MS
AN_HOUR = 1 / np.sqrt(HOURS)  # of a volatility a year, the part that an hour has
MASKED = MaskedSettings(window=5, divergence_threshold=0.02, min_return_threshold=0.0)


def hold(invested: float = 0.9, **settings: Any) -> VolatilityTarget:
    return VolatilityTarget(Settings(**settings), Hold(HoldSettings(invested=invested)))


def view(
    yearly: tuple[float, ...] | None,
    weights: tuple[float, ...] = (0, 0, 0),
    close_ms: int = NOON_MS,
    close: Floats | None = None,
) -> View:
    """A view at this close with these volatilities a year forecast, and these closes [K, 3] before it."""
    close = np.full((3, 3), 100.0) if close is None else close
    window = Window(COINS, MINUTE_MS, len(close))
    for past in (given := panel(close, close_ms - len(close) * MINUTE_MS)).open_ms:
        window.push(given.slice(int((past - given.open_ms[0]) // MINUTE_MS)))
    held = np.array(weights, dtype=np.float64)
    entry = np.where(held > 0, 100.0, np.nan)
    owned = Portfolio(1_000.0, 0.0, held, entry, entry, np.where(held > 0, 1, 0), np.full(3, 100.0))
    volatility = None if yearly is None else np.array(yearly) * AN_HOUR
    forecast = Forecast(window.newest_ms, np.full(3, np.nan), volatility)
    return View(Sight(window), forecast, np.flatnonzero(held), lambda: owned)


def test_each_coin_is_sized_by_its_own_forecast() -> None:
    """Target 40 %: a coin of 80 % is halved, one of 160 % has a quarter, one of 20 % has all and no more."""
    targets = hold(per="coin", target=0.4).targets(view((0.8, 1.6, 0.2)))
    assert targets == pytest.approx([0.15, 0.075, 0.3])


def test_a_portfolio_is_sized_as_a_whole() -> None:
    """Too little is known of correlations, so they count as 1: 0.3 x (0.8 + 1.6 + 0.6) is 90 %, the factor 0.4 / 0.9."""
    targets = hold(target=0.4).targets(view((0.8, 1.6, 0.6)))
    assert targets == pytest.approx([0.3 * 0.4 / 0.9] * 3)


def test_the_portfolio_is_what_the_constant_correlation_model_says() -> None:
    """sqrt(w' C w), written out: one correlation between all pairs, shares and volatilities of three coins."""
    shares, volatility = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.8, 1.2])
    for r in (0.0, 0.35, 1.0):
        c = r * np.outer(volatility, volatility)
        np.fill_diagonal(c, volatility**2)
        assert together(shares, volatility, r) == pytest.approx(np.sqrt(shares @ c @ shares))


@pytest.mark.parametrize("per", ["coin", "portfolio"])
def test_a_forecast_that_fails_sells_nothing(per: str) -> None:
    """What is held of a coin that is not known is let be, and is not bought back an hour later; an entry is cautious."""
    targets = hold(per=per, least=0.1).targets(view((np.nan,) * 3, weights=(0.29, 0.29, 0.0)))
    assert targets == pytest.approx([np.nan, np.nan, 0.03], nan_ok=True)
    assert hold(per=per).targets(view(None, weights=(0.3, 0.3, 0.3))) == pytest.approx([np.nan] * 3, nan_ok=True)


def test_factors_stay_within_least_and_most() -> None:
    """However wild or calm: a tenth at the least, what the inner strategy wants at the most."""
    wild, calm = (hold(per="coin", least=0.1, most=0.8).targets(view((one,) * 3)) for one in (100.0, 0.001))
    assert wild == pytest.approx([0.03] * 3)
    assert calm == pytest.approx([0.24] * 3)


@pytest.mark.parametrize("per", ["coin", "portfolio"])
def test_what_is_not_known_is_sized_with_least(per: str) -> None:
    """One coin's forecast missing, or zero; all of them; a slice without any volatility."""
    sized = hold(per=per, least=0.2)
    assert sized.targets(view((0.1, np.nan, 0.0))) == pytest.approx([0.3, 0.06, 0.06])
    for nothing in (view((np.nan,) * 3), view(None)):
        assert sized.targets(nothing) == pytest.approx([0.06] * 3)
    seen = view((0.1, 0.1, 0.1))
    alone = View(seen.window, None, seen.held, lambda: seen.portfolio)
    assert sized.targets(alone) == pytest.approx([0.06] * 3)


def test_a_coin_that_is_not_known_does_not_count_in_the_portfolio() -> None:
    """0.3 x (0.8 + 1.6) is 72 %: what is known is held to the target by itself."""
    targets = hold(target=0.36, least=0.1).targets(view((0.8, 1.6, np.nan)))
    assert targets == pytest.approx([0.15, 0.15, 0.03])


def test_a_share_within_the_band_is_let_be() -> None:
    """Wanted 0.15 with a band of a fifth: 0.121 and 0.179 stay, 0.1 and 0.2 are brought to its edges; nothing is bought whole."""
    sized = hold(per="coin", band=0.2)
    assert sized.targets(view((0.8,) * 3, (0.121, 0.179, 0.1))) == pytest.approx([np.nan, np.nan, 0.12], nan_ok=True)
    assert sized.targets(view((0.8,) * 3, (0.2, 0.15, 0.0))) == pytest.approx([0.18, np.nan, 0.15], nan_ok=True)


def test_within_an_hour_nothing_is_sized_anew() -> None:
    """A strategy that stands is asked at the close of an hour, and `quiet` says so of the other slices."""
    sized = hold(per="coin")
    closes = NOON_MS + MINUTE_MS * np.arange(1, 61)
    asked = [sized.targets(view((0.8,) * 3, close_ms=int(close_ms))) is not None for close_ms in closes]
    assert asked == [False] * 59 + [True]
    returns = np.zeros((60, 3))
    assert sized.quiet(Block(closes, returns, returns == 0, None)).tolist() == [not one for one in asked]


@given(
    st.lists(st.floats(0.01, 5.0), min_size=3, max_size=3),
    st.lists(st.floats(0.0, 0.3), min_size=3, max_size=3),
    st.sampled_from(["coin", "portfolio"]),
)
def test_sizing_never_asks_for_more_than_is_wanted(yearly: list[float], held: list[float], per: str) -> None:
    """No leverage, no short: every share is within the band of least to most of the inner one's; asked again, the same."""
    sized, seen = hold(per=per, least=0.05), view(tuple(yearly), tuple(held))
    targets = sized.targets(seen)
    assert targets is not None
    given_up = targets[~np.isnan(targets)]
    assert ((given_up >= 0.8 * 0.05 * 0.3 - 1e-12) & (given_up <= 0.3 + 1e-12)).all()
    for again in (hold(per=per, least=0.05).targets(view(tuple(yearly), tuple(held))), sized.targets(seen)):
        assert again is not None
        assert np.array_equal(targets, again, equal_nan=True)


@given(st.floats(0.2, 3.0), st.floats(1.05, 4.0))
def test_a_wilder_market_is_held_less(yearly: float, times: float) -> None:
    """The factor falls with the forecast, and is the target over it where nothing is clamped."""
    calm, wild = (hold(1.0, target=0.5, least=0.0).targets(view((one,) * 3)) for one in (yearly, yearly * times))
    assert calm is not None and wild is not None
    assert (wild <= calm).all()
    assert wild.sum() == pytest.approx(min(1.0, 0.5 / (yearly * times)))


# -- strategies that buy and sell


def test_entries_are_made_smaller_and_everything_else_passes() -> None:
    """Bought 0.4 x 0.3; sold whole; left alone; and 0.3 of 0.25 held would be a sale, which an entry never is."""

    def of(*wanted: float) -> VolatilityTarget:
        return VolatilityTarget(Settings(per="coin", target=0.4), Wanting(weights=wanted))

    seen = view((1.0, 1.0, 1.0), (0.0, 0.2, 0.1))
    assert of(0.3, 0.0, np.nan).targets(seen) == pytest.approx([0.12, 0.0, np.nan], nan_ok=True)
    held = view((1.0, 1.0, 1.0), (0.25, 0.2, 0.1))
    assert of(0.3, 0.05, 0.3).targets(held) == pytest.approx([np.nan, 0.05, 0.12], nan_ok=True)


def test_a_portfolio_of_entries_is_what_they_lead_to() -> None:
    """Held 0.2 of 100 %, wanted 0.3 of 200 % beside it: 80 % together, so half of the entry at a target of 40 %."""
    sized = VolatilityTarget(Settings(target=0.4), Wanting(weights=[np.nan, 0.3, np.nan]))
    targets = sized.targets(view((1.0, 2.0, 1.0), (0.2, 0.0, 0.0)))
    assert targets == pytest.approx([np.nan, 0.15, np.nan], nan_ok=True)


def test_exits_need_no_forecast_of_anything() -> None:
    """What an inner strategy sells is sold, whole, without volatilities and within an hour."""
    sized = VolatilityTarget(Settings(), Wanting(weights=[0.0, 0.0, np.nan]))
    seen = view(None, (0.3, 0.2, 0.1), close_ms=NOON_MS + MINUTE_MS)
    assert sized.targets(seen) == pytest.approx([0.0, 0.0, np.nan], nan_ok=True)


def test_what_it_needs_is_what_the_inner_strategy_needs() -> None:
    """Forecasts of returns where the inner one wants them, its warm-up, its quiet stretches."""
    inner = MaskedDivergence(MASKED)
    sized = VolatilityTarget(Settings(per="coin"), inner)
    assert (sized.wants_forecast, sized.wants_volatility, hold().wants_forecast) == (True, True, False)
    assert (sized.warmup, sized.rows) == (inner.warmup, inner.rows)
    returns = np.random.default_rng(1).normal(0, 0.01, (50, 3))
    block = Block(NOON_MS + MINUTE_MS * np.arange(50), returns, returns != 0, np.zeros((50, 3)))
    assert np.array_equal(sized.quiet(block), inner.quiet(block))
    assert sized.quiet(block).any()
    assert not VolatilityTarget(Settings(), Wanting()).quiet(block).any()


def test_an_order_says_what_it_was_sized_by() -> None:
    """Factor, forecast and target in words; the inner strategy's own reason before them; what is not known is said."""
    assert hold(per="coin").explain(view((0.8, 1.6, np.nan)), 0) == (
        "factor 0.50: its forecast volatility is 80% a year, the target 40%"
    )
    assert hold().explain(view((0.8, 1.6, 0.6)), 1) == (
        "factor 0.44: the portfolio's forecast volatility is 90% a year, the target 40%"
    )
    assert hold().explain(view((0.8, 1.6, np.nan)), 2) == "factor 0.10: volatility not known, the target 40%"
    sized = VolatilityTarget(Settings(per="coin"), Wanting(weights=[0.3, np.nan, np.nan]))
    assert sized.explain(view((0.8,) * 3), 0).startswith("because, factor 0.50: ")


# -- the one correlation


def test_the_correlation_is_the_mean_of_all_pairs() -> None:
    """What numpy finds pair by pair in blocks of ten, means not taken out; coins that never move do not count."""
    rng = np.random.default_rng(3)
    returns = rng.normal(0, 1e-3, (1_000, 1)) * [1.0, 2.0, 0.5, 0.0] + rng.normal(0, 1e-3, (1_000, 4)) * [1, 1, 1, 0]
    blocks = returns[:, :3].reshape(-1, BLOCK, 3).sum(axis=1)
    unit: Floats = blocks / np.sqrt((blocks**2).mean(axis=0))
    pairs = [float((unit[:, one] * unit[:, other]).mean()) for one, other in ((0, 1), (0, 2), (1, 2))]
    assert correlation(returns, np.ones(returns.shape, dtype=np.bool_)) == pytest.approx(np.mean(pairs))


def test_a_delay_between_coins_is_no_lack_of_correlation() -> None:
    """A coin that follows two slices later: slice by slice nothing in common, in blocks most of it."""
    moves = np.random.default_rng(4).normal(0, 1e-3, 1_002)
    both = np.column_stack((moves[2:], moves[:-2]))
    assert abs(np.asarray(np.corrcoef(both.T))[0, 1]) < 0.1
    assert correlation(both, np.ones(both.shape, dtype=np.bool_)) > 0.6


def test_too_little_is_taken_for_the_worst() -> None:
    """Few blocks, one coin, or coins that are opposites: 1, 1, and never below 0."""
    rng = np.random.default_rng(5)
    one = rng.normal(0, 1e-3, (400, 1))
    real = np.ones((400, 2), dtype=np.bool_)
    assert correlation(one[:100] * [1, 1], real[:100]) == 1.0
    assert correlation(one, real[:, :1]) == 1.0
    assert correlation(one * [1, -1], real) == 0.0


# -- settings


@pytest.mark.parametrize(
    "wrong", [{"most": 1.5}, {"least": 0.9, "most": 0.5}, {"of": "volatility-target"}, {"target": 0}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    """No leverage, no contradiction, no sizing of itself, no target of nothing."""
    with pytest.raises(ValidationError):
        Settings(**wrong)


def test_it_may_size_every_other_strategy() -> None:
    """A new strategy is named in its settings too; what is built has the inner one's own section."""
    others = set(SETTINGS) - {"volatility-target"}
    assert set(typing.get_args(Settings.model_fields["of"].annotation)) == others
    for name in others:
        sections: dict[str, dict[str, Any]] = {"volatility-target": {"of": name}, "hold": {"invested": 0.5}}
        made: Strategy = build("volatility-target", sections, 0.002)
        assert isinstance(made, VolatilityTarget)
        assert involved("volatility-target", sections) == ("volatility-target", name)
        if isinstance(made.inner, Hold):
            assert made.inner.settings.invested == 0.5
        if isinstance(made.inner, MaskedDivergence):
            assert made.inner.cost == 0.002
