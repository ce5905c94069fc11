"""`lacuna demo` and `lacuna exchange`: a simulated exchange, with or without the daemon that trades on it, offline.

The network that comes with lacuna learns the coins from the candles before the replayed range, so what it trades on was
never seen. Where it was itself trained on later candles, or PyTorch is missing, a Gaussian takes its place. Its state
goes to a folder of its own that each demo starts afresh, never to one that no demo made. At high speed an exchange second is a few wall
milliseconds, so the waiting times are stretched to what a busy machine can keep.
"""

import asyncio
import errno
import secrets
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog
from msgspec import Struct
from rich.console import Console
from structlog.typing import FilteringBoundLogger

from bot.config import BadConfiguration, Settings
from bot.core.market import MINUTE_MS, Panel
from bot.daemon import Daemon
from bot.edge import demo_folder
from bot.edge.candles import covered, load_panel, utc
from bot.edge.clock import Clock
from bot.edge.logs import configure
from bot.edge.web import PortTaken
from bot.patience import patient
from bot.run import choose_volatility, serve
from bot.simulator.faults import parse_fault
from bot.simulator.market import Market
from bot.simulator.serve import exchange_of, market_of
from bot.simulator.serve import serve as serve_exchange
from bot.simulator.server import SimulatedExchange
from bot.simulator.synthetic import WILD, SyntheticSource, synthetic_panel
from bot.terminal import show
from models.checkpoint import load
from models.intersection import SHARED_MIN
from models.model import BadModel, Model
from models.train import fit

COVERAGE = 0.9
TRAIN_SHARE = 0.7
TRAIN_MINUTES_MAX = 20_000
FIT_SHARE = 0.85  # the rest chooses between lags
SYNTHETIC_MINUTES = 14_400
SLICES_MIN = 200  # of fewer no coin is known
LEARNED = "learned here"  # how a model that is no folder is called

Beside = Callable[[Daemon], Coroutine[Any, Any, None]]


class Played(Struct, frozen=True, eq=False):
    """What a demo plays: settings, a market from row `first` of the panel on, and a model that has seen none of that.

    The market of a synthetic panel goes on behind its end for ever; that of a candle folder ends with it.
    """

    settings: Settings
    panel: Panel
    market: Market
    first: int
    speed: float
    model: Model | None


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
    for text in faults:
        parse_fault(text, 0)  # a fault that cannot be read is said before any work
    played = prepare(settings, candles, coins, seed, speed, model)
    console = Console(stderr=True) if live_table and sys.stderr.isatty() else None

    async def beside(daemon: Daemon) -> None:
        async with asyncio.TaskGroup() as tasks:
            if console:
                tasks.create_task(show(daemon, console))
            if minutes:
                tasks.create_task(_stop_after(daemon, minutes * 60))
            end_ms = played.market.source.end_ms
            if end_ms is not None:
                await daemon.clock.sleep_until(end_ms)
                daemon.stop()

    quiet = {"level": "error"} if console else {}  # the table says it all
    return asyncio.run(play(played, faults, beside, quiet))


async def _stop_after(daemon: Daemon, seconds: float) -> None:
    await asyncio.sleep(seconds)
    daemon.stop()


def prepare(
    settings: Settings, candles: Path | None, coins: int, seed: int, speed: float, model: Path | None
) -> Played:
    """Loads or makes the candles, fits or loads the model, and clears the demo's own folder."""
    panel = _candle_panel(candles) if candles else synthetic_panel(coins, SYNTHETIC_MINUTES, seed, recipe=WILD)
    first = int(len(panel) * TRAIN_SHARE)
    given = load(model) if model else None
    if given:
        panel = _of_model(panel, given)
    elif first < SLICES_MIN or len(panel.symbols) < SHARED_MIN:
        raise BadConfiguration(
            [f"--candles {candles}: {first} slices of {len(panel.symbols)} coins are too little to learn"]
        )
    settings = _suited(settings, panel, speed, model.name if model else LEARNED)
    demo_folder.clear(Path(settings.storage.folder))
    chosen = given or _learned(panel.rows(max(0, first - TRAIN_MINUTES_MAX), first))
    market = Market(panel if candles or model else SyntheticSource(coins, seed, recipe=WILD, keep=len(panel)))
    return Played(settings, panel, market, first, speed, chosen)


def _learned(past: Panel) -> Model:
    """The network that comes with lacuna, or a Gaussian, for these coins."""
    say = Console(stderr=True)
    learns = f"learns {len(past.symbols)} coins from {len(past):,} slices ..."
    try:
        from models.shipped import shipped, taught_on  # torch takes a second

        fitted_ms = shipped(past.interval_ms).fitted_ms
        why = "" if fitted_ms < past.open_ms[-1] else f"the network has seen candles up to {utc(fitted_ms)}: "
    except ImportError:
        why = "there is no PyTorch: "
    if why:
        say.print(f"{why}a gaussian {learns}", style="dim", highlight=False)
        return fit("gaussian", past, FIT_SHARE).model
    say.print(f"the network {learns}", style="dim", highlight=False)
    return taught_on(past)


def _of_model(panel: Panel, model: Model) -> Panel:
    """The model's own coins. BadModel names those the candles lack."""
    missing = sorted(set(model.symbols) - set(panel.symbols))
    if missing:
        raise BadModel(f"the candles lack {', '.join(missing)}, which the model infers: give candles of all its coins")
    return panel.of(model.symbols)


async def play(
    played: Played, faults: tuple[str, ...], beside: Beside, logs: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The exchange and the daemon on one clock until something stops the daemon; its outcome.

    What forecasts volatility is warmed up by what the exchange has of the hours before, as anywhere.
    """
    symbols = played.panel.symbols
    volatility, remarks = choose_volatility(played.settings, symbols)
    start_ms = int(played.panel.open_ms[played.first])
    schedule = [parse_fault(text, start_ms) for text in faults]
    exchange = SimulatedExchange(played.market, Clock(played.speed, start_ms), schedule)
    await exchange.start()
    clock = Clock(played.speed, start_ms)
    local = {"rest_url": exchange.rest_url, "stream_url": exchange.stream_url, "speed": played.speed}
    settings = played.settings
    settings = settings.model_copy(update={"exchange": settings.exchange.model_copy(update=local)})
    lines = configure(settings.logs.model_copy(update=logs or {}), clock.now_ms, sys.stderr)
    log: FilteringBoundLogger = structlog.get_logger()
    daemon = Daemon(settings, symbols, played.model, clock, log, secrets.randbits(64), volatility, remarks)
    try:
        return await serve(daemon, log, lambda: beside(daemon))
    finally:
        await exchange.stop()
        lines.close()


def _suited(settings: Settings, panel: Panel, speed: float, model: str) -> Settings:
    """A folder of its own, the panel's universe, and patience for a busy machine at high speed."""
    folder = demo_folder.FOLDER if settings.storage.folder == Settings().storage.folder else settings.storage.folder
    updates: dict[str, Any] = {
        "storage": settings.storage.model_copy(update={"folder": folder}),
        "market": settings.market.model_copy(update={"symbols": panel.symbols}),
        "forecaster": settings.forecaster.model_copy(update={"model": model}),
    }
    return patient(settings.model_copy(update=updates), speed)


def _candle_panel(candles: Path) -> Panel:
    """The coins of a folder with enough candles."""
    panel = load_panel(candles)
    if panel.interval_ms != MINUTE_MS:
        text = f"--candles {candles}: its candles are of {panel.interval_ms} ms, the demo plays minutes"
        raise BadConfiguration([text])
    return panel.of(covered(panel, COVERAGE))


def run_exchange(
    port: int, candles: Path | None, coins: int, seed: int, speed: float, faults: tuple[str, ...]
) -> dict[str, Any]:
    """The simulated exchange alone until Ctrl-C; what it saw."""
    market = market_of(_candle_panel(candles) if candles else None, coins, seed)
    exchange = exchange_of(market, speed, faults)

    def started(running: SimulatedExchange) -> None:
        Console(stderr=True).print(
            f"exchange.rest_url = {running.rest_url}\nexchange.stream_url = {running.stream_url}"
            f"\nexchange.speed = {speed}\n{len(market.symbols)} coins; Ctrl-C ends it"
        )

    try:
        asyncio.run(serve_exchange(exchange, started, port=port))
    except KeyboardInterrupt:
        pass
    except OSError as why:
        if why.errno != errno.EADDRINUSE:
            raise
        raise PortTaken(f"--port: {port} is taken: choose another") from why
    return {"connections": exchange.seen.connections, "requests": dict(exchange.seen.requests)}
