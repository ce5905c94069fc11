"""The volatility model that the settings name, for the coins at hand."""

from pathlib import Path

from bot.config import BadConfiguration, Settings
from models.checkpoint import load_volatility
from models.model import BadModel
from models.shipped_volatility import NETWORK, SIMPLE
from models.volatility_model import VolatilityModel

SHIPPED = {"pretrained": NETWORK, "har": SIMPLE}


def volatility_folder(settings: Settings) -> Path | None:
    """Where the named model lies; None where none is named."""
    name = settings.forecaster.volatility
    return SHIPPED.get(name, Path(name)) if name else None


def volatility_model(settings: Settings, symbols: tuple[str, ...]) -> VolatilityModel | None:
    """The model, which has seen nothing; None where none is named. BadConfiguration says what is wrong with it.

    On the CPU, where it costs milliseconds an hour, so that a bot and a replay forecast the same to the bit.
    """
    folder = volatility_folder(settings)
    if folder is None:
        return None
    try:
        return load_volatility(folder, "cpu").of(symbols)
    except BadModel as why:
        text = f"{settings.forecaster.volatility}: {why}; har needs no PyTorch and fits any coin"
        raise BadConfiguration([f"forecaster.volatility: {text}"]) from why
