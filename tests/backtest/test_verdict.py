"""The verdict: claims skill only where there is some, and says luck everywhere else."""

import re

import numpy as np
import pytest
from msgspec.structs import replace

from backtest.curve import performance
from backtest.statistics import Costs, Ended, Hold, Luck, RandomEntries, RoundTrips
from backtest.verdict import held_back, verdict
from bot.core.market import DAY_MS

TRIPS = RoundTrips(100, 0, 60, 0.6, 1.5, 1.0, 0.01, 5.0, -4.0, 60_000.0)
COSTS = Costs(0.001, 10.0, 1.0, 10_000.0, 10.0, 40.0, 0.002)
LUCK = Luck("day", 90, 3.0, 0.0, 3.0, 4, 1.0, 0.999, 0.99, 2.0, 2_000, None, None, None, None)
NOTHING_ENDED = Ended((), 0.0, 0.0, 0.2)
ENTRIES = RandomEntries(1_000, -0.1, -0.2, 0.05, 0.01)


def sentence(
    total: float = 0.2,
    trips: RoundTrips = TRIPS,
    costs: Costs = COSTS,
    luck: Luck = LUCK,
    entries: RandomEntries | None = ENTRIES,
    days: int = 90,
    ended: Ended = NOTHING_ENDED,
    coins: int = 3,
) -> str:
    equity, times = np.array([100.0, 100.0 * (1 + total)]), np.array([0, days * DAY_MS])
    own = performance(equity, 100.0, times, DAY_MS)
    other = np.array([100.0, 110.0])
    held = Hold(coins, performance(other, 100.0, times, DAY_MS), other)
    return verdict(own, ended, trips, costs, luck, held, entries, days * DAY_MS)


def test_skill_is_said_with_everything_it_stands_beside() -> None:
    """Earned or lost, against hold, against random entries, and the trials that were needed."""
    assert sentence() == (
        "Earned 20.0% in 90 days, 10.0 points better than holding the 3 coins, 99.0% of random entries with the same holding "
        "times and costs did no better: more than luck explains, the Sharpe ratio is above what chance gives the best "
        "of 4 trials with a probability of 99.0%."
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"luck": replace(LUCK, deflated_sharpe=0.94)},
        {"luck": replace(LUCK, deflated_sharpe=None)},
        {"entries": replace(ENTRIES, better=0.06)},
        {"entries": None},
        {"trips": replace(TRIPS, count=29)},
        {"days": 29},
        {"total": -0.01},
    ],
)
def test_one_doubt_is_enough_for_luck(changed: dict[str, object]) -> None:
    """A low deflated ratio, random entries as good, too few trips or days, a loss that may be chance: luck."""
    assert "not distinguishable from luck" in sentence(**changed)  # type: ignore[arg-type]


def test_too_few_trips_and_days_are_named() -> None:
    """How many there were and how many it would take."""
    said = sentence(trips=replace(TRIPS, count=3), days=5)
    assert said.endswith(
        "not distinguishable from luck, with 3 round trips where 30 would be the least and over 5 days where 30 "
        "days would be the least."
    )


def test_a_sure_loss_is_no_bad_luck() -> None:
    """Where even the loss is significant the sentence says whether the fees or the decisions made it."""
    sure = replace(LUCK, probabilistic_sharpe=0.001)
    ate = sentence(-0.2, costs=replace(COSTS, break_even_fee=0.0002), luck=sure)
    assert "not bad luck, the fees ate" in ate
    assert "0.0200% a side" in ate
    assert "without fees too" in sentence(-0.2, costs=replace(COSTS, break_even_fee=-0.0002), luck=sure)
    assert "worse than holding" in ate


def test_what_stands_in_ended_coins_is_said_in_the_same_sentence() -> None:
    """From a hundredth of the equity on; skill is still claimed where the rest earned something."""
    said = sentence(ended=Ended(("A/USDT", "B/USDT"), 12.0, 0.1, 0.08))
    assert said.startswith(
        "Earned 20.0% in 90 days (10.0% of the final equity stands in 2 coins that have no candle at the end: "
        "earned 8.0% if that is worth nothing), 10.0 points better"
    )
    assert "more than luck explains" in said
    assert "1 coin that has no candle" in sentence(ended=Ended(("A/USDT",), 12.0, 0.1, 0.08))
    assert sentence(ended=Ended(("A/USDT",), 1.2, 0.01, 0.188)) == sentence()


def test_no_skill_is_claimed_of_what_ended_coins_alone_earned() -> None:
    """Worth nothing they would leave a loss: luck, however sure the Sharpe ratio is."""
    said = sentence(ended=Ended(("A/USDT",), 48.0, 0.4, -0.28))
    assert "lost 28.0% if that is worth nothing" in said
    assert said.endswith("not distinguishable from luck, without those coins nothing was earned.")


def test_one_is_said_as_one() -> None:
    """One coin, one round trip."""
    assert "better than holding the coin," in sentence(coins=1)
    assert "with 1 round trip where 30" in sentence(trips=replace(TRIPS, count=1))


def test_nothing_traded_is_nothing_judged() -> None:
    """No trips: no claim of any kind."""
    none = replace(TRIPS, count=0)
    assert sentence(0.0, trips=none, entries=None) == "Nothing was traded in 90 days: there is nothing to judge."


def test_it_is_one_sentence() -> None:
    """One full stop, at the end."""
    for said in (
        sentence(),
        sentence(ended=Ended(("A/USDT",), 12.0, 0.1, 0.08)),
        sentence(-0.1),
        sentence(days=1),
        sentence(trips=replace(TRIPS, count=0)),
    ):
        assert len(re.findall(r"\.(?:\s|$)", said)) == 1


def test_a_limit_that_stopped_trading_for_good_is_told() -> None:
    """What tripped and was never over is named; what ended, and vetoes, are not."""
    assert held_back({"veto": 4, "risk.absent": 2, "risk.absent.over": 2}) == ""
    told = held_back({"risk.daily_loss": 1, "risk.absent": 2, "risk.absent.over": 2})
    assert told == " A limit of risk held trading back to the end: daily_loss."
