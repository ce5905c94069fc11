"""The synthetic market: reproducible, without end, and with the truth in it that it promises."""

import numpy as np
import pytest

from bot.core.market import FIELDS, Floats, Panel
from bot.simulator.synthetic import CHUNK, START_MS, Generator, SyntheticSource, synthetic_panel

COINS, MINUTES = 30, 6_000


@pytest.fixture(scope="module")
def panel() -> Panel:
    return synthetic_panel(COINS, MINUTES)


@pytest.fixture(scope="module")
def returns(panel: Panel) -> Floats:
    moves: Floats = np.diff(np.log(panel.close), axis=0)
    return moves


def same(left: Panel, right: Panel) -> bool:
    return left.symbols == right.symbols and all(
        np.array_equal(getattr(left, name), getattr(right, name)) for name in (*FIELDS, "open_ms", "present")
    )


def test_the_same_seed_makes_the_same_market(panel: Panel) -> None:
    """A market is a function of its seed; another seed makes another one."""
    assert same(panel, synthetic_panel(COINS, MINUTES))
    assert not np.array_equal(panel.close, synthetic_panel(COINS, MINUTES, seed=8).close)


def test_a_longer_market_begins_like_a_shorter_one(panel: Panel) -> None:
    """Chunks make one long run: any length is the beginning of the same endless market."""
    assert same(synthetic_panel(COINS, 3 * CHUNK + 7), panel.rows(0, 3 * CHUNK + 7))


def test_the_endless_market_is_the_panel_and_forgets_only_the_old() -> None:
    """What the source still holds equals the one long run; rows beyond `keep` are gone, views stay as they were."""
    source = SyntheticSource(5, keep=600)
    early = source.between(START_MS, START_MS + 60 * 60_000)
    before = early.close.copy()
    end_ms = START_MS + 5_000 * 60_000
    assert len(source.between(end_ms - 100 * 60_000, end_ms)) == 100
    whole = synthetic_panel(5, 5_000)
    held = source.between(0, end_ms)
    assert 600 <= len(held) <= 600 + 600 // 4 + CHUNK
    assert same(held, whole.rows(5_000 - len(held), 5_000))
    assert np.array_equal(early.close, before)
    assert source.end_ms is None and len(source.between(START_MS, START_MS + 60_000)) == 0


def test_every_candle_is_sane_and_on_its_steps(panel: Panel) -> None:
    """low <= open, close <= high; all positive; whole ticks and steps; open is where the last minute's price was."""
    assert (panel.low > 0).all()
    assert (panel.low <= np.minimum(panel.open, panel.close)).all()
    assert (panel.high >= np.maximum(panel.open, panel.close)).all()
    coins = Generator(COINS, 7).coins
    for prices in (panel.open, panel.high, panel.low, panel.close):
        ticks = prices * 10.0**coins.price_decimals
        assert np.abs(ticks - np.rint(ticks)).max() < 1e-4
    steps = panel.volume * 10.0**coins.volume_decimals
    assert np.abs(steps - np.rint(steps)).max() < 1e-3
    both = panel.present[1:] & panel.present[:-1]
    assert np.array_equal(panel.open[1:][both], panel.close[:-1][both])


def test_small_coins_have_minutes_without_trades(panel: Panel) -> None:
    """Such a minute keeps the last price and has no volume; large coins always trade."""
    idle = ~panel.present
    assert idle[:, -1].any() and not idle[:, :10].any()
    row, at = np.argwhere(idle[1:])[0] + (1, 0)
    last = panel.close[row - 1, at]
    assert (panel.volume[row, at], panel.open[row, at], panel.high[row, at], panel.close[row, at]) == (0, *[last] * 3)


def test_laggards_follow_the_leaders_by_their_lag(returns: Floats) -> None:
    """A laggard's return correlates with the leaders' of `lag` minutes before, and far less with other minutes."""
    lag = Generator(COINS, 7).coins.lag
    leaders = returns[:, lag == 0].mean(axis=1)
    assert set(lag[lag > 0]) == {1, 2, 3} and not lag[:2].any()
    for at in np.flatnonzero(lag):
        by_shift = [float(np.corrcoef(returns[k:, at], leaders[: len(leaders) - k])[0, 1]) for k in range(5)]
        assert int(np.argmax(by_shift)) == lag[at]
        assert by_shift[lag[at]] > 0.35
        assert max(by_shift[k] for k in range(1, 5) if k != lag[at]) < 0.1


def test_what_strays_from_the_others_comes_back(returns: Floats) -> None:
    """Divergences above 0.8 % happen a few times an hour among 30 coins, and half of each is gone 5 minutes later."""
    strayed = returns - np.median(returns, axis=1, keepdims=True)
    large = np.argwhere(np.abs(strayed[:-5]) > 0.008)
    assert 2 < len(large) / (MINUTES / 60) < 15
    back = [-np.sign(strayed[t, at]) * strayed[t + 1 : t + 6, at].sum() for t, at in large]
    assert np.mean(back) > 0.004


def test_tails_are_fat_and_volatility_clusters(returns: Floats) -> None:
    """Kurtosis well above the normal's 3 for every coin; large moves follow large moves."""
    centred = returns - returns.mean(axis=0)
    kurtosis = (centred**4).mean(axis=0) / returns.var(axis=0) ** 2
    assert kurtosis.min() > 4.0
    size = np.abs(returns)
    memory = [np.corrcoef(size[10:, at], size[:-10, at])[0, 1] for at in range(COINS)]
    assert np.mean(memory) > 0.05


def test_sectors_move_together(returns: Floats) -> None:
    """Leaders of one sector correlate more with each other than with leaders of other sectors."""
    coins = Generator(COINS, 7).coins
    leaders = np.flatnonzero(coins.lag == 0)
    matrix = np.atleast_2d(np.corrcoef(returns[:, leaders].T))
    alike = coins.sector[leaders][:, None] == coins.sector[leaders]
    others = ~np.eye(len(leaders), dtype=bool)
    assert matrix[alike & others].mean() > matrix[~alike].mean() + 0.03


def test_any_number_of_coins_has_a_name() -> None:
    """111 and more names, all different, beginning with the well-known ones."""
    symbols = Generator(200, 1).coins.symbols
    assert len(set(symbols)) == 200 and symbols[:2] == ("BTC/USDT", "ETH/USDT")
    assert all(symbol.endswith("/USDT") for symbol in symbols)
