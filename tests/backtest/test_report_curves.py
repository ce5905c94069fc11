"""What is drawn is less than what there is, and nothing that matters is lost."""

import base64
import json
import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backtest.measure import measure
from backtest.report import curves
from backtest.report.curves import as_json, packed, prices, thinned
from backtest.report.page import page
from bot.core.market import Floats
from tests.backtest.accounts import Account, result_of
from tests.making import walk

VALUES = st.lists(st.floats(-1e9, 1e9) | st.just(float("nan")), min_size=0, max_size=400).map(np.array)


def unpacked(array: dict[str, str]) -> Floats:
    found: Floats = np.frombuffer(base64.b64decode(array["bdata"]), f"<{array['dtype']}").astype(np.float64)
    return found


@given(VALUES, st.integers(1, 60))
def test_a_thinned_curve_keeps_its_extremes_everywhere(values: Floats, buckets: int) -> None:
    """In each stretch the highest and the lowest stay, as do both ends; times ascend, and no more is kept than said."""
    rows = thinned(values, buckets)
    assert len(rows) <= 2 * buckets + 2
    assert np.all(np.diff(rows) > 0)
    if not len(values):
        return
    assert (rows[0], rows[-1]) == (0, len(values) - 1)
    length = -(-len(values) // buckets)
    for start in range(0, len(values), length):
        stretch = values[start : start + length]
        kept = values[rows[(rows >= start) & (rows < start + length)]]
        assert len(kept)
        if not np.isnan(stretch).all():
            assert np.nanmax(kept) == np.nanmax(stretch)
            assert np.nanmin(kept) == np.nanmin(stretch)


def test_one_spike_in_a_million_is_drawn() -> None:
    """A single slice at a tenth of the price: striding would pass over it."""
    values = np.ones(1_000_000)
    values[777_777] = 0.1
    assert 777_777 in thinned(values, curves.BUCKETS)


@given(st.text(), st.text())
def test_json_in_the_page_cannot_end_its_script(key: str, value: str) -> None:
    """No bracket and no ampersand of foreign text is left, and the value is the same."""
    text = as_json({key: value})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {key: value}


def test_arrays_reach_the_page_to_the_last_digit() -> None:
    """Float64 and times as they are, prices as float32."""
    values = np.random.default_rng(1).normal(0, 1e6, 100)
    assert np.array_equal(unpacked(packed(values)), values)
    times = np.array([1_700_000_000_123], dtype=np.int64)
    assert unpacked(packed(times))[0] == 1_700_000_000_123
    assert packed(values.astype(np.float32))["dtype"] == "f4"


def test_a_fill_is_drawn_where_it_was_and_the_price_line_passes_by_it() -> None:
    """A long history: the closes before and of a fill's slice are kept, its time, price, quantity and reason too."""
    history = walk(20_000)
    account = Account(history, "100000").buy("ETH/USDT", 12_345, "2.50").sell("ETH/USDT", 12_400, "2.5")
    result = account.result()
    (drawn,) = prices(result, ["ETH/USDT"])
    line, buys = unpacked(drawn["time"]), drawn["buys"]  # type: ignore[arg-type]
    assert set((history.open_ms[[12_344, 12_345, 12_400]] + history.interval_ms).tolist()) <= set(line.tolist())
    assert isinstance(buys, dict)
    assert unpacked(buys["time"]).tolist() == [history.open_ms[12_345]]
    assert unpacked(buys["price"]).tolist() == [history.open[12_345, 1]]
    assert (buys["quantity"], buys["reason"]) == (["2.5"], ["buy 12345"])


def test_a_large_replay_makes_a_small_page_soon() -> None:
    """A hundred thousand slices of 60 coins with 12,000 fills: under 8 MB beside plotly, in five seconds of a core."""
    history = walk(100_000, [f"C{at:02}/USDT" for at in range(60)])
    account = Account(history, "1000000")
    for row in range(1, 96_001, 16):
        symbol = history.symbols[row % 60]
        account.buy(symbol, row, "1").sell(symbol, row + 60, "1")
    drift = 1e6 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 1e-4, len(history))))
    result = result_of(history, 1e6, 0.001, drift, drift * 0.5, account.orders, account.fills)
    statistics = measure(result, [], np.random.default_rng(1))
    began = time.process_time()
    html = page(result, statistics)
    assert time.process_time() - began < 5.0
    assert len(html) < 5_200_000 + 8_000_000
    traded = sum(coin.fills > 0 for coin in statistics.coins)
    assert len(curves.drawn_coins(statistics)) == min(traded, curves.COINS_MAX)
