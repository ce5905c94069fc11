"""From settings to the parts every world is made of: the strategy, and what the engine is built for."""

from bot.config import BadConfiguration, Settings
from bot.core.engine import Setup
from bot.core.strategy import Strategy
from models.intersection import Intersection
from models.model import Model
from strategies import build, involved
from strategies.telling import telling


def strategy_of(settings: Settings) -> Strategy:
    """The chosen strategy with its own settings, told what a round trip costs."""
    return build(settings.strategy.name, settings.strategies, settings.account.round_trip)


def volatility_wanted(settings: Settings) -> bool:
    """Whether decisions depend on forecast volatilities: the strategy's, or the ceiling on entries."""
    return strategy_of(settings).wants_volatility or settings.risk.forecast_volatility_max > 0


def what_wants_volatility(settings: Settings) -> str:
    """What depends on it, for a sentence."""
    if strategy_of(settings).wants_volatility:
        return f"the strategy {settings.strategy.name}"
    return "risk.forecast_volatility_max"


def volatility_missing(settings: Settings) -> BadConfiguration:
    """Nothing forecasts volatility, and decisions depend on it."""
    who = what_wants_volatility(settings)
    text = f"is empty, and {who} decides on forecast volatilities: pretrained is what comes with lacuna"
    return BadConfiguration([f"forecaster.volatility: {text}"])


def remarks_on(settings: Settings, model: Model) -> tuple[str, ...]:
    """What is to be said once of a model before it is traded on: coins left out, and a gate that nothing passes."""
    left_out = model.remarks if isinstance(model, Intersection) else ()
    strategy = telling(strategy_of(settings))
    if strategy is None:
        return left_out
    *_, name = involved(settings.strategy.name, settings.strategies)
    why = strategy.hopeless(model.infer().gain)
    if not why:
        return left_out
    gate = (
        f"nothing will be bought: a trade must be expected to beat its round trip of {strategy.cost:.2%}, and {why};"
        f" name another model (`lacuna train gaussian` makes one that knows), or trade every signal with"
        f" strategies.{name}.round_trip_cost=0"
    )
    return (*left_out, gate)


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
