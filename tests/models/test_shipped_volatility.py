"""The volatility models that come with lacuna: small, named by their command, and good on coins they never saw."""

from pathlib import Path

import pytest

from bot.edge.candles import load_panel
from models.checkpoint import config_of, load_volatility
from models.evaluate_volatility import evaluate_volatility
from models.shipped_volatility import NETWORK, SIMPLE
from models.volatility_baselines import fit_baseline
from models.volatility_model import VolatilityModel
from tests.models.volatile import volatile

HOURS = volatile(1_500, 3, seed=8)
TEST_MS = int(HOURS.open_ms[1_000])
BYTES_MAX = 3 << 20
REAL = Path(__file__).parents[2] / "../shared/data/binance_spot_1h_2025"


@pytest.mark.parametrize("folder", [NETWORK, SIMPLE])
def test_they_forecast_coins_never_seen(folder: Path) -> None:
    """On a market of its own, where volatility lasts: better than persistence, with intervals that hold."""
    model = unfitted(load_volatility(folder).of(HOURS.symbols))
    plain = {"persistence": unfitted(fit_baseline("persistence", HOURS, TEST_MS))}
    found, tested = evaluate_volatility(model, plain, HOURS, TEST_MS, HOURS.symbols[2])
    assert found.hours > 490 and found.fallbacks == 0
    assert found.model.qlike < 0.9 * found.baselines["persistence"].qlike
    assert 0.6 < found.coverage["0.8"] < 0.95
    assert (tested.quantiles[:, 1:] > tested.quantiles[:, :-1]).all()


@pytest.mark.skipif(not REAL.is_dir(), reason="the real candles are not here")
def test_the_network_is_better_than_the_simple_one_on_real_coins_never_seen() -> None:
    """Litecoin and Algorand in the spring of 2025: neither is among its ten."""
    hours = load_panel(REAL, ("ALGO/USDT", "LTC/USDT"))
    both = {folder: unfitted(load_volatility(folder).of(hours.symbols)) for folder in (NETWORK, SIMPLE)}
    for symbol in hours.symbols:
        simple = {"har-panel": both[SIMPLE]}
        found, _ = evaluate_volatility(both[NETWORK], simple, hours, int(hours.open_ms[1_000]), symbol)
        assert found.fallbacks == 0
        assert found.model.qlike < 0.98 * found.baselines["har-panel"].qlike


@pytest.mark.parametrize("folder", [NETWORK, SIMPLE])
def test_the_card_names_the_command(folder: Path) -> None:
    """And what the model is beside the simple ones."""
    config = config_of(folder)
    assert config.command.startswith("lacuna train volatility --candles ../shared/data/")
    assert config.metrics["validation_qlike"] is not None and config.metrics["validation_qlike_ewma"] is not None
    assert sum(path.stat().st_size for path in folder.iterdir()) < BYTES_MAX


def unfitted(model: VolatilityModel) -> VolatilityModel:
    """As if it had been fitted before the market of these tests was."""
    return VolatilityModel(model.predictor, model.factors, 0)
