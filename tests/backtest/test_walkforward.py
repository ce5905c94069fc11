"""Folds, fits that see their train part alone, and one account through all of them."""

import os
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from backtest.crew import Crew, CrewLost, Seen
from backtest.forecasts import Forecasts
from backtest.run import play, rows_needed
from backtest.trips import deals_of, trips_of
from backtest.walkforward import FIT, Fold, Refit, Walked, fold_figures, folds_of, model_rows, refit, refit_all, walk
from bot.config import Settings, load
from bot.core.market import FIELDS, Panel, Side
from models.train import NAMES, fit
from tests.making import panel
from tests.models.markets import market

COINS = 5
EASY = {
    "account.cash": 10_000.0,
    "market.window": 30,
    "risk.volatility_max": 0.0,
    "risk.daily_loss_max": 0.9,
    "risk.drawdown_max": 1.0,
    "strategies.masked-divergence.window": 30,
    "strategies.masked-divergence.divergence_threshold": 0.0005,
    "strategies.masked-divergence.min_return_threshold": 0.0,
    "strategies.masked-divergence.round_trip_cost": 0.0,
}
SETTINGS = load(None, EASY)
HOLD = load(None, EASY | {"strategy.name": "hold", "risk.stop_loss": 0.0})
PANEL = market(1_500, COINS)
TRAIN, TEST, EMBARGO = 400, 200, 60
NEEDED = rows_needed(SETTINGS, model_rows("ridge", PANEL))
FOLDS = folds_of(len(PANEL), TRAIN, TEST, EMBARGO, NEEDED, anchored=False)


@given(
    st.integers(0, 600), st.integers(1, 100), st.integers(2, 50), st.integers(0, 60), st.integers(1, 80), st.booleans()
)
def test_folds_never_overlap_what_they_were_fitted_on(
    rows: int, train: int, test: int, embargo: int, needed: int, anchored: bool
) -> None:
    """Test parts follow each other without a gap; each train part ends an embargo before its own, inside the rows."""
    folds = folds_of(rows, train, test, embargo, needed, anchored)
    for fold in folds:
        assert 0 <= fold.train_start < fold.train_stop
        assert fold.train_stop + embargo == fold.test_start >= needed
        assert fold.test_stop == fold.test_start + test <= rows
        assert fold.train_start == 0 if anchored else fold.train_stop - fold.train_start == train
    assert all(one.test_stop == after.test_start for one, after in pairwise(folds))
    assert bool(folds) == (max(train + embargo, needed) + test <= rows)
    assert not folds or rows - folds[-1].test_stop < test


def spoiled(panel: Panel, start: int, stop: int) -> Panel:
    """The panel with other prices in these rows."""
    fields = {name: getattr(panel, name).copy() for name in FIELDS}
    for field in fields.values():
        field[start:stop] *= 1.0 + 0.3 * np.random.default_rng(9).random((stop - start, 1))
    return replace(panel, **fields)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_fitted_on_its_train_part_alone(name: str) -> None:
    """Other candles behind a test part, or before the train part, change nothing that is inferred in it; others in it do."""
    fold = FOLDS[1]
    job = Refit(name, fold, NEEDED)
    found = refit(Seen(PANEL), job)
    for start, stop in ((fold.test_stop, len(PANEL)), (0, fold.train_start)):
        again = refit(Seen(spoiled(PANEL, start, stop)), job)
        assert np.array_equal(found.returns, again.returns, equal_nan=True)
        assert again.fitted_ms == found.fitted_ms < PANEL.open_ms[fold.train_stop]
    other = refit(Seen(spoiled(PANEL, fold.train_start, fold.train_stop)), job)
    assert not np.array_equal(found.returns, other.returns, equal_nan=True)


def test_what_the_embargo_holds_reaches_no_coefficient() -> None:
    """The ridge does not learn while it runs: other candles between train and test leave its answers as they are."""
    fold = FOLDS[0]
    job = Refit("ridge", fold, NEEDED)
    found = refit(Seen(PANEL), job).returns
    again = refit(Seen(spoiled(PANEL, fold.train_stop, fold.test_start)), job).returns
    assert np.array_equal(found[1:], again[1:])  # the first return of the test part stands on the last close before it


def test_several_processes_find_what_one_finds() -> None:
    """Folds come back in their order with the same answers, whoever fitted them."""
    alone, together = (refit_all(PANEL, FOLDS[:3], "gaussian", NEEDED, workers) for workers in (1, 2))
    assert len(alone) == len(together) == 3
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.returns, other.returns, equal_nan=True)
        assert (one.fitted_ms, one.validation) == (other.fitted_ms, other.validation)


def walked(settings: Settings, source: Panel, folds: tuple[Fold, ...]) -> Walked:
    refitted = refit_all(source, folds, "ridge", NEEDED, 1) if settings is SETTINGS else ()
    return walk(settings, source, folds, refitted, NEEDED, {})


def test_returns_of_folds_chain_to_the_return_of_the_whole() -> None:
    """The product of the folds' growth is the account's; fills and ended trips of the folds are all there are."""
    done = walked(SETTINGS, PANEL, FOLDS)
    result = done.result
    assert len(result.fills) > 20
    trips = trips_of(deals_of(result), result.panel, result.panel.close[-1])
    figures = fold_figures(done, PANEL, trips)
    assert np.prod([1 + fold.total_return for fold in figures]) == pytest.approx(result.equity[-1] / result.capital)
    assert sum(fold.fills for fold in figures) == len(result.fills)
    assert sum(fold.trips for fold in figures) == sum(trip.closed for trip in trips)
    assert [fold.test_start_ms for fold in figures] == [PANEL.open_ms[fold.test_start] for fold in FOLDS]


def test_every_fold_is_traded_by_its_own_model() -> None:
    """Another model in the last fold moves no equity before it, and moves it there."""
    refitted = refit_all(PANEL, FOLDS, "ridge", NEEDED, 1)
    last = refit_all(PANEL, FOLDS[-1:], "market", NEEDED, 1)
    one, other = (walk(SETTINGS, PANEL, FOLDS, made, NEEDED, {}) for made in (refitted, refitted[:-1] + last))
    edge = FOLDS[-1].test_start - FOLDS[0].test_start
    assert np.array_equal(one.result.equity[:edge], other.result.equity[:edge])
    assert not np.array_equal(one.result.equity[edge:], other.result.equity[edge:])


def test_every_fold_weighs_costs_with_its_own_gain() -> None:
    """Where a round trip costs something, the fold whose model gains nothing buys nothing; with the gains changed over,
    the other one does not."""
    costly = load(None, EASY | {"strategies.masked-divergence.round_trip_cost": 0.001})
    folds = FOLDS[:2]
    edge_ms = int(PANEL.open_ms[folds[1].test_start])
    bought = []
    for gains in ((100.0, 0.0), (0.0, 100.0)):
        made = refit_all(PANEL, folds, "ridge", NEEDED, 1)
        turns = tuple(replace(one, gain=np.full(COINS, gain)) for one, gain in zip(made, gains, strict=True))
        orders = walk(costly, PANEL, folds, turns, NEEDED, {}).result.orders
        bought.append({order.open_ms >= edge_ms for order in orders if order.side is Side.BUY})
    assert bought == [{False}, {True}]


def test_a_fold_has_the_gain_it_was_fitted_with() -> None:
    """What fitting found on the train part is what the test part is traded with."""
    fold = FOLDS[0]
    gain = fit("ridge", PANEL.rows(fold.train_start, fold.train_stop), FIT).model.gain
    assert gain is not None
    assert gain.any()
    assert np.array_equal(refit(Seen(PANEL), Refit("ridge", fold, NEEDED)).gain, gain)


def test_gains_of_several_models_need_to_say_whose_a_slice_is() -> None:
    """One row of gains is every slice's; of two, each slice has one; none known is none."""
    returns, gains = np.zeros((3, 2)), np.array([[1.0, 2.0], [3.0, 4.0]])
    told = Forecasts(returns, gains, np.array([0, 1, 1]))
    assert [list(gain) for row in range(3) if (gain := told.gain_at(row)) is not None] == [[1, 2], [3, 4], [3, 4]]
    alone = Forecasts(returns, gains[:1]).gain_at(2)
    assert alone is not None
    assert alone.tolist() == [1.0, 2.0]
    assert Forecasts(returns).gain_at(2) is None
    with pytest.raises(ValueError, match="too many"):
        Forecasts(returns, gains).gain_at(2)


def test_nothing_is_sold_between_folds() -> None:
    """Holding through four folds is holding: the same fills as one replay over all of them, and no model is fitted."""
    done = walked(HOLD, PANEL, FOLDS)
    first, stop = FOLDS[0].test_start, FOLDS[-1].test_stop
    whole = play(HOLD, PANEL.rows(first - NEEDED, stop), NEEDED)
    assert done.result.digest == whole.digest
    assert len(done.result.fills) == COINS
    assert all(fold.fitted_ms is None for fold in fold_figures(done, PANEL, ()))


def test_a_fold_is_measured_from_what_the_one_before_left() -> None:
    """A price that doubles inside the second fold shows in the second alone, in the account and in holding."""
    close = np.full((300, 2), 100.0)
    close[225:] = 200.0
    source = panel(close, symbols=("A/USDT", "B/USDT"))
    folds = folds_of(300, 100, 50, 50, NEEDED, anchored=False)
    figures = fold_figures(walk(HOLD, source, folds, (), NEEDED, {}), source, ())
    assert [fold.total_return > 0.2 for fold in figures] == [False, True, False]
    assert [fold.hold_return for fold in figures] == pytest.approx([0.0, 1.0, 0.0], abs=0.01)


def doubled(seen: Seen, job: int) -> int:
    return 2 * job + len(seen.panel)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_crew_asks_for_a_job_when_it_has_room(workers: int) -> None:
    """Results come in the order of the jobs, and a job is asked for when all but `workers` before it are told."""
    told: list[int] = []
    ahead: list[int] = []

    def jobs() -> Iterator[int]:
        for job in range(6):
            ahead.append(job - len(told))
            yield job

    with Crew(workers, Seen(PANEL.rows(0, 10))) as crew:
        for job, found in crew.each(doubled, jobs()):
            told.append(job)
            assert found == 2 * job + 10
    assert told == list(range(6))
    assert max(ahead) == workers - 1


def ends_itself(seen: Seen, job: int) -> int:
    os._exit(job)


def test_a_worker_that_dies_is_said() -> None:
    """The kernel's killer for want of memory is met with a sentence, not with a wait for ever."""
    with Crew(2, Seen(PANEL.rows(0, 10))) as crew, pytest.raises(CrewLost, match="fewer --workers"):
        list(crew.each(ends_itself, [1, 2, 3]))
