"""One backtest: settings, candles and a model in, a Result out. What every command of research stands on."""

import time
from decimal import Decimal

import msgspec
import numpy as np

from backtest.forecasts import Forecasts
from backtest.result import Result
from backtest.simulate import Delays, Progress, Replay, Venue, nobody
from bot.building import setup_of, strategy_of, volatility_missing, volatility_wanted
from bot.config import BadConfiguration, Settings
from bot.core.engine import capacity
from bot.core.market import Instrument, Panel
from bot.core.rules import instruments_of
from bot.core.strategy import Sparing
from bot.edge.broker import fill_model
from strategies import involved

TRIED = ("strategy", "risk", "planner", "account", "market")


def rows_needed(settings: Settings, model_rows: int) -> int:
    """The slices before the first decision: what the window, the strategy and the model must have seen."""
    strategy = strategy_of(settings)
    return max(capacity(setup_of(settings, (), model_rows), strategy) - 1, 2)


def play(
    settings: Settings,
    panel: Panel,
    first: int,
    forecasts: Forecasts | None = None,
    *,
    tried: dict[str, object] | None = None,
    instruments: tuple[Instrument, ...] | None = None,
    delays: Delays | None = None,
    progress: Progress = nobody,
) -> Result:
    """Replays the rows from `first` on; those before are history. `tried` is what makes this trial another one.

    Without `instruments` the candles' own steps are the exchange's rules. Quiet stretches are passed over.
    """
    strategy = strategy_of(settings)
    if strategy.wants_forecast and (forecasts is None or forecasts.returns is None):
        raise BadConfiguration([f"strategy.name: {settings.strategy.name} needs a model: name a folder with --model"])
    if volatility_wanted(settings) and (forecasts is None or forecasts.volatility is None):
        raise volatility_missing(settings)
    account = settings.account
    venue = Venue(
        instruments or instruments_of(panel),
        fill_model(account),
        delays or Delays(latency_ms=account.latency_ms),
    )
    setup = setup_of(settings, panel.symbols, 2)
    began = time.perf_counter()
    replay = Replay(panel, first, setup, strategy, venue, Decimal(repr(account.cash)), forecasts)
    if isinstance(strategy, Sparing):
        replay.run_skipping(progress)
    else:
        replay.run(progress)
    return result_of(replay, settings, tried or {}, time.perf_counter() - began)


def result_of(replay: Replay, settings: Settings, tried: dict[str, object], seconds: float) -> Result:
    """What a finished replay did."""
    equity = np.array(replay.equity)
    cash = np.array([float(cash) for cash in replay.cash])
    exposure = np.where(equity > 0, 1.0 - cash / np.where(equity > 0, equity, 1.0), 0.0)
    live = {order.client_id: order for order in replay.engine.orders.live.values()}
    return Result(
        settings.strategy.name,
        replay.panel.rows(replay.first, len(replay.panel)),
        settings.account.cash,
        settings.account.fee_bps / 1e4,
        equity,
        cash,
        exposure,
        tuple((replay.orders | live).values()),
        tuple(replay.fills),
        tried_settings(settings) | tried,
        replay.digest.value,
        seconds,
        dict(replay.notes),
    )


def tried_settings(settings: Settings) -> dict[str, object]:
    """What makes one trial different from another, as plain values."""
    told = settings.model_dump(mode="json", include=set(TRIED))
    sections = settings.strategies
    own = {name: sections.get(name, {}) for name in involved(settings.strategy.name, sections)}
    found: dict[str, object] = msgspec.to_builtins(told | {"strategies": own})
    return found
