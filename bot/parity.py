"""`lacuna parity`: the paper daemon against the simulated exchange, and the backtester, on the same candles, compared.

Played    the daemon trades on a real websocket and a real journal; its journal says what it was told and what it did.
          The backtester then replays the same candles from the same history on, with the same rules and model.
Compared  slice by slice, from the first the daemon decided: forecast, targets, orders and fills, to the last digit.
Prices    the exchange shows no book, and every candle stands at its open for most of it: an order that leaves in
          time meets the next open in both worlds. A machine too slow for the speed shows as a difference.
"""

import asyncio
import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from backtest.forecasts import Forecasts, infer_ahead, volatility_ahead
from backtest.simulate import Delays, Replay, Venue
from bot.building import setup_of, strategy_of, volatility_wanted
from bot.config import Settings
from bot.core.commands import Submit
from bot.core.engine import Engine
from bot.core.events import Filled, Forecast, Forecasted, History, Reconciled
from bot.core.market import Floats, Panel
from bot.core.recording import Recorded
from bot.core.snapshot import Snapshot
from bot.daemon import Daemon
from bot.demo import Played, play
from bot.edge.broker import fill_model
from bot.edge.store import Row, Store
from bot.patience import patient
from bot.simulator.market import Market
from models.hourly import HourlyForecasts
from models.model import Model
from models.volatility_model import VolatilityModel

STANDS = (0.9, 0.93, 0.96, 0.99)  # a candle leaves its open when most of it is over
ROUNDING = 1e-9  # of volumes: an hour that the exchange tells is no sum of its minutes to the last bit
WARM_WALL_S = 30.0  # the replay knows the past hours from its first slice on: the daemon waits for them
LAST_SLICES = 2  # their orders have not met the next open when the play ends


class Compared(Struct, frozen=True):
    """What was compared, by kind; `first_difference` is "" when nothing differs."""

    compared: int
    identical: bool
    first_difference: str
    slices: int
    forecasts: int
    targets: int
    orders: int
    fills: int


class Done(Struct, frozen=True, eq=False):
    """What one world did, by slice (its open): forecasts, targets, orders and fills as text."""

    forecasts: dict[int, Floats]
    targets: dict[int, Floats | None]
    orders: dict[int, list[str]]
    fills: dict[int, list[str]]


def compare(
    settings: Settings,
    panel: Panel,
    first: int,
    model: Model | None,
    speed: float,
    volatility: VolatilityModel | None = None,
) -> Compared:
    """Plays the panel's rows from `first` on in both worlds. Takes (rows x interval / speed) of wall time.

    `volatility` has seen nothing; the daemon loads its own, of the same name in the settings.
    """
    fresh = copy.deepcopy(model)  # the daemon's own observes as it goes
    with tempfile.TemporaryDirectory(prefix="lacuna-parity-") as folder:
        settings = _suited(settings, panel, speed, folder)
        asyncio.run(_play(settings, panel, first, model, speed))
        with Store(Path(folder)) as store:
            rows = list(store.rows(1))
    snapshot = next(row.event.snapshot for row in rows if isinstance(row.event, Reconciled))
    history = next(row.event.panel for row in rows if isinstance(row.event, History))
    paper = _of_journal(settings, rows, panel.symbols)
    if not paper.targets:
        return differences(paper, paper, 0, 0)
    began_ms, last_ms = min(paper.targets), max(paper.targets)
    start, began, last = np.searchsorted(panel.open_ms, (history.open_ms[0], began_ms, last_ms)).tolist()
    played = panel.rows(start, min(last + 1 + LAST_SLICES, len(panel)))
    hours = None if volatility is None else volatility_ahead(volatility, panel)
    replayed = _of_replay(settings, played, began - start, fresh, snapshot, hours)
    rounding = ROUNDING if hours is not None else 0.0
    return differences(paper, replayed, began_ms, last_ms - LAST_SLICES * panel.interval_ms, rounding)


def differences(paper: Done, replayed: Done, from_ms: int, until_ms: int, rounding: float = 0.0) -> Compared:
    """The first thing that differs in the slices opened from `from_ms` to `until_ms`, and how many agree.

    `rounding` is by what share of itself a number of forecasts and targets may differ.
    """
    counts = dict.fromkeys(("forecasts", "targets", "orders", "fills"), 0)
    slices = sorted(at_ms for at_ms in paper.targets.keys() | replayed.targets.keys() if from_ms <= at_ms <= until_ms)
    for at_ms in slices:
        for kind in counts:
            one, other = getattr(paper, kind).get(at_ms), getattr(replayed, kind).get(at_ms)
            if kind in ("orders", "fills"):
                one, other = sorted(one or ()), sorted(other or ())
            counts[kind] += len(one) if isinstance(one, list) else one is not None or other is not None
            difference = _difference(one, other, rounding)
            if difference:
                text = f"slice {at_ms}, {kind}: {difference}"
                return Compared(sum(counts.values()), False, text, len(slices), **counts)
    return Compared(sum(counts.values()), bool(slices), "" if slices else "no slice was decided", len(slices), **counts)


def _difference(one: Any, other: Any, rounding: float) -> str:
    """What differs between paper's and the replay's, in words; "" when nothing does."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        moved = ~np.isclose(one, other, rtol=rounding, atol=0.0, equal_nan=True)
        at = int(moved.argmax())
        return f"coin {at}: paper {one[at]!r}, replay {other[at]!r}" if moved.any() else ""
    if one is None or other is None:
        return "" if one is other else f"paper has {'none' if one is None else 'some'}, the replay has not the same"
    return "" if one == other else f"paper {one}, replay {other}"


def _suited(settings: Settings, panel: Panel, speed: float, folder: str) -> Settings:
    settings = patient(settings, speed)
    return settings.model_copy(
        update={
            "market": settings.market.model_copy(update={"symbols": panel.symbols}),
            "feed": settings.feed.model_copy(update={"book_ticker": False}),
            "forecaster": settings.forecaster.model_copy(update={"warm_within_s": WARM_WALL_S * speed}),
            "storage": settings.storage.model_copy(update={"folder": folder, "reserve_mib": 0}),
            "web": settings.web.model_copy(update={"port": -1}),
        }
    )


async def _play(settings: Settings, panel: Panel, first: int, model: Model | None, speed: float) -> None:
    """The daemon on the simulated exchange until the candles end."""
    market = Market(panel, path=STANDS)

    async def beside(daemon: Daemon) -> None:
        await daemon.clock.sleep_until(int(panel.open_ms[-1]) + panel.interval_ms)
        daemon.stop()

    await play(Played(settings, panel, market, first, speed, model), (), beside, {"level": "error"})


def _of_journal(settings: Settings, rows: Sequence[Row], symbols: tuple[str, ...]) -> Done:
    """What the daemon did: its events through a fresh engine, whose strategy tells its targets."""
    strategy = Recorded(strategy_of(settings))
    engine = Engine(setup_of(settings, symbols, 2), strategy)
    forecasts: dict[int, Floats] = {}
    orders: dict[str, int] = {}
    done = Done(forecasts, strategy.targets_at, {}, {})
    wanted = volatility_wanted(settings)
    for row in rows:
        event = row.event
        if isinstance(event, Forecasted):
            forecasts[event.forecast.open_ms] = _told(event.forecast, wanted)
        if isinstance(event, Filled):
            done.fills.setdefault(orders[event.client_id], []).append(_fill(event))
        for command in engine.handle(event, row.now_ms):
            if isinstance(command, Submit):
                orders[command.order.client_id] = command.order.open_ms
                done.orders.setdefault(command.order.open_ms, []).append(_order(command.order))
    return done


def _of_replay(
    settings: Settings,
    panel: Panel,
    first: int,
    model: Model | None,
    snapshot: Snapshot,
    hours: HourlyForecasts | None,
) -> Done:
    """What the backtester does on the same candles, with the rules the exchange told."""
    strategy = Recorded(strategy_of(settings))
    account = settings.account
    venue = Venue(snapshot.instruments, fill_model(account), Delays(latency_ms=account.latency_ms))
    forecasts = infer_ahead(model, panel) if model is not None and strategy.wants_forecast else None
    if hours is not None:
        forecasts = replace(forecasts or Forecasts(None), volatility=hours)
    setup = setup_of(settings, panel.symbols, 2)
    replay = Replay(panel, first, setup, strategy, venue, snapshot.cash_start, forecasts)
    replay.run()
    done = Done(_ahead(forecasts, panel), strategy.targets_at, {}, {})
    made = replay.orders | replay.engine.orders.live
    for order in made.values():
        done.orders.setdefault(order.open_ms, []).append(_order(order))
    for fill in replay.fills:
        done.fills.setdefault(made[fill.client_id].open_ms, []).append(_fill(fill))
    return done


def _ahead(forecasts: Forecasts | None, panel: Panel) -> dict[int, Floats]:
    """What the replay was told, slice by slice, as `_told` has it; a forecast that failed is none."""
    if forecasts is None:
        return {}
    told = (forecasts.at(panel, row) for row in range(len(panel)))
    return {one.open_ms: _told(one, one.volatility is not None) for one in told if one is not None}


def _told(forecast: Forecast, volatility_wanted: bool) -> Floats:
    """What counts of a forecast: the returns, and the volatilities where anything decides on them."""
    if not volatility_wanted or forecast.volatility is None:
        return forecast.returns
    return np.concatenate((forecast.returns, forecast.volatility))


def _order(order: Any) -> str:
    return f"{order.client_id} {order.side} {order.quantity} {order.symbol} {order.limit or 'market'}: {order.reason}"


def _fill(fill: Filled) -> str:
    return (
        f"{fill.client_id} {fill.side} {fill.quantity} {fill.symbol} at {fill.price}, fee {fill.fee} {fill.fee_asset}"
    )
