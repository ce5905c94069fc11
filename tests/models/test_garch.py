"""Fitting GARCH: returns that were returns, parameters that make sense, and coins that are refused in words."""

from pathlib import Path

import numpy as np
import pytest
from arch.univariate import EGARCH, ConstantMean, StudentsT

from bot.core.market import FIELDS, Floats, Panel
from bot.edge.candles import load_panel
from bot.timerange import parse
from models.garch import Kind, fit_garch
from models.har import ROWS_MIN
from models.model import BadModel
from models.volatility_baselines import FITTED
from models.volatility_rivals import fit_rivals
from tests.models.hours import panel
from tests.models.markets import without
from tests.models.test_walk_forward_volatility import gone, spoiled
from tests.models.volatile import volatile

REAL = Path(__file__).parents[2] / "../shared/data/binance_spot_1h_long"
TRAIN = volatile(2_500, 2)
ALPHA, GAMMA, BETA, NU = 0.19, -0.0135, 0.9934, 2.8
ROWS, SEED, CRASH = 6_001, 6, -80.0  # a market on which arch alone says that it converged, on absurd parameters
HOPELESS = 5  # the seed of one with an hour at 5 times the price before


def wild_returns(rows: int, seed: int) -> Floats:
    """In percent, by EGARCH with errors whose fourth moment is not finite, like those of bitcoin."""
    rng = np.random.default_rng(seed)
    errors = rng.standard_t(NU, rows) / np.sqrt(NU / (NU - 2.0))
    log, returns = 0.0, np.empty(rows)
    for row, z in enumerate(errors):
        returns[row] = 0.7 * np.exp(0.5 * log) * z
        log = BETA * log + ALPHA * (abs(z) - 0.6) + GAMMA * z
    return returns


def closing_at(close: Floats) -> Panel:
    """Hours of one coin with these closes [T]."""
    column = close[:, None]
    opened = np.vstack((column[:1], column[:-1]))
    high, low = np.maximum(opened, column), np.minimum(opened, column)
    return panel([opened, high, low, column, np.ones(column.shape)])


def test_a_fit_that_went_astray_is_begun_again_elsewhere() -> None:
    """arch's own start converges on absurd parameters here; another one finds those that made the returns."""
    returns = wild_returns(ROWS, SEED)
    returns[ROWS // 3] = CRASH
    alone = ConstantMean(returns[1:], volatility=EGARCH(1, 1, 1), distribution=StudentsT(), rescale=False)
    with np.errstate(all="ignore"):
        astray = alone.fit(disp="off", show_warning=False)
    assert astray.convergence_flag == 0 and astray.loglikelihood < -20_000
    fitted = fit_garch(Kind.EGARCH, closing_at(np.exp(np.cumsum(returns / 100.0))))
    mu, _, alpha, gamma, beta, _ = fitted.parameters[0]
    assert abs(mu) < 0.1
    assert (alpha, gamma, beta) == pytest.approx((ALPHA, GAMMA, BETA), abs=0.1) and 0.98 < beta < 1.0


def test_a_fit_that_is_astray_from_everywhere_is_refused() -> None:
    """With the coin's name: no absurd parameters forecast anything."""
    with pytest.raises(BadModel, match="C0/USDT: egarch found no parameters better than a constant variance"):
        fit_garch(Kind.EGARCH, closing_at(np.exp(np.cumsum(wild_returns(8_001, HOPELESS) / 100.0))))


@pytest.mark.parametrize("kind", Kind)
def test_no_return_reaches_across_a_hole(kind: Kind) -> None:
    """A coin that comes back at 20 times its price has moved no further; hours missing for all or for one are alike."""
    lifted = spoiled(TRAIN, slice(0, 0), 0)
    for name in FIELDS[:4]:
        getattr(lifted, name)[1_010:] *= 20.0
    hole = slice(1_000, 1_010)
    for pair in ([without(one, hole) for one in (TRAIN, lifted)], [gone(one, hole, 0) for one in (TRAIN, lifted)]):
        wanted, found = (fit_garch(kind, one).parameters[0] for one in pair)
        assert found == pytest.approx(wanted, rel=1e-2, abs=1e-4)


@pytest.mark.parametrize("kind", Kind)
def test_a_coin_without_enough_returns_is_named(kind: Kind) -> None:
    """Listed after the fit, listed late, or never moved: in words, and before another coin is fitted."""
    for given, says in (
        (gone(TRAIN, slice(0, None), 1), f"C1/USDT: 0 returns to fit GARCH on, {ROWS_MIN} are needed"),
        (gone(TRAIN, slice(0, 2_400), 1), "C1/USDT: 99 returns to fit"),
        (spoiled(TRAIN, slice(0, None), 1, open=7.0, high=7.0, low=7.0, close=7.0), "C1/USDT: its closes never moved"),
    ):
        with pytest.raises(BadModel, match=says):
            fit_garch(kind, given)


def test_a_coin_listed_after_the_fit_costs_no_other_its_baselines() -> None:
    """All that are fitted leave it out by name, and know the other one."""
    young = gone(TRAIN, slice(0, None), 1)
    rivals = fit_rivals(young, int(TRAIN.open_ms[2_000]))
    for name in FITTED:
        assert "C0/USDT" in rivals.models[name].symbols and "C0/USDT" not in rivals.left_out.get(name, {}), name
    assert {"C1/USDT"} == set(rivals.left_out["garch"]) == set(rivals.left_out["egarch"]) == set(rivals.left_out["har"])


def test_no_variance_that_lasts_is_no_garch() -> None:
    """Where nothing is likelier than a constant variance none is made up: independent returns, all of one size."""
    rng = np.random.default_rng(2)
    close = np.exp(np.cumsum(rng.normal(0.0, 0.01, 1_501)[1:]))
    with pytest.raises(BadModel, match="no parameters better than a constant variance"):
        fit_garch(Kind.GARCH, closing_at(close))


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not here")
@pytest.mark.parametrize("symbol", ["BTC/USDT", "XRP/USDT"])
def test_real_hours_have_the_parameters_of_a_market(symbol: str) -> None:
    """Seven years on which arch's own start ends on a mean of 30 % an hour, or nowhere: variances last, means are small."""
    span = parse("-20241101")
    train = load_panel(REAL, (symbol,), span.start_ms, span.stop_ms)
    mu, _, alpha, gamma, beta, _ = fit_garch(Kind.EGARCH, train).parameters[0]
    assert abs(mu) < 0.01 and 0.1 < alpha < 0.3 and abs(gamma) < 0.05 and 0.98 < beta < 1.0
    mu, omega, alpha, _, beta, _ = fit_garch(Kind.GARCH, train).parameters[0]
    assert abs(mu) < 0.01 and 0.0 < omega < 0.05 and 0.05 < alpha < 0.15 and 0.99 < alpha + beta < 1.0 + 1e-6
