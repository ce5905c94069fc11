"""The volatility model that the settings name, for the coins at hand."""

from pathlib import Path

from bot.config import BadConfiguration, Settings
from models.checkpoint import load_volatility
from models.model import BadModel
from models.shipped_volatility import shipped_network, shipped_simple
from models.volatility_model import VolatilityModel

SIMPLE = "har"


def volatility_model(settings: Settings, symbols: tuple[str, ...]) -> VolatilityModel | None:
    """The model, which has seen nothing; None where none is named. BadConfiguration says what is wrong with it."""
    name = settings.forecaster.volatility
    try:
        match name:
            case "":
                return None
            case "pretrained":
                return shipped_network(symbols)
            case _ if name == SIMPLE:
                return shipped_simple(symbols)
            case _:
                return load_volatility(Path(name)).of(symbols)
    except BadModel as why:
        raise BadConfiguration(
            [f"forecaster.volatility: {name}: {why}; {SIMPLE} needs nothing and fits any coin"]
        ) from why
