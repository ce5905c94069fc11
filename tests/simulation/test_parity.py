"""Paper daemon and backtester on the same candles decide, order and fill the same."""

from typing import Any

import numpy as np
import pytest

from bot.config import Settings
from bot.parity import Done, compare, differences
from bot.simulator.synthetic import synthetic_panel
from models.shipped_volatility import shipped_simple
from models.train import fit
from tests.simulation.world import LIVELY

HISTORY, MINUTES, SPEED = 60, 30, 90.0
HOURS, UNHURRIED = 170, 60.0


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate({name: LIVELY[name] for name in ("market", "risk", "strategies", "storage")})


def test_paper_and_backtest_are_the_same(settings: Settings) -> None:
    """A real daemon on a real websocket for half an hour, and the replay of the same: nothing differs, much is done."""
    panel = synthetic_panel(8, 800 + HISTORY + MINUTES, 3)
    model = fit("gaussian", panel.rows(0, 800)).model
    found = compare(settings, panel.rows(800, len(panel)), HISTORY, model, SPEED)
    assert found.first_difference == ""
    assert found.identical
    assert found.slices > MINUTES - 12
    assert found.orders > 5
    assert found.fills >= found.orders - 2


def test_paper_and_backtest_size_by_the_same_volatilities(settings: Settings) -> None:
    """Entries sized by forecasts of hours that the daemon asked the exchange for and the replay made of its candles."""
    panel = synthetic_panel(8, 800 + HOURS * 60 + MINUTES, 3)
    # a coin's quiet minute is left out: an order's life ends just as the minute after it begins, and either may be first
    traded = panel.present[800 + HOURS * 60 :]
    panel = panel.of(tuple(symbol for at, symbol in enumerate(panel.symbols) if traded[:, at].all()))
    model = fit("gaussian", panel.rows(0, 800)).model
    sized = {"of": "masked-divergence", "per": "coin", "target": 0.2}
    settings = settings.model_copy(
        update={
            "strategy": settings.strategy.model_copy(update={"name": "volatility-target"}),
            "strategies": settings.strategies | {"volatility-target": sized},
            "forecaster": settings.forecaster.model_copy(update={"volatility": "har"}),
        }
    )
    volatility = shipped_simple(panel.symbols)
    found = compare(settings, panel.rows(800, len(panel)), HOURS * 60, model, UNHURRIED, volatility)
    assert found.first_difference == ""
    assert found.identical
    assert found.slices > MINUTES - 12
    assert found.orders > 5


def done(**changed: Any) -> Done:
    """One slice's doings, some of them others."""
    plain: dict[str, Any] = {
        "forecasts": np.array([0.1, np.nan]),
        "targets": np.array([0.2, np.nan]),
        "orders": ["a"],
        "fills": ["b"],
    }
    return Done(**{kind: {7: value} for kind, value in (plain | changed).items()})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("forecasts", np.array([np.nextafter(0.1, 1), np.nan])),
        ("forecasts", np.array([0.1, 0.0])),
        ("targets", None),
        ("targets", np.array([0.2, 0.0])),
        ("orders", ["a", "c"]),
        ("orders", []),
        ("fills", ["x"]),
    ],
)
def test_the_first_difference_is_told(kind: str, value: Any) -> None:
    """One bit of one forecast, a target more, an order less, another fill: each is named with its slice."""
    found = differences(done(), done(**{kind: value}), 0, 10)
    assert not found.identical
    assert found.first_difference.startswith(f"slice 7, {kind}:")
    assert differences(done(), done(), 0, 10).identical


def test_no_slice_compared_is_no_parity() -> None:
    """A daemon that decided nothing has proven nothing."""
    assert not differences(done(), done(), 8, 10).identical
