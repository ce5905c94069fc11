"""The figures on real candles: 80 coins, one-minute, April 2021. Nothing is fitted on what is scored."""

from pathlib import Path

import pytest

from bot.edge.candles import covered, load_panel
from models.checkpoint import load
from models.evaluate import evaluate
from models.train import train

CANDLES = Path("../shared/data/binance_spot_1m_2021")


@pytest.mark.slow
@pytest.mark.skipif(not CANDLES.is_dir(), reason=f"{CANDLES} is not here")
def test_the_gaussian_beats_ridge_and_market_on_real_candles(tmp_path: Path) -> None:
    """Mean lag-0 correlation over 80 coins: Gaussian at least 0.594, ridge about 0.586, market about 0.579."""
    whole = load_panel(CANDLES)
    panel = whole.of(covered(whole, 0.9))
    train("gaussian", panel, tmp_path / "gaussian")
    found = evaluate(load(tmp_path / "gaussian"), panel)
    assert (found.coins, found.steps) == (80, 7_128)
    assert found.lag0.mean is not None and found.lag0.mean >= 0.594
    assert found.baselines["ridge"].lag0.mean == pytest.approx(0.586, abs=0.001)
    assert found.baselines["market"].lag0.mean == pytest.approx(0.579, abs=0.001)
    assert found.divergence_next.mean is not None and found.divergence_next.mean > 0.05
