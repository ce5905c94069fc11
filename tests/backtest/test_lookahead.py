"""The proof against looking ahead, and that it catches who does."""

import re
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from backtest.lookahead import Ahead, Looked, Proof, another_future
from backtest.simulate import Delays, Replay, Venue
from bot.building import setup_of, strategy_of
from bot.config import load
from bot.core.market import MINUTE_MS, Floats, Mask, Panel
from bot.core.recording import Recorded
from bot.core.rules import instruments_of
from bot.core.strategy import Block, View
from bot.edge.broker import fill_model
from models.hourly import HourlyForecasts, forecast_ahead
from models.train import fit
from models.volatility_baselines import fit_baseline
from strategies.masked_divergence import MaskedDivergence, Settings
from tests.making import Wanting, walk
from tests.models.volatile import volatile

SETTINGS = load(None, {"account.cash": 10_000.0})
COINS = tuple(f"C{at}/USDT" for at in range(6))


class Momentum(Wanting):
    """Buys what rose, sells what fell: an honest strategy of two slices."""

    warmup = rows = 2

    def targets(self, view: View) -> Floats:
        close = view.window.close
        return np.where(close[-1] > close[-2] * 1.001, 0.1, np.where(close[-1] < close[-2], 0.0, np.nan))


class Peeking(Momentum):
    """Reads the row behind the newest: the next slice, which has not happened yet."""

    def targets(self, view: View) -> Floats:
        window: Any = view.window._past
        if not hasattr(window, "_panel"):
            return super().targets(view)
        ahead = window._values[3][min(window._end, len(window._values[3]) - 1)]
        return np.where(ahead > window.close[-1], 0.1, 0.0)


class Forgetful(Momentum):
    """Says it needs two slices and looks at twenty."""

    def targets(self, view: View) -> Floats:
        return np.where(view.window.close[-1] > view.window.close[-20:].mean(axis=0), 0.1, 0.0)


class Brooding(Momentum):
    """Says it needs two slices, which is true as long as nothing is held; what it holds it compares with twenty."""

    def targets(self, view: View) -> Floats:
        close = view.window.close
        fell = np.zeros(len(COINS), dtype=np.bool_)
        fell[view.held] = close[-1, view.held] < close[-20:, view.held].mean(axis=0)
        return np.where(fell, 0.0, np.where(close[-1] > close[-2], 0.1, np.nan))


class Patient(Momentum):
    """Looks at what it paid, how long ago and how high it stood since, and at nothing more of the past."""

    def targets(self, view: View) -> Floats:
        owned, window = view.portfolio, view.window
        old = window.newest_ms - owned.opened_ms >= 5 * window.interval_ms
        leave = (owned.weights > 0) & (old | (owned.mark > owned.entry * 1.001) | (owned.mark < owned.high * 0.999))
        return np.where(leave, 0.0, np.where(window.close[-1] > window.close[-2], 0.1, np.nan))


def look(strategy: type[Wanting], cuts: int = 6) -> Looked:
    proof = Proof(SETTINGS, walk(120, COINS), 30, None, strategy)
    return proof.look(cuts, np.random.default_rng(3), lambda done, of: None)


def test_an_honest_strategy_moves_nothing() -> None:
    """Other futures and shorter pasts leave forecasts, targets and orders as they were."""
    found = look(Momentum)
    assert (found.identical, found.first_difference, found.cuts) == (True, "", 6)
    assert found.compared > 500


def test_a_strategy_that_reads_one_slice_ahead_is_caught() -> None:
    """The planted peek: the first difference names the slice whose targets moved."""
    found = look(Peeking)
    assert not found.identical
    assert "the targets moved" in found.first_difference


def test_nothing_a_strategy_can_call_shows_a_slice_to_come() -> None:
    """Every public name of the window it is handed, read and called at each decision: no close of a later row in any."""
    candles = walk(40, COINS)
    tried: set[str] = set()
    asked: list[int] = []

    class Trying(Momentum):
        def targets(self, view: View) -> Floats:
            sight: Any = view.window
            names = [name for name in dir(sight) if not name.startswith("_")]
            newest = int(np.searchsorted(candles.open_ms, sight.newest_ms))
            later = set(candles.close[newest + 1 :].ravel().tolist())
            for name in names:
                found = getattr(sight, name)
                if callable(found):
                    found = found(1_000)
                for part in found if isinstance(found, tuple) else (found,):
                    assert not later & set(np.asarray(part).ravel().tolist()), name
                with pytest.raises(AttributeError):
                    setattr(sight, name, None)
            for name in ("ahead", "advance", "steady_rows", "push", "fill", "infer", "adopt", "emptied"):
                assert not hasattr(sight, name)
            assert sight.close[-1].tolist() == candles.close[newest].tolist()
            tried.update(names)
            asked.append(newest)
            return super().targets(view)

    venue = Venue(instruments_of(candles), fill_model(SETTINGS.account), Delays())
    Replay(candles, 20, setup_of(SETTINGS, COINS, 2), Trying(), venue, Decimal(10_000)).run()
    assert asked == list(range(20, 40))
    assert {"close", "present", "returns", "divergences"} <= tried


def test_a_warm_up_that_is_too_short_is_caught() -> None:
    """A strategy that reads further back than it says wants something else of a shorter past."""
    found = look(Forgetful)
    assert not found.identical
    assert "warm-up is too short" in found.first_difference


def test_a_warm_up_that_is_too_short_for_what_is_held_is_caught() -> None:
    """A strategy that reads further back for what it holds is asked with what the replay really held."""
    found = look(Brooding, cuts=12)
    assert not found.identical
    assert re.search(r"holding [1-6] coins: .* the warm-up is too short", found.first_difference)


def test_what_an_account_remembers_is_no_past_of_the_window() -> None:
    """Ages, entries and highs are the account's: a strategy that uses them needs no longer warm-up."""
    found = look(Patient)
    assert found.identical, found.first_difference
    assert found.compared > look(Momentum, cuts=1).compared


def test_an_account_is_kept_as_it_was() -> None:
    """What is recorded is the first account from a time on that holds something, and trading on does not change it."""
    candles = walk(60, COINS)
    begin_ms = int(candles.open_ms[30])
    strategy = Recorded(Momentum(), [begin_ms, begin_ms, int(candles.open_ms[40])])
    venue = Venue(instruments_of(candles), fill_model(SETTINGS.account), Delays())
    replay = Replay(candles, 20, setup_of(SETTINGS, COINS, 2), strategy, venue, Decimal(10_000))
    replay.run()
    (first_ms, first), (second_ms, _) = strategy.accounts_at.items()
    assert begin_ms <= first_ms < int(candles.open_ms[40]) <= second_ms
    row = int(np.searchsorted(candles.open_ms, first_ms))
    assert first.portfolio.equity == replay.equity[row - 20]
    assert first.portfolio.mark.tolist() == candles.close[row].tolist()
    held = np.flatnonzero(first.portfolio.weights)
    assert len(held)
    assert np.isin(held, first.held).all()  # dust is held too, and weighs nothing
    assert (first.portfolio.opened_ms[held] <= first_ms + MINUTE_MS).all()


def test_a_model_that_looks_ahead_is_caught() -> None:
    """A model whose inference for a slice uses the next one: its forecasts move with the future."""

    class Prophet:
        symbols, interval_ms, warmup, gain = COINS, 60_000, 2, None

        def infer(self) -> Any:
            return self

        def infer_panel(self, panel: Any) -> Floats:
            ahead = np.roll(panel.close, -1, axis=0) / panel.close - 1
            return np.where(np.isfinite(ahead), ahead, 0.0)

    model: Any = Prophet()
    proof = Proof(SETTINGS, walk(120, COINS), 40, model, lambda: MaskedDivergence(Settings(window=10)))
    found = proof.look(4, np.random.default_rng(3), lambda done, of: None)
    assert not found.identical
    assert "the forecast moved" in found.first_difference


def test_the_built_in_model_looks_at_nothing_to_come() -> None:
    """The Gaussian and masked divergence, fitted on what lies before: nothing moves, and a late start is told."""
    panel = walk(700, COINS, seed=5)
    model = fit("gaussian", panel.rows(0, 400)).model
    build = lambda: MaskedDivergence(Settings(window=10, divergence_threshold=0.0005))
    found = Proof(SETTINGS, panel.rows(400, 700), 100, model, build).look(
        5, np.random.default_rng(3), lambda a, b: None
    )
    assert found.identical, found.first_difference
    assert found.restarted == pytest.approx(1.0, abs=0.3)


def test_another_future_leaves_the_past_alone() -> None:
    """Up to the cut not a bit differs, after it every price does."""
    panel = walk(50, COINS)
    other = another_future(panel, 20, np.random.default_rng(1))
    assert np.array_equal(other.close[:21], panel.close[:21])
    assert not (other.close[21:] == panel.close[21:]).any()


def test_a_peek_in_what_is_called_quiet_is_caught() -> None:
    """Where a strategy's `quiet` reads the slice after, skipping trades otherwise than stepping."""

    class Foreseeing(Momentum):
        def quiet(self, block: Block) -> Mask:
            ahead = np.vstack([block.returns[1:], block.returns[-1:]])
            return np.logical_not((np.abs(ahead) > 0.0015).any(axis=1))

    found = look(Foreseeing)
    assert not found.identical
    assert "skipping what it calls quiet" in found.first_difference


def sized(ahead: Ahead, cuts: int = 4) -> Looked:
    """The proof of a volatility target of hold, with these volatilities ahead."""
    settings = load(None, {"strategy.name": "volatility-target", "strategies.volatility-target.per": "coin"})
    proof = Proof(settings, walk(400, COINS), 120, None, lambda: strategy_of(settings), ahead)
    return proof.look(cuts, np.random.default_rng(3), lambda done, of: None)


def ewma(panel: Panel) -> HourlyForecasts:
    """What a model without anything to fit says of a panel."""
    hours = volatile(400, coins=2)
    return forecast_ahead(fit_baseline("ewma", hours, int(hours.open_ms[200])).of(panel.symbols), panel)


def test_no_forecast_volatility_looks_ahead() -> None:
    """Hours are made of slices that are over: with another future forecasts, sizes and orders stay as they were."""
    found = sized(ewma)
    assert (found.identical, found.first_difference) == (True, "")
    assert found.compared > 500


def test_a_volatility_that_looks_ahead_is_caught() -> None:
    """One hour's forecast made at the close of the hour before it: told by the first slice that it moved at."""

    def prophet(panel: Panel) -> HourlyForecasts:
        told = ewma(panel)
        return HourlyForecasts(told.open_ms[:-1], told.volatility[1:])

    found = sized(prophet, cuts=12)
    assert not found.identical
    assert "the forecast moved" in found.first_difference
