"""One decision each. `STRATEGIES` names them as the command line and the settings do."""

from typing import Any

from pydantic import BaseModel

from bot.core.strategy import Strategy
from strategies import hold, masked_divergence

SETTINGS: dict[str, type[BaseModel]] = {"masked-divergence": masked_divergence.Settings, "hold": hold.Settings}
STRATEGIES = tuple(SETTINGS)


def build(name: str, settings: dict[str, Any], account_cost: float) -> Strategy:
    """The strategy of this name with its own settings. pydantic's ValidationError says what is wrong.

    `account_cost` is what a round trip costs on the account, as a fraction.
    """
    match name:
        case "masked-divergence":
            return masked_divergence.MaskedDivergence(masked_divergence.Settings(**settings), account_cost)
        case "hold":
            return hold.Hold(hold.Settings(**settings))
        case _:
            raise KeyError(name)
