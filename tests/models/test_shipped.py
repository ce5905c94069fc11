"""The networks that come with lacuna: small, named by the command that trained them, and good on coins they never saw."""

import json
from pathlib import Path

import numpy as np
import pytest

from bot.core.market import Panel
from bot.simulator.synthetic import WILD, synthetic_panel
from models.dataset import returns_in
from models.model import BadModel
from models.scores import mean_correlation
from models.shipped import BY_INTERVAL, FOLDER, for_coins, shipped, taught_on
from models.shipped_volatility import NETWORK, SIMPLE
from models.train import fit_baseline

BYTES_MAX = 4 << 20


@pytest.fixture(scope="module")
def market() -> Panel:
    return synthetic_panel(12, 4_000, seed=3, recipe=WILD)


@pytest.mark.parametrize("interval_ms", BY_INTERVAL)
def test_each_is_small_and_says_how_it_was_made(interval_ms: int) -> None:
    """Under 4 MB together with its card, which names the command, the range and what it is not good for."""
    folder = FOLDER / BY_INTERVAL[interval_ms]
    assert sum(path.stat().st_size for path in folder.iterdir()) < BYTES_MAX
    card, config = (folder / "README.md").read_text(), json.loads((folder / "config.json").read_text())
    assert "lacuna train masked --candles ../shared/data/" in card and "no forecast" in card
    assert config["metrics"]["validation_lag0"] > config["metrics"]["validation_lag0_gaussian_wicks"]
    assert shipped(interval_ms).interval_ms == interval_ms


def test_it_finds_what_is_planted_in_a_synthetic_market(market: Panel) -> None:
    """Coins it never saw, which stray and come back: it infers them better than the Gaussian and knows what a gap earns."""
    past, rest = market.rows(0, 3_000), market.rows(3_000, 4_000)
    network, gaussian = taught_on(past), fit_baseline("gaussian_wicks", past, 1.0)
    returns = returns_in(rest)
    inferred = {one: model.infer_panel(rest) for one, model in (("network", network), ("gaussian", gaussian))}
    usable = returns.real & np.all([np.isfinite(one) for one in inferred.values()], axis=0)
    found = {name: mean_correlation(one, returns.values, usable) or 0.0 for name, one in inferred.items()}
    assert found["network"] > found["gaussian"] > 0.5
    assert network.gain is not None and (network.gain > 0.1).all()


def test_for_other_coins_it_learns_from_what_it_observes(market: Panel) -> None:
    """It asks for a day of candles, has the median gain, and infers every coin once it has seen them."""
    network = for_coins(market.symbols, market.interval_ms)
    assert network.warmup == 1_440
    assert network.gain is not None and len(set(network.gain)) == 1
    network.observe(market.rows(0, 1_441))
    assert np.isfinite(network.infer().returns).sum() >= 10


def test_candles_of_a_length_none_was_trained_for_are_refused() -> None:
    """With what there is."""
    with pytest.raises(BadModel, match="only for 1m"):
        shipped(3_600_000)
    there = {path.name for path in Path(FOLDER).iterdir() if path.is_dir()}
    assert there == {*BY_INTERVAL.values(), NETWORK.name, SIMPLE.name}
