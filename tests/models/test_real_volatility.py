"""The baselines on real hours: the figures that a network has to beat."""

from pathlib import Path

import numpy as np
import pytest

from bot.edge.candles import load_panel
from models.evaluate_volatility import evaluate_volatility
from models.volatility_baselines import fit_baseline

CANDLES = Path("../shared/data/binance_spot_1h_full")


def ms(day: str) -> int:
    return int(np.datetime64(day, "ms").astype(np.int64))


@pytest.mark.skipif(not CANDLES.is_dir(), reason=f"{CANDLES} is not here")
def test_har_has_the_figures_that_were_found_before() -> None:
    """BTC/USDT, fitted before 2024-11, scored to 2025-04: QLIKE, R2 and direction of HAR in three forms (spec 6)."""
    whole = load_panel(CANDLES, ["BTC/USDT"])
    test_ms, validation_ms = ms("2024-11-01"), ms("2024-05-01")
    seen = whole.rows(0, int(np.searchsorted(whole.open_ms, test_ms)))
    names = ("persistence", "har", "har-clock", "har-plus-raw")
    models = {name: fit_baseline(name, seen, validation_ms) for name in names}
    found, _ = evaluate_volatility(models.pop("har-plus-raw"), models, whole, test_ms, "BTC/USDT")
    assert found.hours == 4_344
    assert found.model.qlike == pytest.approx(0.411, abs=0.005)
    assert found.model.r2 == pytest.approx(0.456, abs=0.01)
    assert found.baselines["har-clock"].qlike < found.baselines["har"].qlike < found.baselines["persistence"].qlike
    assert found.baselines["persistence"].qlike == pytest.approx(0.815, abs=0.005)
    assert found.baselines["persistence"].rmse == pytest.approx(0.003308, abs=1e-5)
    assert found.baselines["persistence"].direction == pytest.approx(0.525, abs=0.001)
    assert found.baselines["har"].r2 == pytest.approx(0.390, abs=0.005)
