"""A model that has every coin bought in one minute and sold in the next, and what a test asks of such a world.

A test that says "not bought" needs somebody who wants to buy; with this model it is every coin in every even minute.
"""

from pathlib import Path
from typing import Any

import numpy as np

from bot.core.commands import Submit
from bot.core.events import CandleClosed, Forecasted, History
from bot.core.market import FIELDS, MINUTE_MS, Candle, Floats, Mask, Panel, Side
from bot.edge.store import Row
from bot.simulator.faults import parse_fault
from bot.simulator.synthetic import synthetic_panel
from models.closed_form import ClosedForm
from models.dataset import Returns
from models.model import Arrays
from tests.simulation.world import COINS, HISTORY, MINUTES, World

SPEED = 60.0
PATIENT: dict[str, dict[str, Any]] = {
    "market": {"soft_limit_ms": 8_000, "hard_limit_ms": 50_000},
    "risk": {"stale_after_ms": 58_000, "forecast_age_max_ms": 58_000},
    "forecaster": {"budget_s": 58.0},
}
PULL, RETURN_MAX = 0.01, 0.5


class Restless(ClosedForm):
    """Infers `PULL` above every real return in even minutes and below it in odd ones, within RETURN_MAX."""

    architecture = "restless"

    def _advance(self, returns: Returns) -> Floats:
        sign = np.where(returns.open_ms // MINUTE_MS % 2 == 0, 1.0, -1.0)[:, None]
        inferred = np.clip(returns.values + sign * PULL, -RETURN_MAX, RETURN_MAX)
        found: Floats = np.where(returns.real, inferred, np.nan)
        return found

    def _fitted(self) -> Arrays:
        return {}


def restless(
    folder: Path,
    *faults: str,
    panel: Panel | None = None,
    speed: float = SPEED,
    settings: dict[str, dict[str, Any]] | None = None,
) -> World:
    """A world whose strategy wants every coin in every even minute; REST's answers may take most of a minute."""
    panel = panel if panel is not None else synthetic_panel(COINS, MINUTES, 11)
    model = Restless(panel.symbols, MINUTE_MS)
    given = settings or {}
    patient = {name: PATIENT.get(name, {}) | given.get(name, {}) for name in PATIENT | given}
    return World(folder, *faults, panel=panel, speed=speed, model=model, settings=patient)


async def inject(world: World, fault: str, minutes: float, options: str = "", after_s: int = 0) -> int:
    """Has a fault begin `after_s` into the next even minute after the first decision; that minute's open."""
    await world.until(lambda: world.daemon.ready.is_set() and world.daemon.pump.counts.decisions >= 1)
    first_ms = (world.clock.now_ms() // (2 * MINUTE_MS) + 1) * 2 * MINUTE_MS
    start_ms = first_ms + after_s * 1000
    world.exchange.inject(parse_fault(f"{fault}@{start_ms}/{minutes}m{options}", start_ms))
    return first_ms


def minute(first_ms: int, number: int) -> int:
    """The open of the minute so many after `first_ms`."""
    return first_ms + number * MINUTE_MS


async def seen(world: World, open_ms: int) -> None:
    """Until the slice of this open, and so every one before it, is in the window, and decided if it will be."""
    await world.seen(open_ms)


def row(world: World, open_ms: int) -> int:
    """Where this slice stands in the engine's window, counted from the end."""
    window = world.daemon.engine.window
    return -1 - (window.newest_ms - open_ms) // window.interval_ms


def closes(world: World, first_ms: int, count: int) -> Floats:
    """The window's closes [count, N] from this slice on."""
    at = len(world.daemon.engine.window) + row(world, first_ms)
    return world.daemon.engine.window.close[at : at + count].copy()


def present(world: World, first_ms: int, count: int) -> Mask:
    """Which candles [count, N] the window holds as traded, from this slice on."""
    at = len(world.daemon.engine.window) + row(world, first_ms)
    return world.daemon.engine.window.present[at : at + count].copy()


def truth(world: World, first_ms: int, count: int) -> Panel:
    """What the market has of these minutes."""
    at = HISTORY + (first_ms - int(world.panel.open_ms[HISTORY])) // MINUTE_MS
    return world.panel.rows(at, at + count)


def differences(world: World) -> list[str]:
    """Where the window is not the market; empty when every candle in it is, to the last digit."""
    window = world.daemon.engine.window
    held = window.panel()
    real = truth(world, window.oldest_ms, len(window))
    names = (*FIELDS, "present")
    return [name for name in names if not np.array_equal(getattr(held, name), getattr(real, name), equal_nan=True)]


def bought(rows: list[Row], symbol: str = "", side: Side = Side.BUY) -> set[int]:
    """The slices in which an order of this side (and of this symbol) was sent."""
    sent = [command.order for one in rows for command in one.commands if isinstance(command, Submit)]
    return {order.open_ms for order in sent if order.side is side and symbol in ("", order.symbol)}


def came(rows: list[Row], source: str) -> list[tuple[int, Candle]]:
    """The candles that came from this source, "stream" or "rest", each with the time it came at."""
    events = [(one.now_ms, one.event) for one in rows]
    return [(at_ms, one.candle) for at_ms, one in events if isinstance(one, CandleClosed) and one.source == source]


def streamed(rows: list[Row], source: str = "stream") -> set[tuple[str, int]]:
    """The candles (symbol, open) that came from this source."""
    return {(candle.symbol, candle.open_ms) for _, candle in came(rows, source)}


def filled(rows: list[Row]) -> list[tuple[int, Panel]]:
    """The histories of the journal: the first one, and what filled holes, each with its time."""
    return [(one.now_ms, one.event.panel) for one in rows if isinstance(one.event, History)]


def asked(rows: list[Row]) -> set[int]:
    """The slices the model answered for: those that were decided with it."""
    return {one.event.forecast.open_ms for one in rows if isinstance(one.event, Forecasted)}
