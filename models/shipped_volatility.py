"""The volatility models that come with lacuna, for whatever coins are at hand: a network, and the simple one beside it.

Both were fitted on ten coins and serve any other (models/volatility_network.py, models/har.py).
"""

from pathlib import Path

from models.checkpoint import load_volatility
from models.volatility_model import VolatilityModel

FOLDER = Path(__file__).parent / "pretrained"
NETWORK, SIMPLE = FOLDER / "volatility-1h", FOLDER / "volatility-har"


def shipped_simple(symbols: tuple[str, ...]) -> VolatilityModel:
    """The panel HAR for these coins: what a network has to beat from day to day."""
    return load_volatility(SIMPLE).of(symbols)
