"""Wicks: how far a candle went beyond its closes, and what the slice after makes of it."""

import copy
import itertools

import numpy as np
import pytest
from msgspec.structs import replace

from bot.core.market import Floats, Panel
from models.baselines import Gaussian, GaussianSettings
from models.dataset import Tape, returns_in
from models.scores import mean_correlation
from models.train import fit
from tests.models.markets import market, panel_of, without


def bouncing(rows: int, coins: int, seed: int = 1) -> Panel:
    """Last trades at the bid or the ask: a close off the middle leaves a wick on the other side, and comes back."""
    rng = np.random.default_rng(seed)
    middle = np.cumsum(rng.normal(0, 0.001, (rows, 1)) + rng.normal(0, 0.0005, (rows, coins)), axis=0)
    touch = rng.choice([-0.0005, 0.0005], (rows, coins))
    close = np.exp(middle + touch)
    before = np.vstack((close[:1], close[:-1]))
    high = np.maximum(np.maximum(close, before), np.exp(middle + 0.0005))
    low = np.minimum(np.minimum(close, before), np.exp(middle - 0.0005))
    made = panel_of(np.zeros((rows, coins)))
    return replace(made, open=before, high=high, low=low, close=close)


PANEL = bouncing(900, 4)
WICKS = GaussianSettings(wicks=True)


def infer(panel: Panel) -> Floats:
    return Gaussian(panel.symbols, panel.interval_ms, WICKS).infer_panel(panel)


def test_wicks_by_hand() -> None:
    """From 100 to 102 with a high of 104.04 and a low of 99: 2 % above both closes, 1 % below both."""
    two = panel_of(np.zeros((2, 1)))
    close = np.array([[100.0], [102.0]])
    panel = replace(two, close=close, high=np.array([[100.0], [104.04]]), low=np.array([[100.0], [99.0]]))
    assert returns_in(panel).wicks[:, 0] == pytest.approx([0.0, 0.02 - 0.01])


def test_closes_alone_have_no_wicks() -> None:
    """Where highs and lows are not known, nothing is made up."""
    plain = market(50, 3)
    unknown = np.full_like(plain.close, np.nan)
    assert not returns_in(replace(plain, high=unknown, low=unknown)).wicks.any()


def test_pieces_give_the_wicks_of_the_whole() -> None:
    """However the slices are cut into pieces."""
    tape = Tape(PANEL.symbols, PANEL.interval_ms)
    pieces = [tape.take(PANEL.rows(start, stop)).wicks for start, stop in itertools.pairwise((0, 1, 7, 200, 900))]
    assert np.array_equal(np.vstack(pieces), returns_in(PANEL).wicks)


def test_they_are_used_where_they_help() -> None:
    """In a market that bounces between bid and ask the validation split chooses them; the gain is not small."""
    fitted = fit("gaussian", bouncing(6_000, 4))
    assert fitted.model.settings()["wicks"]
    assert fitted.tried["gaussian_wicks"] > (fitted.tried["gaussian_lag1"] or 1.0) + 0.03  # type: ignore[operator]


def test_a_hidden_coins_newest_candle_tells_nothing_about_itself() -> None:
    """Whatever its close, high and low: what is inferred for it is the same, but for rounding."""
    changed = copy.deepcopy(PANEL)
    for field in (changed.open, changed.high, changed.low, changed.close):
        field[-1, 2] *= 1.01
    now, before = infer(changed)[-1], infer(PANEL)[-1]
    assert now[2] == pytest.approx(before[2], rel=1e-9)
    assert now[1] != pytest.approx(before[1], rel=1e-3)


def test_slice_by_slice_is_all_at_once_to_the_bit() -> None:
    """Over a hole in time, and from a state taken in the middle."""
    panel = without(PANEL, slice(400, 420))
    bulk, live = infer(panel), Gaussian(PANEL.symbols, PANEL.interval_ms, WICKS)
    for row in range(len(panel)):
        if row == 500:
            state, live = live.state(), Gaussian(PANEL.symbols, PANEL.interval_ms, WICKS)
            live.restore(state)
        live.observe(panel.rows(row, row + 1))
        assert live.infer().returns.tobytes() == bulk[row].tobytes(), row


def test_a_folder_without_them_is_refused() -> None:
    """A model says whether it reads wicks; arrays that lack theirs are another model's."""
    arrays = Gaussian(PANEL.symbols, PANEL.interval_ms, GaussianSettings()).tensors()
    with pytest.raises(ValueError, match="fit the model again"):
        Gaussian.load(PANEL.symbols, PANEL.interval_ms, 0, {"wicks": True}, arrays)
    with pytest.raises(ValueError, match="wicks"):
        GaussianSettings(lags=0, wicks=True)


def test_the_bounce_is_inferred() -> None:
    """Beside the same Gaussian without wicks, on the same rows."""
    panel = bouncing(4_000, 4, seed=3)
    returns = returns_in(panel)
    plain = Gaussian(panel.symbols, panel.interval_ms).infer_panel(panel)
    with_them, without_them = (
        mean_correlation(found[2_000:], returns.values[2_000:], returns.real[2_000:]) for found in (infer(panel), plain)
    )
    assert with_them is not None and without_them is not None
    assert with_them > without_them + 0.03
