"""Fitting and scoring: what may be looked at, what is chosen, what is said."""

import json
from pathlib import Path

import numpy as np
import pytest

from bot.core.market import MINUTE_MS, Floats, Panel
from models.checkpoint import load
from models.dataset import split
from models.evaluate import CannotScore, evaluate
from models.gain import fit_gain
from models.model import BadModel
from models.scores import correlations, explained, summary
from models.train import fit, train
from tests.models.markets import market, names, panel_of

PANEL = market(3_000, 5, seed=21, absent=0.02)


def lagging(gain: float, rows: int = 6_000, coins: int = 5) -> Panel:
    """A market where each coin makes up a share `gain` of what it lagged behind, one minute later."""
    rng = np.random.default_rng(5)
    factor, own = rng.normal(0, 0.001, (rows, 1)), rng.normal(0, 0.001, (rows, coins))
    caught_up = np.vstack((np.zeros((1, coins)), -gain * own[:-1]))
    return panel_of(factor + own + caught_up)


@pytest.mark.parametrize("name", ["market", "ridge", "gaussian"])
def test_nothing_after_the_train_split_is_learned(name: str) -> None:
    """Candles after it may be anything: the market's and the ridge's model is the same, the Gaussian's for its lags."""
    train_rows = len(split(PANEL).train)
    other = market(3_000, 5, seed=99)
    first, scale = PANEL.rows(0, train_rows), PANEL.close[train_rows - 1] / other.close[train_rows]
    close = np.vstack((first.close, other.close[train_rows:] * np.nan_to_num(scale, nan=1.0)))
    changed = Panel(
        PANEL.symbols, MINUTE_MS, PANEL.open_ms, close, close, close, close, close * 0 + 1, np.isfinite(close)
    )
    one, two = fit(name, PANEL), fit(name, changed)
    assert one.model.settings() == two.model.settings()
    for key, array in one.model.tensors().items():
        assert np.array_equal(array, two.model.tensors()[key]), key
    assert one.validation != two.validation


def test_lags_are_chosen_on_validation() -> None:
    """Where coins trail the market by a minute the lag is taken; both scores are told."""
    fitted = fit("gaussian", lagging(0.4))
    assert fitted.model.settings()["lags"] == 1
    assert fitted.tried["gaussian_lag1"] is not None and fitted.tried["gaussian"] is not None
    assert fitted.validation == fitted.tried["gaussian_lag1"] > fitted.tried["gaussian"] + 0.02


def test_the_gain_is_what_lagging_coins_make_up() -> None:
    """Inferred by the factor itself, the divergence is minus the coin's own noise, and `gain` of it comes back."""
    panel = lagging(0.3, 20_000)
    factor = np.random.default_rng(5).normal(0, 0.001, (20_000, 1))
    gain = fit_gain(np.broadcast_to(factor, panel.close.shape).copy(), panel)
    assert gain == pytest.approx(np.full(5, 0.3 / (1 + 0.3**2)), abs=0.02)  # the divergence holds old lags too


def test_a_gain_that_is_noise_is_nothing() -> None:
    """Where the next return has nothing to do with the divergence the gain is shrunk to next to nothing."""
    gain = fit("market", market(6_000, 5, seed=1)).model.gain
    assert gain is not None and np.abs(gain).max() < 0.02


def test_trained_folders_say_what_they_are(tmp_path: Path) -> None:
    """The result and the folder agree on range, coins and settings, and the result is plain JSON."""
    result = train("gaussian", PANEL, tmp_path / "g")
    model = load(tmp_path / "g")
    assert (result.coins, result.slices, result.stop_ms) == (5, 2_100, int(PANEL.open_ms[2_099]))
    assert model.fitted_ms == result.stop_ms
    config = json.loads((tmp_path / "g" / "config.json").read_text())
    assert config["data"] == {"slices": 2_100, "start_ms": int(PANEL.open_ms[0]), "stop_ms": result.stop_ms}
    assert config["metrics"]["validation_lag0"] == result.validation


def test_what_cannot_be_fitted_is_refused() -> None:
    """An unknown name, one coin, one slice."""
    with pytest.raises(BadModel, match="there are market"):
        fit("gausian", PANEL)
    for panel in (PANEL.of(names(1)), PANEL.rows(0, 1)):
        with pytest.raises(BadModel, match="to fit on"):
            fit("ridge", panel)


def test_correlations_are_pearsons() -> None:
    """Per coin over usable rows, as numpy computes them; a constant coin has none."""
    rng = np.random.default_rng(1)
    x, y, usable = rng.normal(size=(50, 3)), rng.normal(size=(50, 3)), rng.random((50, 3)) > 0.2
    y[:, 2] = 1.0
    x[0, 0] = np.nan
    found = correlations(x, y, usable)
    for coin in range(2):
        rows = usable[:, coin] & np.isfinite(x[:, coin])
        assert found[coin] == pytest.approx(np.corrcoef(x[rows, coin], y[rows, coin])[0, 1])
    assert np.isnan(found[2])


def test_a_summary_counts_classes() -> None:
    """Strong above 0.1 in size, weak above 0.05, the rest none; what is undefined counts as none."""
    found = summary(np.array([0.2, -0.15, 0.1, 0.06, 0.05, 0.0, np.nan]))
    assert (found.strong, found.weak, found.none) == (2, 2, 3)
    assert found.mean == pytest.approx(0.26 / 6) and found.max == 0.2 and found.min == -0.15
    assert summary(np.array([np.nan])).mean is None


def test_explained_is_against_zero() -> None:
    """Inferring the truth explains all, zero nothing, the opposite costs."""
    actual = np.array([[1.0], [2.0]])
    usable = np.ones((2, 1), dtype=np.bool_)
    assert [explained(k * actual, actual, usable)[0] for k in (1.0, 0.0, -1.0)] == [1.0, 0.0, -3.0]


def test_evaluation_scores_the_last_slices_by_hand(tmp_path: Path) -> None:
    """Lag 0, lag 1 and divergence of the market model, recomputed from the candles of the last 15 %."""
    train("market", PANEL, tmp_path / "m")
    found = evaluate(load(tmp_path / "m"), PANEL)
    returns = PANEL.close[1:] / PANEL.close[:-1] - 1
    deviation = np.sqrt(np.nanmean(returns[: 2_100 - 1] ** 2, axis=0))
    test = returns[2_550 - 1 :]
    assert found.steps == len(test) == 450
    inferred = by_hand(test, deviation)
    for coin in range(5):
        assert found.per_coin[coin].lag0 == pytest.approx(pearson(inferred[:, coin], test[:, coin]))
        assert found.per_coin[coin].divergence_next == pytest.approx(
            pearson((inferred - test)[:-1, coin], test[1:, coin])
        )
    assert found.lag0.mean == pytest.approx(np.mean([one.lag0 for one in found.per_coin]))
    assert found.baselines["market"].lag0 == found.lag0
    json.dumps(found.as_dict(), allow_nan=False)
    assert {"coins", "steps", "lag0", "lag1", "divergence_next", "baselines", "seconds"} <= found.as_dict().keys()


def by_hand(returns: Floats, deviation: Floats) -> Floats:
    """The mean of the other present coins in units of deviation, row by row; the coin itself must be present."""
    inferred = np.full(returns.shape, np.nan)
    for row, values in enumerate(returns):
        present = np.flatnonzero(np.isfinite(values))
        for coin in present:
            others = [at for at in present if at != coin]
            inferred[row, coin] = np.clip(values[others] / deviation[others], -8, 8).mean() * deviation[coin]
    return inferred


def pearson(x: Floats, y: Floats) -> float:
    both = np.isfinite(x) & np.isfinite(y)
    return float(np.corrcoef(x[both], y[both])[0, 1])


def test_what_was_fitted_on_is_not_scored(tmp_path: Path) -> None:
    """A model that has seen the test slices, lacks coins, or is of another interval gets no score."""
    model = fit("gaussian", PANEL, 0.9).model
    with pytest.raises(CannotScore, match="fitted on slices up to"):
        evaluate(model, PANEL)
    with pytest.raises(CannotScore, match="lack C4/USDT"):
        evaluate(fit("market", PANEL).model, PANEL.of(names(4)))
    with pytest.raises(CannotScore, match="leave 2 to score"):
        evaluate(fit("market", PANEL).model, PANEL.rows(0, 10))


def test_evaluating_leaves_the_model_alone() -> None:
    """Its running state is what it was, so it can go on living."""
    model = fit("gaussian", PANEL).model
    before = model.state()
    evaluate(model, PANEL)
    assert all(np.array_equal(before[name], array, equal_nan=True) for name, array in model.state().items())
