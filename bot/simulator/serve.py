"""The simulated exchange as a process of its own: what `lacuna exchange` runs until it is told to stop."""

from collections.abc import Callable, Sequence

from bot.core.market import Panel
from bot.edge.clock import Clock
from bot.simulator.faults import parse_fault
from bot.simulator.limits import Limits
from bot.simulator.market import Market
from bot.simulator.server import SimulatedExchange
from bot.simulator.synthetic import SyntheticSource

HISTORY = 1_500  # candles before the start: what clients fetch first


def market_of(panel: Panel | None, coins: int, seed: int) -> Market:
    """The market of a panel of candles, or the endless synthetic one of this seed."""
    return Market(panel if panel is not None else SyntheticSource(coins, seed))


def exchange_of(
    market: Market, speed: float = 1.0, faults: Sequence[str] = (), history: int = HISTORY, limits: Limits | None = None
) -> SimulatedExchange:
    """An exchange whose clock starts `history` candles into the market. BadFault for a fault that cannot be read."""
    start_ms = market.start_ms(history)
    schedule = [parse_fault(text, start_ms) for text in faults]
    return SimulatedExchange(market, Clock(speed, start_ms), schedule, limits)


async def serve(
    exchange: SimulatedExchange,
    started: Callable[[SimulatedExchange], None],
    host: str = "127.0.0.1",
    port: int = 0,
) -> None:
    """Serves until cancelled; `started` is called once it listens. OSError when the port is in use."""
    await exchange.start(host, port)
    try:
        started(exchange)
        await exchange.run()
    finally:
        await exchange.stop()
