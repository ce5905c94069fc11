"""From settings to the parts every world is made of: the strategy, and what the engine is built for."""

from bot.config import Settings
from bot.core.engine import Setup
from bot.core.strategy import Strategy
from strategies import build


def strategy_of(settings: Settings) -> Strategy:
    """The chosen strategy with its own settings."""
    name = settings.strategy.name
    return build(name, settings.strategies.get(name, {}))


def setup_of(settings: Settings, symbols: tuple[str, ...], rows: int) -> Setup:
    """What the engine is built for; `rows` is what the model needs to see of the past."""
    market = settings.market
    return Setup(
        symbols,
        market.interval_ms,
        market.quote,
        market.soft_limit_ms,
        market.hard_limit_ms,
        max(rows, market.window),
        settings.risk,
        settings.planner,
    )
