"""Fates: what the page says came of a divergence is what the engine did with it, and to look changes nothing."""

from collections.abc import Sequence

import numpy as np
import pytest
from msgspec.structs import replace

from bot.core.commands import Note, Submit
from bot.core.events import Forecasted, Operator, SliceClosed, Verb
from bot.core.market import MINUTE_MS, Floats
from bot.core.memory import remember
from bot.core.strategy import Strategy
from bot.fates import STRONGEST, Fate, Fates, strongest
from strategies.masked_divergence import MaskedDivergence, Settings
from strategies.volatility_target import Settings as Sizing
from strategies.volatility_target import VolatilityTarget
from tests.making import COINS, Talk, Wanting, answer, panel, started

ROWS = 40
ALL_IN = {"exposure_max": 10.0, "position_max": 1.0, "order_max": 1.0}
RULE = Settings(window=5, divergence_threshold=0.005, round_trip_cost=0.002)


class Watched:
    """An engine whose prices stand still, and its fates: what was inferred is the divergence."""

    def __init__(self, strategy: Strategy, cash: str = "10000", **limits: float) -> None:
        self.talk: Talk = started(strategy, panel(np.full((ROWS, 3), 100.0)), cash, **limits)
        self.fates = Fates(self.talk.engine)

    def decides(self, *inferred: float, gain: float | None = None) -> tuple[Fate, ...]:
        """One more slice with this forecast; the fates as the daemon learns them."""
        engine = self.talk.engine
        closes = panel(np.full((1, 3), 100.0), engine.window.newest_ms + MINUTE_MS)
        self.talk.hears(SliceClosed(closes.slice(0)), MINUTE_MS)
        told = answer(int(closes.open_ms[0]), inferred)
        gains = None if gain is None else np.full(3, gain)
        self.talk.hears(Forecasted(replace(told.forecast, gain=gains), 0.001))
        for command in self.talk.said:
            if isinstance(command, Note) and command.code == "veto":
                self.fates.vetoed(command)
        self.fates.decided(replace(told.forecast, gain=gains))
        return self.fates.newest

    def learns(self, slices: int = 25) -> "Watched":
        """Slices of small divergences, so that the window has a past to be confident by."""
        for _ in range(slices):
            self.decides(0.001, -0.001, 0.001)
        return self


def test_a_sized_strategy_tells_as_it_would_alone() -> None:
    """What was expected, what it had to beat, and why a coin was left."""
    sized = VolatilityTarget(Sizing(of="masked-divergence", per="coin", least=1.0), MaskedDivergence(RULE))
    alone, both = (
        Watched(one).learns().decides(0.01, 0.001, 0.001, gain=0.1) for one in (MaskedDivergence(RULE), sized)
    )
    assert [(one.expected, one.cost, one.why) for one in both] == [(one.expected, one.cost, one.why) for one in alone]
    assert both[0].cost == 0.002 and both[0].expected == pytest.approx(0.001)


def test_a_buy_says_what_it_was_expected_to_bring() -> None:
    """1 % behind with a gain of 0.5: 0.5 % expected against 0.2 %; the order of this slice is the fate."""
    watched = Watched(MaskedDivergence(RULE)).learns()
    bought, *rest = watched.decides(0.01, 0.001, 0.001, gain=0.5)
    (submit,) = watched.talk.of(Submit)
    assert isinstance(submit, Submit)
    assert bought.client_id == submit.order.client_id
    assert bought.why == submit.order.reason == "divergence +1.00%, expected +0.50% (reversion)"
    assert bought.expected == pytest.approx(0.005)
    assert (bought.symbol, bought.cost, bought.vetoed) == (COINS[0], 0.002, False)
    assert [one.client_id for one in rest] == ["", ""]


@pytest.mark.parametrize(
    ("inferred", "gain", "why"),
    [
        (0.004, 0.5, "0.40% is not above divergence_threshold 0.50%"),
        (-0.006, 0.5, "a signal to sell, and none is held"),
        (0.010, 0.1, "expected +0.10%, a round trip costs 0.20%"),
        (0.010, None, "what it would earn is unknown, a round trip costs 0.20%"),
    ],
)
def test_what_the_strategy_leaves_alone_it_gives_a_reason_for(inferred: float, gain: float | None, why: str) -> None:
    """Each of the rule's questions has its own words, and no order comes of it."""
    watched = Watched(MaskedDivergence(RULE)).learns()
    first = watched.decides(inferred, 0.0, 0.0, gain=gain)[0]
    assert (first.why, first.client_id, first.vetoed) == (why, "", False)
    assert not watched.talk.of(Submit)


def test_too_little_confidence_is_said_with_its_figures() -> None:
    """Twenty divergences of the other sign and twice the size: 0.3 x 0.5 is below 0.3."""
    watched = Watched(MaskedDivergence(RULE))
    for _ in range(25):
        watched.decides(-0.02, 0.0, 0.0)
    assert watched.decides(0.01, 0.0, 0.0, gain=0.5)[0].why == "confidence 0.15 < 0.30"


def test_a_veto_is_told_with_risks_own_reason_for_every_coin_it_names() -> None:
    """A pause vetoes two entries in one note: both fates say so; after the resume it is forgotten."""
    watched = Watched(Wanting(True, (0.1, 0.1, np.nan)))
    watched.talk.hears(Operator(Verb.PAUSE, "kay"))
    fates = {one.symbol: one for one in watched.decides(0.01, 0.009, 0.0)}
    assert [fates[symbol].vetoed for symbol in COINS] == [True, True, False]
    assert fates[COINS[0]].why == fates[COINS[1]].why == "pause by kay"
    assert fates[COINS[2]].why == "the strategy has no opinion"
    watched.talk.hears(Operator(Verb.RESUME, "kay"))
    assert all(one.client_id for one in watched.decides(0.01, 0.009, 0.0)[:2])


@pytest.mark.parametrize(
    ("share", "limits", "next_weights", "coin", "why"),
    [
        (0.3, {}, (0.5, np.nan, np.nan), COINS[0], "risk.position_max 30.0% is reached"),
        (0.3, {"exposure_max": 0.3}, (np.nan, 0.2, np.nan), COINS[1], "risk.exposure_max 30.0% is reached"),
        (1.0, ALL_IN, (np.nan, 0.2, np.nan), COINS[1], "no more than 5.94 of cash is free"),
    ],
)
def test_a_limit_that_leaves_nothing_of_a_wish_is_named(
    share: float, limits: dict[str, float], next_weights: Sequence[float], coin: str, why: str
) -> None:
    """One coin is bought and filled; of what is wanted next nothing is left: position, exposure or cash is at its end."""
    wanting = Wanting(True, (share, np.nan, np.nan))
    watched = Watched(wanting, "600", **limits)
    watched.decides(0.01, 0.0, 0.0)
    watched.talk.fill(watched.talk.of(Submit)[0], "100")
    wanting.weights = next_weights
    assert max(watched.decides(0.01, 0.02, 0.0), key=lambda one: one.symbol == coin).why == why
    assert not watched.talk.of(Submit)


@pytest.mark.parametrize(
    ("weights", "cash", "why"),
    [
        ((0.0004, np.nan, np.nan), "10000", "0.04% of equity is below planner.trade_min 0.10%"),
        ((0.3, np.nan, np.nan), "20", "below the exchange's minimum of 5 USDT"),
        ((0.0, np.nan, np.nan), "10000", "as much is held as it would buy"),
    ],
)
def test_what_the_planner_drops_is_said(weights: Sequence[float], cash: str, why: str) -> None:
    """Too small for the planner, too small for the exchange, or nothing to change."""
    watched = Watched(Wanting(True, weights), cash)
    assert watched.decides(0.01, 0.0, 0.0)[0].why == why
    assert not watched.talk.of(Submit)


def test_what_is_bought_already_is_not_bought_twice() -> None:
    """An order that waits holds the coin's share: the next slice says that it is being bought."""
    watched = Watched(Wanting(True, (0.2, np.nan, np.nan)))
    assert watched.decides(0.01, 0.0, 0.0)[0].client_id
    assert watched.decides(0.01, 0.0, 0.0)[0].why == "it is being bought already"


def test_to_look_moves_nothing() -> None:
    """Invariant I19: the engine's equity waits for its own next look; a fill since the slice must not move it earlier."""
    watched = Watched(MaskedDivergence(RULE)).learns()
    watched.decides(0.01, 0.0, 0.0, gain=0.5)
    watched.talk.fill(watched.talk.of(Submit)[0], "90")
    engine = watched.talk.engine
    before, equity = remember(engine, 1, 21), engine.equity
    forecast = replace(answer(engine.window.newest_ms, (0.01, 0.0, 0.0)).forecast, gain=np.full(3, 0.5))
    watched.fates.decided(forecast)
    assert engine.equity == equity != engine.ledger.equity()
    assert repr(remember(engine, 1, 21)) == repr(before)


def test_a_slice_without_a_decision_leaves_the_last_fates() -> None:
    """A forecast of another slice than the newest tells nothing of it."""
    watched = Watched(MaskedDivergence(RULE)).learns()
    known, open_ms = watched.fates.newest, watched.fates.open_ms
    watched.fates.decided(answer(open_ms - MINUTE_MS, (0.1, 0.1, 0.1)).forecast)
    watched.fates.decided(None)
    assert (watched.fates.newest, watched.fates.open_ms) == (known, open_ms)


def test_the_strongest_come_first_and_the_unknown_not_at_all() -> None:
    """By size, whatever the sign; NaN is left out, and no more than STRONGEST are kept."""
    divergence: Floats = np.array([0.001, np.nan, -0.003, 0.002])
    assert strongest(divergence).tolist() == [2, 3, 0]
    assert len(strongest(np.linspace(1, 2, 50))) == STRONGEST
