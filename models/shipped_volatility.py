"""The volatility models that come with lacuna, for whatever coins are at hand: a network, and the simple one beside it.

Both were fitted on ten coins and serve any other: the network answers for its own coins, the panel HAR for the rest.
"""

from pathlib import Path

from models.checkpoint import load_volatility
from models.volatility_model import VolatilityModel

FOLDER = Path(__file__).parent / "pretrained"
NETWORK, SIMPLE = "volatility-1h", "volatility-har"


def shipped_network(symbols: tuple[str, ...], device: str = "auto") -> VolatilityModel:
    """SPH-Net for these coins. BadModel where PyTorch is missing."""
    return load_volatility(FOLDER / NETWORK, device).of(symbols)


def shipped_simple(symbols: tuple[str, ...]) -> VolatilityModel:
    """The panel HAR for these coins: what the network has to beat from day to day."""
    return load_volatility(FOLDER / SIMPLE).of(symbols)
