"""Bulk and live inference agree to the last bit."""

import copy

import numpy as np
import pytest

from models.train import fit
from tests.making import walk

COINS = tuple(f"C{at}/USDT" for at in range(9))


@pytest.mark.parametrize("name", ["market", "ridge", "gaussian"])
def test_a_whole_panel_at_once_infers_what_slice_by_slice_does(name: str) -> None:
    """Same bits, with absent candles, across the hourly refresh: a backtest decides on what the bot would have."""
    panel = walk(900, COINS, seed=2)
    panel.close[650:653, 2] = np.nan
    panel.present[650:653, 2] = False
    panel.present[700:710, 4:6] = False
    model = fit(name, panel.rows(0, 500)).model
    rest = panel.rows(500, 900)
    bulk, live = model.infer_panel(rest), copy.deepcopy(model)
    live.observe(rest.rows(0, 60))
    for row in range(60, len(rest)):
        live.observe(rest.rows(row, row + 1))
        assert live.infer().returns.tobytes() == bulk[row].tobytes(), row
