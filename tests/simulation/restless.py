"""A model that has the strategy buy every coin in one minute and sell some in the next, and what a test asks after it."""

import numpy as np

from bot.core.commands import Note, Submit
from bot.core.market import MINUTE_MS, Floats, Panel, Side
from bot.simulator.faults import parse_fault
from models.closed_form import ClosedForm
from models.dataset import Returns
from models.model import Arrays
from tests.simulation.world import HISTORY, World

PULL = 0.01


class Restless(ClosedForm):
    """Infers `PULL` above every real return in even minutes and below it in odd ones: each coin is wanted at once."""

    architecture = "restless"

    def _advance(self, returns: Returns) -> Floats:
        sign = np.where(returns.open_ms // MINUTE_MS % 2 == 0, 1.0, -1.0)[:, None]
        inferred: Floats = np.where(returns.real, returns.values + sign * PULL, np.nan)
        return inferred

    def _fitted(self) -> Arrays:
        return {}


def restless(panel: Panel) -> Restless:
    return Restless(panel.symbols, MINUTE_MS)


async def inject(world: World, number: str, minutes: int, options: str = "") -> tuple[int, int]:
    """Has a fault begin with the next even minute, in which every coin is wanted; its first and last minute's open."""
    await world.until(lambda: world.slice_count >= 1 and world.daemon.pump.counts.decisions >= 1)
    first_ms = (world.clock.now_ms() // (2 * MINUTE_MS) + 1) * 2 * MINUTE_MS
    text = f"{number}@{first_ms}/{minutes}m{options}"
    world.exchange.inject(parse_fault(text, first_ms))
    return first_ms, first_ms + (minutes - 1) * MINUTE_MS


async def seen(world: World, open_ms: int) -> None:
    """Until the slice of this open is in the window."""
    await world.until(lambda: world.daemon.engine.window.newest_ms >= open_ms)


def row(world: World, open_ms: int) -> int:
    """Where this slice stands in the engine's window, counted from the end."""
    window = world.daemon.engine.window
    return -1 - (window.newest_ms - open_ms) // window.interval_ms


def truth(world: World, open_ms: int) -> Panel:
    """What the exchange's market has of this minute."""
    at = HISTORY + (open_ms - int(world.panel.open_ms[HISTORY])) // MINUTE_MS
    return world.panel.rows(at, at + 1)


def orders(world: World, side: Side, symbol: str = "") -> list[int]:
    """The slices in which an order of this side (and of this symbol) was sent, after a stop."""
    sent = [command.order for one in world.rows() for command in one.commands if isinstance(command, Submit)]
    return [order.open_ms for order in sent if order.side is side and symbol in ("", order.symbol)]


def noted(world: World, code: str) -> list[tuple[int, Note]]:
    """The engine's notes of one code with their times, after a stop."""
    return [
        (one.now_ms, command)
        for one in world.rows()
        for command in one.commands
        if isinstance(command, Note) and command.code == code
    ]
