"""HAR in its forms, EWMA, GARCH: fitted, streamed, restored; against statsmodels' and arch's own figures."""

import itertools

import numpy as np
import pytest
from arch import arch_model
from hypothesis import given, settings
from hypothesis import strategies as st

from models.ewma import Ewma
from models.garch import Garch, Kind, fit_garch
from models.har import Form, Har, HarStream, design, fit_har
from models.model import BadModel
from models.volatility import Estimator, volatility
from models.volatility_baselines import BASELINES, fit_baseline
from models.volatility_loading import volatility_model
from models.volatility_model import Predictor
from tests.models.hours import HOUR_MS, equal, hours, panel
from tests.models.volatile import volatile

TRAIN = volatile(2_500, 2)
LATER = volatile(700, 2, seed=7)
VALIDATION_MS = int(TRAIN.open_ms[2_000])


def predictors() -> list[Predictor]:
    made: list[Predictor] = [fit_har(form, TRAIN) for form in Form]
    weights = np.array([[0.0, 0.01, 0.1, -0.05, 0.85, 0.3]] * 2)
    made += [Ewma(TRAIN.symbols), Ewma(TRAIN.symbols, 0.0)]
    return made + [Garch(TRAIN.symbols, kind, weights) for kind in Kind]


@pytest.mark.parametrize("at", range(len(Form) + 4))
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 99), cuts=st.lists(st.integers(1, 399), max_size=5))
def test_pieces_and_restarts_give_what_the_whole_gives(at: int, seed: int, cuts: list[int]) -> None:
    """To the bit, with hours missing; each piece in a predictor that took the state of the one before."""
    whole = hours(400, 2, seed, absent=0.03)
    wanted = predictors()[at].absorb(whole)
    pieces, state = [], None
    for start, stop in itertools.pairwise([0, *sorted({*cuts}), 400]):
        fresh = predictors()[at]
        if state is not None:
            fresh.restore(state)
        pieces.append(fresh.absorb(whole.rows(start, stop)))
        state = fresh.state()
    for name in ("open_ms", "location", "scale", "now"):
        assert equal(np.concatenate([getattr(one, name) for one in pieces]), getattr(wanted, name)), name


def test_means_of_hours_by_hand() -> None:
    """Of the hour, a shift, a day and a week."""
    (rows,) = HarStream(LATER.symbols).absorb(LATER)
    own = np.log(volatility(LATER, Estimator.GARMAN_KLASS))
    for at, span in enumerate((1, 6, 24, 168)):
        assert np.allclose(rows.logs[at, -1], own[-span:].mean(axis=0))
        assert np.allclose(rows.levels[at, -1], np.exp(own[-span:]).mean(axis=0))
    assert design(Form.PLUS, rows).shape == (len(LATER), 2, 36)
    assert not rows.known[:83].any() and rows.known[168:].all()


def test_weights_are_those_of_least_squares() -> None:
    """The logs' form against numpy's pseudo-inverse, on the same rows."""
    found = fit_har(Form.LOGS, TRAIN)
    (rows,) = HarStream(TRAIN.symbols).absorb(TRAIN)
    x, y = design(Form.LOGS, rows)[:-1, 0], rows.now[1:, 0]
    known = rows.known[:-1, 0]
    assert np.allclose(found.weights[0], np.linalg.pinv(x[known]) @ y[known], atol=1e-9)


def test_the_clock_helps_where_there_is_one() -> None:
    """On hours with a daily curve the form that knows the clock misses less; so does each form against persistence."""
    missed = {}
    for name in ("persistence", "har", "har-clock", "har-plus"):
        model = fit_baseline(name, TRAIN, VALIDATION_MS)
        found = np.log(model.forecast_panel(LATER).median)[200:-1]
        missed[name] = np.nanmean((found - np.log(volatility(LATER, Estimator.GARMAN_KLASS))[201:]) ** 2)
    assert missed["har-clock"] < missed["har"] < missed["persistence"]
    assert missed["har-plus"] < 1.02 * missed["har-clock"]


def test_the_panel_form_serves_a_coin_it_never_saw() -> None:
    """A coin ten times as wild as those fitted on has forecasts of its own size."""
    weights = fit_har(Form.PANEL, TRAIN).weights[:1]
    fields = [np.exp(10.0 * np.log(one / 100.0)) for one in (LATER.open, LATER.high, LATER.low, LATER.close)]
    wild = panel([*fields, LATER.volume]).of(LATER.symbols[:1])
    found = Har(wild.symbols, Form.PANEL, weights).absorb(wild)
    calm = Har(wild.symbols, Form.PANEL, weights).absorb(LATER.of(wild.symbols))
    assert np.nanmedian(found.location - calm.location) == pytest.approx(np.log(10.0), abs=0.05)


@pytest.mark.parametrize("kind", Kind)
def test_garch_filters_as_arch_does(kind: Kind) -> None:
    """One-step variances of arch with the same parameters, once the beginning is forgotten."""
    fitted = fit_garch(kind, TRAIN.of(TRAIN.symbols[:1]))
    coin = LATER.of(LATER.symbols[:1])
    mu, omega, alpha, gamma, beta, _ = fitted.parameters[0]
    returns = 100.0 * np.diff(np.log(np.concatenate((coin.open[:1, 0], coin.close[:, 0]))))
    if kind is Kind.EGARCH:
        given = [mu, omega, alpha, gamma, beta, 6.0]
        model = arch_model(returns, mean="Constant", vol="EGARCH", p=1, o=1, q=1, dist="t", rescale=False)
    else:
        given = [mu, omega, alpha, beta, 6.0]
        model = arch_model(returns, mean="Constant", vol="GARCH", p=1, o=0, q=1, dist="t", rescale=False)
    wanted = model.fix(given).conditional_volatility[300:] / 100.0
    found = np.exp(fitted.absorb(coin).location[299:-1, 0])
    assert np.allclose(found, wanted, rtol=1e-3)


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_is_a_model_that_can_be_stored(name: str) -> None:
    """What its settings and tensors make says the same, bounded by what fitting saw."""
    model = fit_baseline(name, TRAIN, VALIDATION_MS)
    assert model.fitted_ms == int(TRAIN.open_ms[-1])
    again = volatility_model(
        model.architecture, model.symbols, HOUR_MS, model.fitted_ms, model.settings(), model.tensors()
    )
    found, wanted = again.forecast_panel(LATER), model.forecast_panel(LATER)
    for part in ("volatility", "mean", "median", "quantiles", "rising"):
        assert equal(getattr(found, part), getattr(wanted, part))
    after = wanted.rows(200, len(wanted))
    assert (after.median > 1e-5).all() and (after.median < 1.0).all() and (np.diff(after.quantiles) >= 0).all()


def test_too_few_hours_are_refused() -> None:
    """In words: to fit on, to validate on; and an unknown name."""
    with pytest.raises(BadModel, match="hours to fit HAR on"):
        fit_har(Form.LOGS, TRAIN.rows(0, 400))
    with pytest.raises(BadModel, match="hours to validate on"):
        fit_baseline("har", TRAIN, int(TRAIN.open_ms[-50]))
    with pytest.raises(BadModel, match="there are persistence"):
        fit_baseline("hat", TRAIN, VALIDATION_MS)
