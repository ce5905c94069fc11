"""Volatility models from their folders: one loader for every architecture, so that any can be the bot's."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from bot.core.market import HOUR_MS
from models.ewma import Ewma
from models.garch import Garch, Kind
from models.har import Har
from models.model import BadModel
from models.volatility_model import Factors, Predictor, VolatilityModel

Tensors = Mapping[str, NDArray[Any]]

NETWORKS = ("sph-net", "sph-net-published")
SIMPLE = ("persistence", "ewma", "har", *Kind)
ARCHITECTURES = (*SIMPLE, *NETWORKS)


def volatility_model(
    architecture: str,
    symbols: tuple[str, ...],
    interval_ms: int,
    fitted_ms: int,
    settings: Mapping[str, Any],
    tensors: Tensors,
    device: str = "cpu",
) -> VolatilityModel:
    """The model of a folder; it has seen nothing. BadModel says what is wrong."""
    if interval_ms != HOUR_MS:
        raise BadModel(f"a volatility model reads hours, this folder says {interval_ms} ms: fit the model again")
    predictor = _predictor(architecture, symbols, settings, tensors, device)
    return VolatilityModel(predictor, Factors.load(len(symbols), tensors), fitted_ms)


def _predictor(
    architecture: str, symbols: tuple[str, ...], settings: Mapping[str, Any], tensors: Tensors, device: str
) -> Predictor:
    match architecture:
        case "persistence" | "ewma":
            return Ewma(symbols, float(settings.get("decay", 0.0)))
        case "har":
            return Har.load(symbols, settings, tensors)
        case "garch" | "egarch":
            return Garch.load(symbols, Kind(architecture), tensors)
        case "sph-net" | "sph-net-published":
            return _network(architecture, symbols, settings, tensors, device)
    raise BadModel(f"no volatility architecture {architecture!r}: there are {', '.join(ARCHITECTURES)}")


def _network(
    architecture: str, symbols: tuple[str, ...], settings: Mapping[str, Any], tensors: Tensors, device: str
) -> Predictor:
    try:
        from models.processes import alone
        from models.volatility_network import VolatilityNetwork
    except ModuleNotFoundError as why:
        if why.name != "torch":
            raise
        raise BadModel(f"{architecture} needs PyTorch: pip install 'lacuna-trader[torch]'") from why
    return VolatilityNetwork.load(architecture, symbols, settings, tensors, alone(device).device)
