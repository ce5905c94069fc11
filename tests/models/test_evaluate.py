"""The quality report's values: one set of rows, chosen slices, one coin's comparison, calibration."""

import json

import numpy as np
import pytest

from bot.core.market import Floats, Panel
from models.calibration import calibrate
from models.comparison import ROWS_MAX, compare, direction
from models.dataset import split
from models.evaluate import Evaluation, evaluate
from models.model import BadModel
from models.train import BASELINES, fit
from tests.models.markets import market

PANEL = market(3_000, 5, seed=21, absent=0.02)


@pytest.fixture(scope="module")
def found() -> Evaluation:
    return evaluate(fit("ridge", PANEL).model, PANEL)


def test_all_baselines_stand_beside_the_model(found: Evaluation) -> None:
    """Market, ridge and three Gaussians, each with every figure; a model that is one of them scores as it does."""
    assert tuple(found.baselines) == BASELINES
    assert found.baselines["ridge"].lag0 == found.lag0
    assert found.baselines["ridge"].event_study == found.event_study
    assert [one.steps for one in found.horizons] == [1, 5, 15, 60]
    assert found.horizons[0].raw == found.divergence_next
    told = json.dumps(found.as_dict(), allow_nan=False)
    keys = {"mean", "median", "min", "max", "strong", "weak", "none"}
    assert all(json.loads(told)["baselines"][name]["lag1"].keys() == keys for name in BASELINES)


def test_rows_are_the_same_for_all() -> None:
    """Where the Gaussian does not know a coin well enough yet, no model is scored on it; each says what it inferred."""
    absent = np.zeros(len(PANEL), dtype=np.bool_)
    absent[:2_050] = absent[2_100:2_600] = True  # ridge and market have 50 returns to fit on, too few for the Gaussian
    close, present = PANEL.close.copy(), PANEL.present.copy()
    close[absent, 4], present[absent, 4] = np.nan, False
    panel = Panel(PANEL.symbols, PANEL.interval_ms, PANEL.open_ms, close, close, close, close, PANEL.volume, present)
    scored = evaluate(fit("market", panel).model, panel)
    returns = close[1:, 4] / close[:-1, 4] - 1
    assert 0 < scored.per_coin[4].points < np.isfinite(returns[-450:]).sum()
    assert scored.inferred > scored.baselines["gaussian"].inferred


def test_chosen_steps_are_evenly_spaced(found: Evaluation) -> None:
    """From the first to the last; more than there are is all of them."""
    model = fit("ridge", PANEL).model
    some = evaluate(model, PANEL, 50)
    test = split(PANEL).test
    assert (some.steps, some.start_ms, some.stop_ms) == (50, test.open_ms[0], test.open_ms[-1])
    assert max(coin.points for coin in some.per_coin) <= 50
    assert some.lag0 != found.lag0
    assert evaluate(model, PANEL, 10_000).lag0 == found.lag0


def test_a_coins_means_are_over_its_points(found: Evaluation) -> None:
    """The mean divergence is mean inferred less mean actual; its actual mean is that of the candles."""
    coin = found.per_coin[1]
    assert coin.mean_inferred is not None and coin.mean_actual is not None
    assert coin.mean_divergence == pytest.approx(coin.mean_inferred - coin.mean_actual)
    returns = PANEL.close[1:, 1] / PANEL.close[:-1, 1] - 1
    test = returns[-450:]
    assert coin.mean_actual == pytest.approx(np.nanmean(test))
    assert coin.points == np.isfinite(test).sum()


def test_the_compared_coin_is_the_one_asked_for(found: Evaluation) -> None:
    """The last 200 slices of it, oldest first; one that is not the model's is refused with the nearest."""
    assert found.comparison.symbol == "C0/USDT"
    model = fit("market", PANEL).model
    asked = evaluate(model, PANEL, 20, "C2/USDT").comparison
    assert asked.symbol == "C2/USDT" and 180 < len(asked.rows) <= ROWS_MAX
    assert asked.rows[-1].open_ms == PANEL.open_ms[-1]
    assert asked.rows[-1].actual == pytest.approx(PANEL.close[-1, 2] / PANEL.close[-2, 2] - 1)
    with pytest.raises(BadModel, match="did you mean C2/USDT"):
        evaluate(model, PANEL, coin="CC2/USDT")


def test_a_comparison_by_hand() -> None:
    """Percent of the actual size, infinite where the price stood still, and the share of one sign."""
    inferred: Floats = np.array([0.002, 0.0005, -0.002, 0.001, 0.0, np.nan])
    actual: Floats = np.array([0.004, -0.0004, 0.001, 0.0, 0.0, 0.1])
    found = compare("X/USDT", np.arange(6), inferred, actual)
    assert [row.direction for row in found.rows] == ["match", "neutral", "opposite", "opposite", "match"]
    shares = [row.divergence_percent for row in found.rows]
    assert shares[3:] == ["infinite", 0.0]
    assert shares[:3] == pytest.approx([-50.0, 225.0, -300.0])
    assert found.direction_accuracy == pytest.approx(2 / 5)
    assert found.correlation == pytest.approx(np.corrcoef(inferred[:5], actual[:5])[0, 1])


@pytest.mark.parametrize(
    ("inferred", "actual", "expected"),
    [(0.0001, 0.5, "match"), (-0.0009, 0.0009, "neutral"), (-0.001, 0.0009, "opposite"), (0.002, 0.0, "opposite")],
)
def test_directions(inferred: float, actual: float, expected: str) -> None:
    """One sign matches whatever the size; two signs are neutral only where both are below a tenth of a percent."""
    assert direction(inferred, actual) == expected


def test_nothing_to_compare_is_an_empty_table() -> None:
    """A coin that is absent throughout has no row, no accuracy and no correlation."""
    found = compare("X/USDT", np.arange(3), np.full(3, np.nan), np.zeros(3))
    assert (found.rows, found.direction_accuracy, found.correlation) == ((), None, None)


def test_calibration_bins_are_sorted_and_equal() -> None:
    """Means of what was expected and of what came, by order of the first; NaN is in no bin."""
    expected = np.array([4.0, 1.0, 3.0, 2.0, np.nan])
    low, high = calibrate(expected, 10 * expected, 2)
    assert (low.expected, low.actual, low.count) == (1.5, 15.0, 2)
    assert (high.expected, high.actual, high.count) == (3.5, 35.0, 2)
    assert calibrate(np.array([np.nan]), np.array([1.0])) == ()
