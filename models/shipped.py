"""The networks that come with lacuna, for whatever coins are at hand: their weights belong to no coin.

What does belong to the coins, scales and correlations, is learned from their candles as they come.
"""

from pathlib import Path

import numpy as np

from bot.core.market import Panel
from models.checkpoint import load
from models.dataset import VALIDATION
from models.gain import fit_gain
from models.model import BadModel
from models.network import Network

FOLDER = Path(__file__).parent / "pretrained"
BY_INTERVAL = {60_000: "masked-1m", 300_000: "masked-5m"}
STUDY = 1_440  # slices from which correlations are known well enough


def shipped(interval_ms: int, device: str = "auto") -> Network:
    """The network for candles of this length, as it was trained. BadModel where there is none."""
    if interval_ms not in BY_INTERVAL:
        there = ", ".join(f"{one // 60_000}m" for one in BY_INTERVAL)
        raise BadModel(f"no network comes with lacuna for candles of {interval_ms} ms, only for {there}: train one")
    model = load(FOLDER / BY_INTERVAL[interval_ms], device)
    if not isinstance(model, Network):
        raise BadModel(f"{FOLDER / BY_INTERVAL[interval_ms]} is no network: install lacuna again")
    return model


def for_coins(symbols: tuple[str, ...], interval_ms: int) -> Network:
    """The network for these coins, of which it knows nothing yet; its gain is the median over those it was trained on."""
    network = shipped(interval_ms)
    gain = None if network.gain is None else np.full(len(symbols), float(np.median(network.gain)))
    return network.unlearned(symbols, gain, STUDY)


def taught_on(panel: Panel) -> Network:
    """The network for the coins of a panel, learned on it and standing at its end; its gain is that of the last 15 %."""
    made = shipped(panel.interval_ms).unlearned(panel.symbols, None, STUDY)
    known = int(len(panel) * (1 - VALIDATION))
    made.observe(panel.rows(0, known))
    rest = panel.rows(known, len(panel))
    made.gain = fit_gain(made.absorb(rest), rest)
    made.fitted_ms = int(panel.open_ms[-1])
    return made
