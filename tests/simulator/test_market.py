"""The market played: a forming candle always ends in exactly the source's candle, and never leaves it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.market import MINUTE_MS
from bot.core.rules import decimals_of
from bot.simulator.market import Candles, Market, PanelSource
from bot.simulator.synthetic import START_MS, synthetic_panel
from tests.making import panel as flat_panel

PANEL = synthetic_panel(30, 600, seed=3)
MARKET = Market(PANEL)


def forming(open_ms: int, elapsed_ms: int) -> Candles:
    found = MARKET.forming(open_ms, MINUTE_MS, open_ms + elapsed_ms)
    assert found is not None
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 599), st.lists(st.integers(0, MINUTE_MS - 1), min_size=2, max_size=20))
def test_a_forming_candle_only_grows_and_stays_inside_its_end(row: int, times: list[int]) -> None:
    """High, volume and trades never fall, low never rises, the close lies between low and high, all within the end."""
    open_ms = int(PANEL.open_ms[row])
    end = MARKET.closed(open_ms, MINUTE_MS)
    assert end is not None
    before: Candles | None = None
    for elapsed in sorted(times):
        now = forming(open_ms, elapsed)
        assert (now.low <= now.close).all() and (now.close <= now.high).all()
        assert (now.open >= now.low).all() and (now.open <= now.high).all()
        assert (now.high <= end.high).all() and (now.low >= end.low).all() and (now.volume <= end.volume).all()
        if before is not None:
            assert (now.high >= before.high).all() and (now.low <= before.low).all()
            assert (now.volume >= before.volume).all() and (now.trades >= before.trades).all()
        before = now


@pytest.mark.parametrize("row", [0, 5, 599])
def test_a_minute_begins_at_its_open_and_ends_in_its_candle(row: int) -> None:
    """At second 0 and 2 the price is the open; from second 54 on open, high, low and close are the panel's, exactly."""
    open_ms = int(PANEL.open_ms[row])
    for elapsed in (0, 2_000):
        assert np.array_equal(forming(open_ms, elapsed).close, PANEL.open[row])
    late = forming(open_ms, 54_000)
    for name in ("open", "high", "low", "close"):
        assert np.array_equal(getattr(late, name), getattr(PANEL, name)[row])
    end = MARKET.closed(open_ms, MINUTE_MS)
    assert end is not None
    for name in ("open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(end, name), getattr(PANEL, name)[row])


def test_a_minute_without_trades_says_so() -> None:
    """No trades: no volume, trade ids of -1, and the last price throughout."""
    row, at = np.argwhere(~PANEL.present[1:])[0] + (1, 0)
    found = forming(int(PANEL.open_ms[row]), 30_000)
    assert (found.trades[at], found.first_trade[at], found.last_trade[at], found.volume[at]) == (0, -1, -1, 0)
    assert found.open[at] == found.high[at] == found.low[at] == found.close[at] == PANEL.close[row - 1, at]


@settings(max_examples=60, deadline=None)
@given(st.integers(START_MS, START_MS + 599 * MINUTE_MS))
def test_bid_and_ask_enclose_the_price_a_tick_apart_at_least(now_ms: int) -> None:
    """The bid is below the ask by a tick or more, the price of the forming candle lies within a tick of both."""
    quotes = MARKET.quotes(now_ms)
    candles = MARKET.forming(MARKET.open_of(now_ms), MINUTE_MS, now_ms)
    assert quotes is not None and candles is not None
    tick = 10.0**-MARKET.source.price_decimals
    assert (quotes.ask - quotes.bid > tick * 0.999).all()
    assert (quotes.bid <= candles.close + tick).all() and (quotes.ask >= candles.close - tick).all()
    assert (quotes.bid > 0).all() and (quotes.bid_quantity > 0).all() and (quotes.ask_quantity > 0).all()


@pytest.mark.parametrize("minutes", [5, 60])
def test_longer_intervals_are_sums_of_minutes(minutes: int) -> None:
    """A five-minute or hourly candle is what its minutes were, in the streams as in REST."""
    interval_ms = minutes * MINUTE_MS
    rows = slice(120, 120 + minutes)
    found = MARKET.closed(int(PANEL.open_ms[120]), interval_ms)
    assert found is not None
    assert np.array_equal(found.open, PANEL.open[120]) and np.array_equal(found.close, PANEL.close[119 + minutes])
    assert np.array_equal(found.high, PANEL.high[rows].max(axis=0))
    assert np.array_equal(found.low, PANEL.low[rows].min(axis=0))
    assert np.allclose(found.volume, PANEL.volume[rows].sum(axis=0), rtol=1e-12)
    now_ms = int(PANEL.open_ms[500])
    history = MARKET.history(4, interval_ms, int(PANEL.open_ms[120]), int(PANEL.open_ms[121]), now_ms)
    assert history.open_ms.tolist() == [int(PANEL.open_ms[120])]
    pairs = zip(
        (history.open, history.high, history.low, history.close, history.trades), found[:4] + found[6:7], strict=True
    )
    assert all(one[0] == many[4] for one, many in pairs)


def test_a_suspended_minute_does_not_exist() -> None:
    """NaN in the panel: no candle in the stream, none in REST, no quote; the others are untouched."""
    close = np.full((10, 2), 100.0)
    close[4:6, 1] = np.nan
    market = Market(flat_panel(close, START_MS, ("BTC/USDT", "ETH/USDT")))
    candles = market.closed(START_MS + 4 * MINUTE_MS, MINUTE_MS)
    quotes = market.quotes(START_MS + 4 * MINUTE_MS)
    assert candles is not None and quotes is not None
    assert np.isfinite(candles.close).tolist() == [True, False] == np.isfinite(quotes.bid).tolist()
    now_ms = START_MS + 9 * MINUTE_MS
    opens = [market.history(at, MINUTE_MS, 0, now_ms, now_ms).open_ms for at in (0, 1)]
    assert len(opens[0]) == 9 and set((opens[0] - START_MS) // MINUTE_MS) - set((opens[1] - START_MS) // MINUTE_MS) == {
        4,
        5,
    }
    assert market.last_price(1, START_MS + 5 * MINUTE_MS) == 100.0


def test_a_panel_has_an_end() -> None:
    """After its last minute there is nothing: no candle, no quote; the last price is remembered."""
    end_ms = int(PANEL.open_ms[-1]) + MINUTE_MS
    assert MARKET.minute(end_ms) is None and MARKET.quotes(end_ms) is None
    assert MARKET.forming(end_ms, MINUTE_MS, end_ms) is None and MARKET.closed(end_ms, MINUTE_MS) is None
    assert MARKET.last_price(0, end_ms + 5 * MINUTE_MS) == PANEL.close[-1, 0]


def test_an_empty_panel_is_refused() -> None:
    """An exchange needs candles."""
    with pytest.raises(ValueError, match="empty"):
        PanelSource(PANEL.rows(0, 0))


@given(st.integers(0, 8), st.lists(st.integers(1, 10**9), min_size=1, max_size=20))
def test_decimals_are_as_few_as_write_every_number(decimals: int, ticks: list[int]) -> None:
    """Numbers on a step of 10^-d are written with at most d decimals, without loss."""
    values = np.array(ticks, dtype=np.float64)[:, None] / 10.0**decimals
    found = int(decimals_of(values)[0])
    assert found <= decimals
    assert [float(f"{value:.{found}f}") for value in values[:, 0]] == values[:, 0].tolist()


def test_the_start_leaves_history_before_it_and_market_after_it() -> None:
    """As much history as asked for, at most half of a panel."""
    assert Market(PANEL).start_ms(100) == START_MS + 100 * MINUTE_MS
    assert Market(PANEL).start_ms(5_000) == START_MS + 300 * MINUTE_MS
