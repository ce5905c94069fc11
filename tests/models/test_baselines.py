"""The three closed forms: what they infer, and what must not change it."""

from collections.abc import Callable

import numpy as np
import pytest

from bot.core.market import Floats, Panel
from models.baselines import CLIP, RIDGE_PENALTY, Gaussian, GaussianSettings, Market, Ridge
from models.closed_form import ClosedForm
from models.dataset import returns_in
from models.train import fit
from tests.models.markets import market, names, panel_of, with_close, without

Maker = Callable[[Panel], ClosedForm]
TRAIN = market(1_500, 5, seed=11, absent=0.03)
AFTER = market(2_000, 5, seed=11, absent=0.03).rows(1_500, 2_000)


def of(name: str, panel: Panel = TRAIN) -> ClosedForm:
    """A model of this name, fitted on all of the panel."""
    return fit(name, panel, 1.0).model


@pytest.fixture(params=["market", "ridge", "gaussian"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_market_is_the_mean_of_the_others() -> None:
    """Three coins, one absent: each of the other two is inferred by the other alone; without others nobody is."""
    returns = np.array([[0.0, 0.0, 0.0], [0.01, 0.02, 0.03], [0.01, 0.02, 0.03], [0.05, 0.0, 0.0]])
    present = np.array([[True] * 3, [True] * 3, [True, False, True], [True, False, False]])
    inferred = Market(names(3), 60_000).infer_panel(panel_of(returns, present))
    assert np.isnan(inferred[0]).all()
    assert inferred[1] == pytest.approx([0.025, 0.02, 0.015])
    assert inferred[2] == pytest.approx([0.03, np.nan, 0.01], nan_ok=True)
    assert np.isnan(inferred[3]).all()


def test_a_scaled_market_speaks_in_each_coins_own_measure() -> None:
    """With deviations 1 and 2 %, a move of one deviation elsewhere means one own deviation here."""
    model = Market(names(2), 60_000, np.array([0.01, 0.02]))
    inferred = model.infer_panel(panel_of(np.array([[0.0, 0.0], [0.01, -0.01]])))
    assert inferred[1] == pytest.approx([-0.005, 0.02])


def test_ridge_is_the_solution_of_the_normal_equations() -> None:
    """For each coin: (X'X / n + penalty) b = X'y / n on standardised returns, solved one by one."""
    train, after = market(800, 4, seed=5).rows(0, 600), market(800, 4, seed=5).rows(600, 800)
    returns = returns_in(train)
    deviation = np.sqrt((returns.values[1:] ** 2).mean(axis=0))
    x = np.clip(returns.values[1:] / deviation, -CLIP, CLIP)
    x = x / np.sqrt((x * x).mean(axis=0))
    inferred = of("ridge", train).infer_panel(after)
    now = np.clip(returns_in(after).values / deviation, -CLIP, CLIP)
    for coin in range(4):
        others = [at for at in range(4) if at != coin]
        gram = x[:, others].T @ x[:, others] / len(x) + RIDGE_PENALTY * np.eye(3)
        beta = np.linalg.solve(gram, x[:, others].T @ x[:, coin] / len(x))
        assert inferred[1:, coin] == pytest.approx(now[1:, others] @ beta * deviation[coin], abs=1e-12)


def test_the_gaussian_is_what_its_description_says() -> None:
    """Scales, weights and correlation computed plainly, row by row, give the same inference."""
    panel = market(700, 3, seed=8)
    model = Gaussian(panel.symbols, panel.interval_ms, GaussianSettings(lags=1))
    assert model.infer_panel(panel)[-1] == pytest.approx(plain_gaussian(panel), rel=1e-9)


def plain_gaussian(panel: Panel) -> Floats:
    """The last row's inference, the long way: sums over all rows, conditional by blocks. Nothing is absent."""
    r = panel.close[1:] / panel.close[:-1] - 1
    rows, coins = r.shape

    def weighted(upto: int, age: float) -> tuple[Floats, float]:
        weights = (1 - 1 / age) ** np.arange(upto - 1, -1, -1)
        return (weights[:, None] * r[:upto] ** 2).sum(axis=0), float(weights.sum())

    z = np.zeros((rows, coins))
    scale = np.zeros((rows, coins))
    for row in range(60, rows):
        long_sum, long_weight = weighted(row, 30 * 1440)
        long_run = long_sum / long_weight
        short_sum, short_weight = weighted(row, 120)
        trailing = (short_sum + 5 * long_run) / (short_weight + 5)
        scale[row] = (trailing * long_run) ** 0.25
        z[row] = r[row] / scale[row]
    assert np.abs(z).max() < CLIP  # nothing to clip in this market
    first = 60 + int(np.argmax(_known_from(rows) > 0))
    z[:first] = 0.0
    pairs = np.hstack((z, np.vstack((np.zeros((1, coins)), z[:-1]))))
    shown = np.hstack(
        (np.arange(rows)[:, None] >= np.full(coins, first), np.arange(rows)[:, None] > np.full(coins, first))
    )
    last_period = panel.open_ms[-1] // 3_600_000
    used = np.flatnonzero((panel.open_ms[1:] // 3_600_000 < last_period) & shown[:, 0])
    weights = (0.5 ** (1 / (7 * 1440))) ** np.arange(len(used) - 1, -1, -1)
    x, k = pairs[used], shown[used].astype(float)
    products, counts = (x * weights[:, None]).T @ x, (k * weights[:, None]).T @ k
    square = products.diagonal() / counts.diagonal()
    correlation = products / (counts + 30) / np.sqrt(np.outer(square, square))
    np.fill_diagonal(correlation, 1.0)
    covariance = correlation + 0.2 * np.eye(2 * coins)
    inferred = np.empty(coins)
    for coin in range(coins):
        others = [at for at in range(2 * coins) if at != coin]
        beta = np.linalg.solve(covariance[np.ix_(others, others)], covariance[others, coin])
        inferred[coin] = pairs[-1, others] @ beta * scale[-1, coin]
    return inferred


def _known_from(rows: int) -> Floats:
    """1 where the weighted count of returns before a row, from row 60 on, has reached 60."""
    decay = 1 - 1 / (30 * 1440)
    counts = np.array([(1 - decay**row) / (1 - decay) for row in range(60, rows)])
    return (counts >= 60).astype(np.float64)


def test_every_coin_is_inferred_better_than_by_zero(name: str) -> None:
    """On a market with a common factor each form explains a good part of what a hidden coin does."""
    inferred, returns = of(name).infer_panel(AFTER), returns_in(AFTER)
    known = returns.real & np.isfinite(inferred)
    for coin in range(5):
        rows = known[:, coin]
        assert np.corrcoef(inferred[rows, coin], returns.values[rows, coin])[0, 1] > 0.4


def test_a_hidden_coin_tells_nothing_of_itself(name: str) -> None:
    """What a coin did in the newest slice changes its own inference by nothing, be it a crash or a billion."""
    model, last = of(name), len(AFTER) - 1
    plain = model.infer_panel(AFTER)
    for close in (1e-9, 1e9):
        changed = model.infer_panel(with_close(AFTER, last, 2, close))
        assert changed[last, 2] == pytest.approx(plain[last, 2], rel=1e-12)
        assert np.array_equal(changed[:last], plain[:last], equal_nan=True)


def test_one_absurd_price_stays_within_bounds(name: str) -> None:
    """A price times a billion in one candle moves the other coins by a clipped return, then and later."""
    row = 250
    inferred = of(name).infer_panel(with_close(AFTER, row, 2, 1e9))
    assert np.nanmax(np.abs(inferred)) < 0.1


def test_an_absent_coin_is_as_if_it_were_not_in_the_row(name: str) -> None:
    """Its entry holds nothing, so it gets NaN, and what its last candle said long ago changes nothing."""
    model, last = of(name), len(AFTER) - 1
    gone = AFTER
    for row in range(last - 3, last + 1):
        gone = with_close(gone, row, 2, np.nan)
    inferred = model.infer_panel(gone)
    assert np.isnan(inferred[last - 3 :, 2]).all()
    assert np.isfinite(inferred[last, [0, 1]]).any()


def test_minutes_without_anyone_and_coins_that_stand_still(name: str) -> None:
    """An exchange that is down, a coin that never moves and one that never comes are answered with NaN, not with trouble."""
    rng = np.random.default_rng(2)
    returns = rng.normal(0, 0.001, (1_500, 5))
    returns[:, 3] = 0.0
    present = np.ones(returns.shape, dtype=np.bool_)
    present[400:420] = False
    present[:, 4] = False
    panel = panel_of(returns, present)
    with np.errstate(all="raise"):
        model = of(name, panel.rows(0, 1_000))
        inferred = model.infer_panel(panel.rows(1_000, 1_500))
        whole = fit(name, panel.rows(0, 401), 1.0).model.infer_panel(panel.rows(401, 500))
    assert np.isnan(inferred[:, 4]).all() and np.isnan(inferred[:, 3]).all()
    assert np.isfinite(inferred[1:, :3]).all()
    assert np.isnan(whole[:19]).all()
    assert np.isfinite(whole[21:, :3]).all()


def test_the_order_of_coins_does_not_matter(name: str) -> None:
    """Permuting the universe permutes the answer."""
    order = [3, 0, 4, 1, 2]
    symbols = tuple(TRAIN.symbols[at] for at in order)
    plain = of(name).infer_panel(AFTER)
    permuted = of(name, TRAIN.of(symbols)).infer_panel(AFTER.of(symbols))
    assert permuted == pytest.approx(plain[:, order], rel=1e-9, abs=1e-14, nan_ok=True)


@pytest.mark.parametrize("lags", [0, 1])
def test_slice_by_slice_is_the_same_as_all_at_once(name: str, lags: int) -> None:
    """A daemon that observes each slice infers what the backtest infers in one go, over a hole in time too."""
    panel = without(AFTER, slice(200, 290))
    model = of(name) if name != "gaussian" else gaussian(lags)
    batch = model.infer_panel(panel)
    for row in range(len(panel)):
        model.observe(panel.rows(row, row + 1))
        inferred = model.infer()
        assert inferred.open_ms == panel.open_ms[row]
        assert inferred.returns == pytest.approx(batch[row], rel=1e-12, abs=1e-15, nan_ok=True)


def gaussian(lags: int) -> Gaussian:
    model = Gaussian(TRAIN.symbols, TRAIN.interval_ms, GaussianSettings(lags=lags))
    model.observe(TRAIN)
    return model


def test_inferring_a_panel_changes_nothing(name: str) -> None:
    """A backtest on a model leaves its running state as it was."""
    model = of(name)
    before = model.state()
    model.infer_panel(AFTER)
    assert all(np.array_equal(before[key], value, equal_nan=True) for key, value in model.state().items())


def test_slices_seen_before_are_ignored(name: str) -> None:
    """Observing the same or an overlapping window again changes no answer; its rows are NaN in a batch."""
    once, again = of(name), of(name)
    once.observe(AFTER.rows(0, 100))
    again.observe(AFTER.rows(0, 70))
    again.observe(AFTER.rows(0, 70))
    again.observe(AFTER.rows(40, 100))
    assert again.infer().returns == pytest.approx(once.infer().returns, rel=1e-12, nan_ok=True)
    assert np.isnan(again.infer_panel(AFTER)[:100]).all()


def test_a_restored_model_goes_on_where_it_was(name: str) -> None:
    """State taken in the middle of an hour and put into a freshly loaded model gives the same answers, bit for bit."""
    model, fresh = of(name), of(name)
    model.observe(AFTER.rows(0, 137))
    fresh.restore(model.state())
    assert np.array_equal(fresh.infer().returns, model.infer().returns, equal_nan=True)
    model.observe(AFTER.rows(137, 400))
    fresh.observe(AFTER.rows(137, 400))
    assert np.array_equal(fresh.infer().returns, model.infer().returns, equal_nan=True)


def test_memory_does_not_grow_with_time() -> None:
    """After two days of minutes the state holds no more than after one hour and what one hour can add."""
    model = gaussian(1)
    panel = market(2_900, 5, seed=4)
    model = Gaussian(panel.symbols, panel.interval_ms)
    for row in range(0, 2_900, 7):
        model.observe(panel.rows(row, row + 7))
        assert len(model.state()["waiting.x"]) <= 60 + 7


def test_a_coin_that_comes_late_is_inferred_once_it_is_known() -> None:
    """A new coin gets NaN for its first hours, then a mean, without the others' answers breaking."""
    present = np.ones((1_500, 4), dtype=np.bool_)
    present[:1_000, 3] = False
    factor = np.random.default_rng(6).normal(0, 0.001, (1_500, 1))
    panel = panel_of(factor + np.random.default_rng(7).normal(0, 0.0005, (1_500, 4)), present)
    inferred = Gaussian(panel.symbols, panel.interval_ms).infer_panel(panel)
    assert np.isnan(inferred[1_000:1_100, 3]).all()
    assert np.isfinite(inferred[1_250:, 3]).all()
    assert np.corrcoef(inferred[1_300:, 3], factor[1_300:, 0])[0, 1] > 0.8


@pytest.mark.parametrize("wrong", [{"lags": 2}, {"penalty": 0.0}, {"half_life_days": float("nan")}, {"known_min": 0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    """They are refused when they are made, not hours later by a singular matrix."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GaussianSettings(**wrong)  # type: ignore[arg-type]


def test_a_ridge_needs_no_one_else() -> None:
    """With every other coin absent the conditional mean is the mean: zero."""
    model = Ridge(names(2), 60_000, np.array([0.01, 0.01]), np.array([[2.0, -1.0], [-1.0, 2.0]]))
    present = np.array([[True, False], [True, False]])
    inferred = model.infer_panel(panel_of(np.array([[0.0, 0.0], [0.01, 0.0]]), present))
    assert inferred[1] == pytest.approx([0.0, np.nan], nan_ok=True)
