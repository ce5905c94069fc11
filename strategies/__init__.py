"""One decision each. `STRATEGIES` names them as the command line and the settings do."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from bot.core.strategy import Strategy
from strategies import hold, masked_divergence, volatility_target

SETTINGS: dict[str, type[BaseModel]] = {
    "masked-divergence": masked_divergence.Settings,
    "hold": hold.Settings,
    "volatility-target": volatility_target.Settings,
}
STRATEGIES = tuple(SETTINGS)

Sections = Mapping[str, dict[str, Any]]


def build(name: str, sections: Sections, account_cost: float) -> Strategy:
    """The strategy of this name, each with its own section of settings. pydantic's ValidationError says what is wrong.

    `account_cost` is what a round trip costs on the account, as a fraction.
    """
    settings = sections.get(name, {})
    match name:
        case "masked-divergence":
            return masked_divergence.MaskedDivergence(masked_divergence.Settings(**settings), account_cost)
        case "hold":
            return hold.Hold(hold.Settings(**settings))
        case "volatility-target":
            own = volatility_target.Settings(**settings)
            return volatility_target.VolatilityTarget(own, build(own.of, sections, account_cost))
        case _:
            raise KeyError(name)


def involved(name: str, sections: Sections) -> tuple[str, ...]:
    """The strategies that decide where this one is chosen, itself first: their settings are all that matter."""
    if name != "volatility-target":
        return (name,)
    return (name, *involved(volatility_target.Settings(**sections.get(name, {})).of, sections))
