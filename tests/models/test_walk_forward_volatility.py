"""Walking forward with volatility models: what a fold may know, and that its forecasts are those of its own model."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.market import FIELDS, HOUR_MS, Panel
from models.model import BadModel
from models.volatility_baselines import fit_baseline
from models.volatility_coverage import HOLE_MAX, TAUGHT_MIN, coverage
from models.volatility_hindcast import hindcast, outcome, scores
from models.volatility_model import VALIDATION_MIN
from models.walk_forward_volatility import Fitted, WalkedForward, folds_of, walk_forward
from tests.models.hours import equal, panel
from tests.models.markets import without
from tests.models.volatile import volatile

WHOLE = volatile(3_200, 2)
VALIDATION = 2_600
VALIDATION_MS = int(WHOLE.open_ms[VALIDATION])


def har(seen: Panel, validation_ms: int, folder: Path) -> Fitted:
    return Fitted(fit_baseline("har", seen, validation_ms))


def spoiled(given: Panel, rows: slice, coin: int, **values: float) -> Panel:
    """The panel with other numbers in one coin's hours."""
    fields = [getattr(given, name).copy() for name in FIELDS]
    for name, value in values.items():
        fields[FIELDS.index(name)][rows, coin] = value
    return panel(fields, np.isfinite(fields[3]), int(given.open_ms[0]))


def gone(given: Panel, rows: slice, coin: int) -> Panel:
    """The panel without one coin's candles in these rows."""
    return spoiled(given, rows, coin, **dict.fromkeys(FIELDS, np.nan))


def sparse(given: Panel, rows: slice, coin: int) -> Panel:
    """The panel with two hours in five of one coin's candles in these rows."""
    for first in range(2, 5):
        given = gone(given, slice(rows.start + first, rows.stop, 5), coin)
    return given


@pytest.fixture(scope="module")
def walked() -> WalkedForward:
    folds = folds_of(WHOLE, VALIDATION_MS, 3, 100, None)
    return walk_forward(WHOLE, folds, 100, har, ("har", "ewma"), Path("nowhere"), None)


@given(count=st.integers(1, 20), embargo=st.integers(0, 300), first=st.integers(2_300, 2_700))
def test_a_fold_is_fitted_on_hours_that_end_the_embargo_before_it_begins(count: int, embargo: int, first: int) -> None:
    """Folds follow each other without a gap over the validation hours; each validates for as long as the last model."""
    begin_ms, stop_ms = int(WHOLE.open_ms[first]), int(WHOLE.open_ms[-1]) + HOUR_MS
    try:
        folds = folds_of(WHOLE, begin_ms, count, embargo, None)
    except BadModel:
        assert first - embargo - (len(WHOLE) - first) < TAUGHT_MIN + 200
        return
    assert (folds[0].start_ms, folds[-1].stop_ms, len(folds)) == (begin_ms, stop_ms, count)
    assert all(one.stop_ms == other.start_ms for one, other in itertools.pairwise(folds))
    for fold in folds:
        assert fold.start_ms - fold.seen_ms == embargo * HOUR_MS
        assert fold.seen_ms - fold.validation_ms == stop_ms - begin_ms
        assert fold.start_ms < fold.stop_ms


def test_no_fold_is_shown_a_later_hour() -> None:
    """The last hour that each fit is given has ended the embargo before the fold begins."""
    given: list[tuple[int, int]] = []

    def fit(seen: Panel, validation_ms: int, folder: Path) -> Fitted:
        given.append((int(seen.open_ms[-1]) + HOUR_MS, validation_ms))
        return har(seen, validation_ms, folder)

    folds = folds_of(WHOLE, VALIDATION_MS, 3, 168, None)
    walk_forward(WHOLE, folds, 168, fit, (), Path("nowhere"), None)
    assert [end for end, _ in given] == [fold.start_ms - 168 * HOUR_MS for fold in folds]
    assert [begin for _, begin in given] == [fold.validation_ms for fold in folds]


def test_every_hour_is_forecast_by_its_own_folds_model(walked: WalkedForward) -> None:
    """The second fold's hours get what a model says that is fitted by hand on the hours before; all hours are there."""
    assert walked.hindcasts[""].open_ms.tolist() == WHOLE.open_ms[VALIDATION:].tolist()
    fold = folds_of(WHOLE, VALIDATION_MS, 3, 100, None)[1]
    seen = WHOLE.rows(0, int(np.searchsorted(WHOLE.open_ms, fold.seen_ms)))
    wanted = hindcast(fit_baseline("har", seen, fold.validation_ms), WHOLE, fold.start_ms, fold.stop_ms)
    at = walked.folds == 2
    for name in ("volatility", "mean", "median", "quantiles"):
        assert equal(getattr(walked.hindcasts[""], name)[at], getattr(wanted, name)), name


def test_the_baselines_are_fitted_again_for_each_fold(walked: WalkedForward) -> None:
    """What is walked with, as a baseline beside itself, has its own figures; HAR beats the moving average."""
    assert equal(walked.hindcasts[""].volatility, walked.hindcasts["har"].volatility)
    assert walked.scores[""] == walked.scores["har"]
    assert walked.scores["har"].qlike < walked.scores["ewma"].qlike


def test_the_scores_are_those_of_the_hours_glued(walked: WalkedForward) -> None:
    """One coin's QLIKE by hand; without a coin to tune for the figure is the mean over coins."""
    own = walked.hindcasts[""]
    happened = outcome(WHOLE, own.open_ms)
    ratio = (happened.actual / own.volatility) ** 2
    by_hand = np.mean(ratio - np.log(ratio) - 1.0, axis=0)
    assert walked.scores[""].qlike == pytest.approx(float(by_hand.mean()), rel=1e-12)
    alone = scores({"": own}, happened, [1])[""]
    assert alone.qlike == pytest.approx(float(by_hand[1]), rel=1e-12)


def test_a_coin_that_was_not_there_yet_is_forecast_later() -> None:
    """Too young for the first fold it is left out of that one alone; to be tuned for it must be there in all."""
    young = gone(WHOLE, slice(0, 650), 1)
    folds = folds_of(young, VALIDATION_MS, 2, 0, None)
    assert [fold.symbols for fold in folds] == [("C0/USDT",), WHOLE.symbols]
    found = walk_forward(young, folds, 0, har, (), Path("nowhere"), None)
    known = np.isfinite(found.hindcasts[""].volatility[:, 1])
    assert known.tolist() == (found.folds == 2).tolist()
    with pytest.raises(BadModel, match="fold 1 of 2 begins too early, C1/USDT: .* hours to learn from"):
        folds_of(young, VALIDATION_MS, 2, 0, "C1/USDT")


@pytest.mark.parametrize(("count", "first", "says"), [(40, VALIDATION, "take fewer"), (2, 1_900, "too early")])
def test_folds_without_enough_hours_are_refused(count: int, first: int, says: str) -> None:
    """With what to change, before anything is fitted."""
    with pytest.raises(BadModel, match=says):
        folds_of(WHOLE, int(WHOLE.open_ms[first]), count, 0, None)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (gone(WHOLE, slice(0, VALIDATION - TAUGHT_MIN + 1), 1), "to learn from"),
        (gone(WHOLE, slice(VALIDATION + VALIDATION_MIN - 1, None), 1), "to validate on"),
        (gone(WHOLE, slice(1_000, 1_001 + HOLE_MAX), 1), "169 hours in a row are missing"),
        (spoiled(WHOLE, slice(None), 1, volume=0.0), "table of closes"),
        (spoiled(WHOLE, slice(None), 1, open=7.0, high=7.0, low=7.0, close=7.0), "never moved"),
        (gone(WHOLE, slice(None), 1), "never moved"),
        (sparse(WHOLE, slice(VALIDATION, None), 1), "hours to validate on"),
    ],
)
def test_a_coin_that_cannot_be_fitted_says_why(given: Panel, says: str) -> None:
    """And the other one can."""
    found = coverage(given, VALIDATION_MS)
    assert found.enough == ("C0/USDT",) and says in found.wrong["C1/USDT"]


def test_what_coverage_lets_through_can_be_fitted_and_what_it_refuses_cannot() -> None:
    """Hours here and there are many, and HAR knows nothing of them: it and its factors count as coverage does."""
    long = volatile(4_200, 2)
    validation_ms = int(long.open_ms[3_500])
    for rows, says in ((slice(400, 3_500), "to learn from follow"), (slice(3_500, None), "to validate on")):
        given = sparse(long, rows, 1)
        assert says in coverage(given, validation_ms).wrong["C1/USDT"]
        with pytest.raises(BadModel, match="C1/USDT"):
            fit_baseline("har", given, validation_ms)
    some = sparse(long, slice(3_400, 3_600), 1)
    assert coverage(some, validation_ms).enough == fit_baseline("har", some, validation_ms).symbols == long.symbols


def test_no_hours_before_the_embargo_are_said_to_be_none() -> None:
    """With what to change, and not as if a coin had never moved."""
    with pytest.raises(BadModel, match="no hours are left before fold 1 of 1 less an embargo of 2600 hours"):
        folds_of(WHOLE, VALIDATION_MS, 1, VALIDATION, None)


def test_short_holes_are_counted_and_passed_over() -> None:
    """Hours of one coin, and hours of all."""
    assert coverage(WHOLE, VALIDATION_MS).missing == {}
    holed = without(gone(WHOLE, slice(1_000, 1_000 + HOLE_MAX), 1), slice(500, 503))
    found = coverage(holed, VALIDATION_MS)
    assert found.enough == WHOLE.symbols and found.missing == {"C0/USDT": 3, "C1/USDT": 3 + HOLE_MAX}


def test_what_lies_before_the_first_hour_cannot_be_forecast() -> None:
    """A hindcast needs an hour before it, and hours in it."""
    model = fit_baseline("har", WHOLE, VALIDATION_MS)
    for start_ms, stop_ms in ((0, VALIDATION_MS), (VALIDATION_MS, VALIDATION_MS)):
        with pytest.raises(BadModel, match="give more"):
            hindcast(model, WHOLE, start_ms, stop_ms)
