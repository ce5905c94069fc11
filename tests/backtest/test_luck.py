"""Luck: the ratios as purgedcv says them, block lengths as arch and theory say them, intervals that cover what they should."""

import numpy as np
import purgedcv
import pytest
from scipy import stats

from backtest.luck import basis_of, best_of_chance, block_length, luck, moments, probabilistic, resample, sharpe_of
from bot.core.market import DAY_MS, HOUR_MS, MINUTE_MS, Floats, Integers

DAYS = 400


def times(count: int, step_ms: int) -> Integers:
    return step_ms * np.arange(count, dtype=np.int64)


def noise(seed: int, count: int = DAYS, mean: float = 0.0) -> Floats:
    """Returns with fat tails."""
    return np.random.default_rng(seed).standard_t(5, count) * 0.01 + mean


def remembering(rho: float, count: int, seed: int) -> Floats:
    """A first-order autoregression."""
    shocks = np.random.default_rng(seed).normal(0.0, 0.01, count)
    made = np.zeros(count)
    for at in range(1, count):
        made[at] = rho * made[at - 1] + shocks[at]
    return made


def curve(returns: Floats) -> Floats:
    made: Floats = 1_000.0 * np.cumprod(np.append(1.0, 1.0 + returns))
    return made


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("benchmark", [0.0, 0.05])
def test_the_probabilistic_ratio_is_that_of_purgedcv(seed: int, benchmark: float) -> None:
    """From the same moments the same probability; from our sample moments the same to 1 %."""
    returns = noise(seed, mean=0.0005)
    oracle = purgedcv.probabilistic_sharpe_ratio(returns, benchmark)
    skew, kurt = float(stats.skew(returns, bias=False)), float(stats.kurtosis(returns, bias=False, fisher=False))
    theirs = float(returns.mean() / returns.std())
    assert probabilistic(theirs, benchmark, DAYS, skew, kurt) == pytest.approx(oracle)
    ours = float(returns.mean() / returns.std(ddof=1))
    assert probabilistic(ours, benchmark, DAYS, *moments(returns)) == pytest.approx(oracle, abs=0.01)


@pytest.mark.parametrize("trials", [1, 2, 10, 500])
def test_the_deflated_ratio_is_that_of_purgedcv(trials: int) -> None:
    """The same trials and variance give the same probability that skill is above the best of chance."""
    returns = noise(3, mean=0.002)
    ratios = np.random.default_rng(trials).normal(0.0, 0.04, trials).tolist()
    variance = float(np.var(ratios, ddof=1)) if trials > 1 else 0.0
    skew, kurt = float(stats.skew(returns, bias=False)), float(stats.kurtosis(returns, bias=False, fisher=False))
    theirs = float(returns.mean() / returns.std())
    found = probabilistic(theirs, best_of_chance(trials, ratios), DAYS, skew, kurt)
    assert found == pytest.approx(purgedcv.deflated_sharpe_ratio(returns, trials, variance))


def test_the_best_of_chance_is_the_mean_highest_of_worthless_trials() -> None:
    """By Monte Carlo: the highest of 50 normal ratios with a deviation of 0.1 is as high as the formula says, within 3 %."""
    rng = np.random.default_rng(5)
    drawn = rng.normal(0.0, 0.1, (20_000, 50)).max(axis=1).mean()
    ratios = stats.norm.ppf((np.arange(2_000) + 0.5) / 2_000) * 0.1
    assert best_of_chance(50, ratios.tolist()) == pytest.approx(drawn, rel=0.03)


def test_worthless_strategies_look_sure_as_rarely_as_they_should() -> None:
    """Under the null the probabilistic ratio is above 0.95 in about 5 % of cases, with fat tails too."""
    sure = 0
    for seed in range(2_000):
        returns = noise(seed, 250)
        ratio = float(returns.mean() / returns.std(ddof=1))
        found = probabilistic(ratio, 0.0, 250, *moments(returns))
        sure += found is not None and found > 0.95
    assert 0.035 < sure / 2_000 < 0.065


@pytest.mark.parametrize(
    ("count", "rho", "seed", "arch"),
    [
        (60, 0.2, 69, 2.147289951188116),
        (237, 0.5, 249, 4.1398591721755675),
        (1_000, 0.9, 1_016, 34.75087256615735),
        (1_000, -0.3, 1_004, 8.374485838480632),
        (5_000, 0.9, 5_016, 89.32542349218343),
    ],
)
def test_block_lengths_are_those_of_arch(count: int, rho: float, seed: int, arch: float) -> None:
    """The stationary length that arch 8.0.0 (`optimal_block_length`) gives for the same returns."""
    assert block_length(remembering(rho, count, seed)) == pytest.approx(arch)


def test_block_lengths_are_those_of_theory() -> None:
    """For an autoregression with rho = 0.5 the best length is (n (2 rho / (1 - rho^2))^2)^(1/3): 36 for 26,000."""
    lengths = [block_length(remembering(0.5, 26_000, seed)) for seed in range(8)]
    expected = (26_000 * (2 * 0.5 / 0.75) ** 2) ** (1 / 3)
    assert np.median([length for length in lengths if length]) == pytest.approx(expected, rel=0.15)


def _coverage(rho: float, block: float | None) -> float:
    """How often a 90 % interval of the log total return over 300 periods holds the expected one."""
    rng = np.random.default_rng(11)
    truth = -300 * 0.003**2 / (1 - rho**2) / 2  # the mean is 0, the log loses half the variance
    held = 0
    for seed in range(300):
        returns = remembering(rho, 300, seed) * 0.3
        totals, _, _ = resample(returns, np.empty(0), block or block_length(returns) or 1.0, 300, rng)
        low, high = np.quantile(np.log1p(totals), [0.05, 0.95])
        held += low < truth < high
    return held / 300


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_intervals_hold_the_truth_about_as_often_as_they_say(rho: float) -> None:
    """Of 90 % intervals of the total return 82 to 95 % hold the truth, for returns with a memory too."""
    assert 0.82 < _coverage(rho, None) < 0.95


def test_intervals_that_ignore_the_memory_would_lie() -> None:
    """With blocks of one the same intervals hold the truth in under 75 % of cases: the blocks are what mends them."""
    assert _coverage(0.5, 1.0) < 0.75


def test_blocks_are_as_long_as_asked_and_wrap_around() -> None:
    """Resampled places follow each other with probability 1 - 1 / block, and all are drawn equally often."""
    rng = np.random.default_rng(1)
    place = np.arange(50) / 1e6  # a return that says where it came from
    totals, _, _ = resample(place, place, 5.0, 4_000, rng)
    assert np.log1p(totals).mean() == pytest.approx(np.log1p(place).sum(), rel=0.01)


def test_the_difference_to_itself_is_nothing() -> None:
    """Both curves are resampled by the same blocks: a strategy that is hold differs from hold in no draw."""
    returns = noise(1)
    _, _, differences = resample(returns, returns, 3.0, 200, np.random.default_rng(1))
    assert len(differences) == 200
    assert np.all(differences == 0.0)


def test_luck_is_on_days_where_there_are_enough_else_on_hours_else_on_slices() -> None:
    """Thirty whole days, thirty whole hours, or the slices themselves."""
    assert basis_of(times(30 * 1_440 + 1, MINUTE_MS), MINUTE_MS) == ("day", DAY_MS)
    assert basis_of(times(30 * 1_440, MINUTE_MS), MINUTE_MS) == ("hour", HOUR_MS)
    assert basis_of(times(1_000, MINUTE_MS), MINUTE_MS) == ("slice", MINUTE_MS)
    assert basis_of(times(100, HOUR_MS), HOUR_MS) == ("slice", HOUR_MS)
    assert basis_of(times(1_000, DAY_MS), DAY_MS) == ("slice", DAY_MS)


def test_the_same_seed_tells_the_same_and_trials_lower_the_deflated_ratio() -> None:
    """Equal generators give equal figures; more trials leave less of the same ratio."""
    equity, open_ms = curve(noise(2, mean=0.001)), times(DAYS + 1, DAY_MS)
    one, again = (luck(equity, equity, open_ms, DAY_MS, [], np.random.default_rng(7)) for _ in range(2))
    assert one == again
    assert one.trials == 1
    assert one.deflated_sharpe == one.probabilistic_sharpe
    assert one.sharpe == sharpe_of(equity, open_ms, DAY_MS)
    many = luck(equity, equity, open_ms, DAY_MS, [0.5, -0.5, 1.5, None], np.random.default_rng(7))
    assert many.trials == 5
    assert many.deflated_sharpe is not None
    assert one.deflated_sharpe is not None
    assert many.deflated_sharpe < one.deflated_sharpe
    assert one.versus_hold is not None
    assert (one.versus_hold.low, one.versus_hold.high) == (0.0, 0.0)


def test_the_intervals_hold_the_estimates() -> None:
    """Total return, annual return and ratio of a steady curve lie within their intervals, and the ends are in order."""
    returns = noise(4, mean=0.001)
    equity = curve(returns)
    found = luck(equity, None, times(DAYS + 1, DAY_MS), DAY_MS, [], np.random.default_rng(7))
    assert found.total_return
    assert found.annual_return
    assert found.sharpe_interval
    assert found.sharpe
    assert found.total_return.low < equity[-1] / equity[0] - 1.0 < found.total_return.high
    assert found.annual_return.low < found.annual_return.high
    assert found.sharpe_interval.low < found.sharpe < found.sharpe_interval.high
    assert found.versus_hold is None


@pytest.mark.parametrize("equity", [[100.0], [100.0] * 50, [100.0, 101.0], [100.0, 50.0, 0.0], [1.0, 2.0, 3.0]])
def test_what_cannot_be_judged_is_none(equity: list[float]) -> None:
    """One slice, a flat curve, two values, a ruined account: no probability, and never NaN."""
    found = luck(np.array(equity), None, times(len(equity), DAY_MS), DAY_MS, [], np.random.default_rng(7))
    for name in ("sharpe", "probabilistic_sharpe", "deflated_sharpe", "block", "skewness"):
        value = getattr(found, name)
        assert value is None or np.isfinite(value)
    if len(set(equity)) < 3 or not all(equity):
        assert found.deflated_sharpe is None
        assert found.total_return is None
