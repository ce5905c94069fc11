"""Scores of volatility models beside the baselines': the right hour, the right number, and nothing of the test."""

import msgspec
import numpy as np
import pytest

from models.evaluate_volatility import Evaluation, evaluate_volatility
from models.model import BadModel
from models.volatility import Estimator, volatility
from models.volatility_baselines import fit_baseline
from models.volatility_scores import errors, qlike
from tests.models.hours import absent_at
from tests.models.volatile import volatile

WHOLE = volatile(3_600, 2)
TEST_MS, VALIDATION_MS = int(WHOLE.open_ms[3_000]), int(WHOLE.open_ms[2_500])
SEEN = WHOLE.rows(0, 3_000)
MODELS = {
    name: fit_baseline(name, SEEN, VALIDATION_MS) for name in ("persistence", "ewma", "har", "har-clock", "garch")
}


def test_each_number_is_scored_by_its_measure() -> None:
    """By hand: QLIKE of the root, squares of the mean, direction of the median, all of the hour after."""
    found, tested = evaluate_volatility(MODELS["har-clock"], {"har": MODELS["har"]}, WHOLE, TEST_MS, "C1/USDT")
    actual = volatility(WHOLE, Estimator.GARMAN_KLASS)[:, 1]
    forecast = MODELS["har-clock"].forecast_panel(WHOLE)
    root, mean, median = (part[2_999:-1, 1] for part in (forecast.volatility, forecast.mean, forecast.median))
    assert found.hours == 600 and np.array_equal(tested.open_ms, WHOLE.open_ms[3_000:])
    assert found.model.qlike == pytest.approx(qlike(root, actual[3_000:]).mean(), rel=1e-6)
    assert found.model.rmse == pytest.approx(errors(mean, actual[3_000:]).rmse, rel=1e-6)
    wilder = actual[3_000:] > actual[2_999:-1]
    assert found.model.direction == pytest.approx(np.mean((median > actual[2_999:-1]) == wilder), abs=1e-9)


def test_the_best_baseline_is_the_one_to_beat() -> None:
    """HAR with the clock is better than the others on hours with a clock, and the test says so."""
    others = {name: model for name, model in MODELS.items() if name != "har-clock"}
    found, _ = evaluate_volatility(MODELS["har-clock"], others, WHOLE, TEST_MS, "C0/USDT")
    assert found.dm.against == min(others, key=lambda name: found.baselines[name].qlike)
    assert found.dm.statistic < 0 and found.dm.p < 0.01
    worse, _ = evaluate_volatility(MODELS["persistence"], {"har": MODELS["har"]}, WHOLE, TEST_MS, "C0/USDT")
    assert worse.dm.statistic > 0 and worse.model.direction < found.model.direction
    assert found.coverage["0.5"] < found.coverage["0.8"] < found.coverage["0.9"]
    assert found.mincer_zarnowitz.slope == pytest.approx(1.0, abs=0.3)


def test_it_can_be_read_by_other_programs() -> None:
    """JSON with the keys that are promised."""
    found, _ = evaluate_volatility(MODELS["har"], {"ewma": MODELS["ewma"]}, WHOLE, TEST_MS, "C0/USDT")
    told = msgspec.json.decode(msgspec.json.encode(found))
    assert {"hours", "model", "baselines", "dm", "coverage", "seconds"} <= told.keys()
    assert {"qlike", "rmse", "mae", "mape", "r2", "direction"} <= told["baselines"]["ewma"].keys()
    assert {"against", "statistic", "p"} <= told["dm"].keys()
    assert msgspec.convert(told, Evaluation) == found


def test_hours_that_are_missing_are_left_out() -> None:
    """The hour itself and the one after it, whose present volatility is not known."""
    whole = absent_at(WHOLE, 3_100)
    found, tested = evaluate_volatility(MODELS["har"], {"ewma": MODELS["ewma"]}, whole, TEST_MS, "C0/USDT")
    assert found.hours == 598 and not {*whole.open_ms[3_100:3_102].tolist()} & {*tested.open_ms.tolist()}


def test_a_test_on_hours_of_the_fit_is_refused() -> None:
    """Of the model or of a baseline; so are too few hours, and a coin that is not there."""
    for model, other in (("har", "ewma"), ("ewma", "har")):
        with pytest.raises(BadModel, match="fitted on hours of the test"):
            early = int(WHOLE.open_ms[2_990])
            evaluate_volatility(MODELS[model], {other: MODELS[other]}, WHOLE, early, "C0/USDT")
    with pytest.raises(BadModel, match="are needed"):
        evaluate_volatility(MODELS["har"], {"ewma": MODELS["ewma"]}, WHOLE, int(WHOLE.open_ms[-10]), "C0/USDT")
    with pytest.raises(BadModel, match="among"):
        evaluate_volatility(MODELS["har"], {"ewma": MODELS["ewma"]}, WHOLE, TEST_MS, "X/USDT")
