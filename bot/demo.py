"""`lacuna demo` and `lacuna exchange`: a simulated exchange, with or without the daemon that trades on it, offline.

The demo fits a Gaussian on the candles before the replayed range, so what it trades on was never seen. Its state goes
to a folder of its own that each demo starts afresh. At high speed an exchange second is a few wall milliseconds,
so the waiting times of the market section are stretched to what a busy machine can keep.
"""

import asyncio
import contextlib
import shutil
import sys
from pathlib import Path
from typing import Any

import structlog
from rich.console import Console
from structlog.typing import FilteringBoundLogger

from bot.config import BadConfiguration, Settings
from bot.core.market import MINUTE_MS, Panel
from bot.daemon import Daemon
from bot.edge.candles import covered, load_panel
from bot.edge.clock import Clock
from bot.edge.logs import configure
from bot.run import serve
from bot.simulator.faults import parse_fault
from bot.simulator.market import Market
from bot.simulator.server import SimulatedExchange
from bot.simulator.synthetic import synthetic_panel
from bot.terminal import show
from models.checkpoint import load
from models.model import Model
from models.train import fit

COVERAGE = 0.9
TRAIN_SHARE = 0.7
TRAIN_MINUTES_MAX = 20_000
FIT_SHARE = 0.85  # the rest chooses between lags
SYNTHETIC_MINUTES = 14_400
STRETCH_FROM_SPEED = 10.0


def run_demo(
    settings: Settings,
    candles: Path | None,
    speed: float,
    minutes: float,
    coins: int,
    seed: int,
    faults: tuple[str, ...],
    model: Path | None,
    live_table: bool,
) -> dict[str, Any]:
    """Runs the demo in this process; the daemon's outcome."""
    panel = _panel(candles, coins, seed)
    first = _first_row(panel)
    console = Console(stderr=True)
    if model is None:
        console.print(f"fitting a gaussian on {first:,} slices of {len(panel.symbols)} coins ...", style="dim")
        chosen: Model = fit("gaussian", panel.rows(max(0, first - TRAIN_MINUTES_MAX), first), FIT_SHARE).model
    else:
        chosen = load(model)
        panel = panel.of(chosen.symbols)
    settings = _demo_settings(settings, panel, speed)
    table = live_table and sys.stderr.isatty()
    return asyncio.run(_demo(settings, panel, first, speed, minutes, faults, chosen, console if table else None))


async def _demo(
    settings: Settings,
    panel: Panel,
    first: int,
    speed: float,
    minutes: float,
    faults: tuple[str, ...],
    model: Model,
    console: Console | None,
) -> dict[str, Any]:
    start_ms = int(panel.open_ms[first])
    clock = Clock(speed, start_ms)
    schedule = tuple(parse_fault(text, start_ms) for text in faults)
    exchange = SimulatedExchange(Market(panel), clock, schedule)
    await exchange.start()
    local = {"rest_url": exchange.rest_url, "stream_url": exchange.stream_url, "speed": speed}
    settings = settings.model_copy(update={"exchange": settings.exchange.model_copy(update=local)})
    quiet = settings.logs.model_copy(update={"level": "error"})  # the table says it all
    lines = configure(quiet if console else settings.logs, clock.now_ms, sys.stderr)
    log: FilteringBoundLogger = structlog.get_logger()
    daemon = Daemon(settings, panel.symbols, model, clock, log)

    async def beside() -> None:
        async with asyncio.TaskGroup() as tasks:
            if console:
                tasks.create_task(show(daemon, console))
            if minutes:
                await asyncio.sleep(minutes * 60)
                daemon.stop()

    try:
        return await serve(daemon, log, beside)
    finally:
        await exchange.stop()
        lines.close()


def _demo_settings(settings: Settings, panel: Panel, speed: float) -> Settings:
    """A folder of its own, the panel's universe, and patience for a busy machine at high speed."""
    folder = Path("demo-data")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    updates: dict[str, Any] = {
        "storage": settings.storage.model_copy(update={"folder": str(folder)}),
        "market": settings.market.model_copy(update={"symbols": panel.symbols}),
    }
    if speed > STRETCH_FROM_SPEED:
        patience = {"soft_limit_ms": 30_000, "hard_limit_ms": 50_000}
        updates["market"] = updates["market"].model_copy(update=patience)
        ages = {"stale_after_ms": 58_000, "forecast_age_max_ms": 58_000}
        updates["risk"] = settings.risk.model_copy(update=ages)
        updates["forecaster"] = settings.forecaster.model_copy(update={"budget_s": 58.0})
        slow = {"silence_s": 15.0 * speed / STRETCH_FROM_SPEED, "ping_every_s": speed, "pong_within_s": 2 * speed}
        updates["feed"] = settings.feed.model_copy(update=slow)
    return settings.model_copy(update=updates)


def _panel(candles: Path | None, coins: int, seed: int) -> Panel:
    if candles is None:
        return synthetic_panel(coins, SYNTHETIC_MINUTES, seed)
    panel = load_panel(candles)
    if panel.interval_ms != MINUTE_MS:
        raise BadConfiguration(
            [f"--candles {candles}: its candles are of {panel.interval_ms} ms, the demo plays minutes"]
        )
    return panel.of(covered(panel, COVERAGE))


def _first_row(panel: Panel) -> int:
    """Where the replay begins: behind what the model is fitted on."""
    return int(len(panel) * TRAIN_SHARE)


def run_exchange(
    port: int, candles: Path | None, coins: int, seed: int, speed: float, faults: tuple[str, ...]
) -> dict[str, Any]:
    """The simulated exchange alone until Ctrl-C; what it saw."""
    panel = _panel(candles, coins, seed)
    start_ms = int(panel.open_ms[_first_row(panel)])
    clock = Clock(speed, start_ms)
    schedule = tuple(parse_fault(text, start_ms) for text in faults)
    exchange = SimulatedExchange(Market(panel), clock, schedule)

    async def serve_for_ever() -> None:
        await exchange.start(port=port)
        Console(stderr=True).print(
            f"exchange.rest_url = {exchange.rest_url}\nexchange.stream_url = {exchange.stream_url}"
            f"\nexchange.speed = {speed}\n{len(panel.symbols)} coins; Ctrl-C ends it"
        )
        try:
            await asyncio.Event().wait()
        finally:
            await exchange.stop()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve_for_ever())
    return {"connections": exchange.seen.connections, "requests": dict(exchange.seen.requests)}
