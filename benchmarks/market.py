"""A network of a preset with random weights, and a table of random inputs for it: they cost what real ones cost."""

import numpy as np
import torch

from models.architectures import NETWORKS
from models.baselines import Gaussian
from models.inputs import Inputs, Stream
from models.network import Network
from models.presets import Preset
from models.table import Table

MINUTE_MS = 60_000


def network_of(preset: Preset, coins: int, device: str) -> Network:
    """Untrained, of coins that have no names."""
    symbols = tuple(f"C{at}/USDT" for at in range(coins))
    torch.manual_seed(2)
    module = NETWORKS[preset.architecture].build(preset.config, coins)
    stream = Stream(Gaussian(symbols, MINUTE_MS))
    return Network(preset.architecture, preset.config, module, stream, device=torch.device(device))


def table_of(rows: int, coins: int, device: str) -> Table:
    """Seeded inputs, one entry in a hundred not known."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((rows, coins), dtype=np.float32)
    candles = rng.standard_normal((rows, coins, 3), dtype=np.float32)
    known = rng.random((rows, coins)) > 0.01
    follows = np.arange(rows) > 0
    open_ms = MINUTE_MS * np.arange(rows, dtype=np.int64)
    inputs = Inputs(open_ms, candles, x, x, known, np.full((rows, coins), 1e-3), follows, 1e-3 * x)
    return Table(inputs, torch.device(device))
