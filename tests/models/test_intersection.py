"""A model on the coins it shares with another universe: to the bit what it says when the others are absent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from bot.core.market import FIELDS, Panel
from models.checkpoint import CLOSED_FORMS
from models.intersection import SHARED_MIN, Intersection
from models.model import BadModel, Model
from models.train import NAMES, fit
from tests.models.markets import market, names

COINS, ROWS, NEW = 6, 900, 60
PANEL = market(ROWS + NEW, COINS, absent=0.02)
FITTED = {name: fit(name, PANEL.rows(0, ROWS), 0.8).model for name in NAMES}
AFTER = PANEL.rows(ROWS - 300, ROWS + NEW)


def fresh(name: str) -> Model:
    """The fitted model, as from its folder: nowhere in time."""
    found = FITTED[name]
    return CLOSED_FORMS[name](found.symbols, found.interval_ms, found.fitted_ms, found.settings(), found.tensors())


def absent(panel: Panel, symbols: tuple[str, ...]) -> Panel:
    """The panel, these coins without a candle."""
    gone = np.isin(panel.symbols, symbols)
    fields = {name: np.where(gone, np.nan, getattr(panel, name)) for name in FIELDS}
    return structs.replace(panel, **fields, present=panel.present & ~gone)


@given(st.sampled_from(NAMES), st.permutations(range(COINS)), st.integers(SHARED_MIN, COINS - 1))
def test_it_says_to_the_bit_what_the_model_says_without_the_others(name: str, order: list[int], count: int) -> None:
    """Whichever coins are shared, in whatever order, in bulk and slice by slice; the gain is theirs."""
    wanted = tuple(names(COINS)[at] for at in order[:count])
    model = Intersection(fresh(name), wanted)
    others = tuple(set(names(COINS)) - set(wanted))
    whole = fresh(name)
    expected = whole.infer_panel(absent(AFTER, others))[:, order[:count]]
    given_to_it = AFTER.of(wanted)
    assert np.array_equal(model.infer_panel(given_to_it), expected, equal_nan=True)
    assert np.isfinite(expected).any()
    model.observe(given_to_it.rows(0, 200))
    model.observe(given_to_it.rows(200, len(AFTER)))
    told = model.infer()
    assert told.open_ms == AFTER.open_ms[-1]
    assert np.array_equal(told.returns, expected[-1], equal_nan=True)
    gain = whole.infer().gain
    assert gain is not None and told.gain is not None
    assert np.array_equal(told.gain, gain[order[:count]])


def test_its_state_goes_on_where_it_stood() -> None:
    """What it remembers is the model's, so that a restart goes on to the bit."""
    wanted = names(COINS)[:4]
    one, other = Intersection(fresh("gaussian"), wanted), Intersection(fresh("gaussian"), wanted)
    panel = AFTER.of(wanted)
    one.observe(panel.rows(0, 300))
    other.restore(one.state())
    one.observe(panel.rows(300, len(panel)))
    other.observe(panel.rows(300, len(panel)))
    assert np.array_equal(one.infer().returns, other.infer().returns, equal_nan=True)


def test_what_is_left_out_is_named() -> None:
    """Coins the model lacks, and coins of the model that are not wanted, by name."""
    model = Intersection(fresh("ridge"), ("NEW/USDT", *names(COINS)[1:4]))
    assert model.symbols == names(COINS)[1:4]
    assert model.remarks == (
        "left out, for the model does not know them: NEW/USDT",
        "absent to the model, which was made with them: C0/USDT, C4/USDT, C5/USDT",
    )
    assert Intersection(fresh("ridge"), names(COINS)).remarks == ()


def test_too_few_shared_coins_are_refused() -> None:
    """Two coins say nothing of each other that is worth a network of many; the sentence has the figures."""
    with pytest.raises(BadModel, match=r"shares 2 \(C0/USDT, C1/USDT\) with the 3 wanted: 3 are the least"):
        Intersection(fresh("ridge"), (*names(2), "NEW/USDT"))


def test_candles_of_other_coins_are_refused() -> None:
    """A panel in another order would be read as other coins."""
    model = Intersection(fresh("ridge"), names(COINS)[:4])
    with pytest.raises(BadModel, match="in their order"):
        model.observe(AFTER.of(names(COINS)[3::-1]))
