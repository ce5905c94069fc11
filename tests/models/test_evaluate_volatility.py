"""Scores of volatility models beside the baselines': the right hour, the right number, and nothing of the test."""

import msgspec
import numpy as np
import pytest

from models.evaluate_volatility import Evaluation, evaluate_volatility, forecasts_of, scored, transforms
from models.model import BadModel
from models.volatility import Estimator, volatility
from models.volatility_baselines import BASELINES, fit_baseline
from models.volatility_model import QUANTILES, Factors, VolatilityModel
from models.volatility_rivals import fit_rivals, left_out_remarks
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


def test_several_coins_are_forecast_once() -> None:
    """Scores of each are those of the coin asked for alone."""
    rivals = {name: MODELS[name] for name in ("persistence", "har")}
    together = forecasts_of(MODELS["har-clock"], rivals, WHOLE, TEST_MS)
    for symbol in WHOLE.symbols:
        one, _ = scored(together, symbol)
        alone, _ = evaluate_volatility(MODELS["har-clock"], rivals, WHOLE, TEST_MS, symbol)
        assert msgspec.structs.replace(one, seconds=alone.seconds) == alone


def test_what_came_is_spread_evenly_over_the_distributions() -> None:
    """As far as they are calibrated; the share below each quantile says the same."""
    found, tested = evaluate_volatility(MODELS["har-clock"], {"har": MODELS["har"]}, WHOLE, TEST_MS, "C0/USDT")
    within = transforms(tested)
    for at, share in enumerate(QUANTILES):
        below = found.below[str(share)]
        assert below == np.mean(tested.actual < tested.quantiles[:, at]) == np.mean(within < share)
        assert below == pytest.approx(share, abs=0.08)


def test_a_model_that_is_bounded_throughout_has_no_line() -> None:
    """Its forecasts are all the same: scores there are, and a regression there is not."""
    ones, low = np.ones(2), np.full(2, -3.0)
    lost = VolatilityModel(MODELS["har"].predictor, Factors(ones, ones, ones, low, low), MODELS["har"].fitted_ms)
    found, _ = evaluate_volatility(lost, {"har": MODELS["har"]}, WHOLE, TEST_MS, "C0/USDT")
    assert found.clamped == found.hours and np.isnan(found.mincer_zarnowitz.slope)
    assert found.model.qlike > found.baselines["har"].qlike


def test_rivals_are_the_baselines_of_the_split() -> None:
    """Fitted ones as fit_baseline's; persistence and EWMA need no fit and score the same without bounds."""
    rivals = fit_rivals(SEEN, VALIDATION_MS)
    assert set(rivals.models) == set(BASELINES) and not rivals.left_out
    found, _ = evaluate_volatility(MODELS["har-clock"], rivals.models, WHOLE, TEST_MS, "C0/USDT")
    wanted, _ = evaluate_volatility(MODELS["har-clock"], MODELS, WHOLE, TEST_MS, "C0/USDT")
    for name, score in wanted.baselines.items():
        assert found.baselines[name].qlike == pytest.approx(score.qlike, rel=1e-6)


def test_a_coin_that_cannot_be_fitted_is_named_alone() -> None:
    """The other keeps the baseline; where nothing can be fitted, one sentence says so for all."""
    young = absent_at(SEEN, 0, 1)  # a copy
    for name in ("open", "high", "low", "close", "volume"):
        getattr(young, name)[:2_400, 1] = np.nan
    rivals = fit_rivals(young, VALIDATION_MS)
    assert rivals.models["har"].symbols == ("C0/USDT",) and set(rivals.left_out["har"]) == {"C1/USDT"}
    assert rivals.models["ewma"].symbols == WHOLE.symbols
    told = left_out_remarks(rivals.left_out, 2)
    assert any("har" in one and " of C1/USDT: " in one for one in told)
    nothing = fit_rivals(SEEN.rows(0, 50), VALIDATION_MS)
    assert set(nothing.models) == {"persistence", "ewma"}
    assert len(left_out_remarks(nothing.left_out, 2)) == 1


def test_a_model_is_no_better_than_itself() -> None:
    """Forecasts that differ by rounding are no evidence."""
    own = MODELS["har-clock"].factors
    nearly = Factors(own.mean * (1.0 + 1e-12), own.root * (1.0 + 1e-12), own.spread, own.least, own.most)
    same = VolatilityModel(MODELS["har-clock"].predictor, nearly, MODELS["har-clock"].fitted_ms)
    found, _ = evaluate_volatility(MODELS["har-clock"], {"same": same}, WHOLE, TEST_MS, "C0/USDT")
    assert (found.dm.statistic, found.dm.p) == (0.0, 1.0)
