"""`lacuna run`: the daemon with its model, its signals and its web server, until it is told to stop."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog
from msgspec import to_builtins
from structlog.typing import FilteringBoundLogger

from bot.config import BadConfiguration, Settings
from bot.daemon import Daemon
from bot.edge.clock import Clock
from bot.edge.forecaster import check_universe
from bot.edge.logs import configure
from bot.edge.web import PortTaken, Web
from bot.pump import SWITCH_S
from bot.readings import ready_of, status_of
from bot.session import wants_forecast
from models.baselines import Market
from models.checkpoint import BadModel, load
from models.model import Model

BUILT_IN = "market"


def run_daemon(settings: Settings) -> dict[str, Any]:
    """Runs the daemon in this process; its outcome."""
    clock = Clock(settings.exchange.speed)
    symbols, model = choose_model(settings)
    lines = configure(settings.logs, clock.now_ms, sys.stderr)
    try:
        log: FilteringBoundLogger = structlog.get_logger()
        return asyncio.run(serve(Daemon(settings, symbols, model, clock, log), log))
    finally:
        lines.close()


def choose_model(settings: Settings) -> tuple[tuple[str, ...], Model | None]:
    """The universe and the model the settings name. BadConfiguration when they do not fit."""
    wanted, name = settings.market.symbols, settings.forecaster.model
    if not wants_forecast(settings):
        if not wanted:
            raise BadConfiguration(["market.symbols: name the coins to trade"])
        return wanted, None
    if name == BUILT_IN:
        if len(wanted) < 2:
            raise BadConfiguration(["market.symbols: the market model needs at least two coins"])
        return wanted, Market(wanted, settings.market.interval_ms)
    if not name:
        raise BadConfiguration([f"forecaster.model: {settings.strategy.name} needs one: {BUILT_IN} or a model folder"])
    try:
        model = load(Path(name))
    except BadModel as why:
        raise BadConfiguration([f"forecaster.model: {why}"]) from why
    if model.interval_ms != settings.market.interval_ms:
        raise BadConfiguration(
            [
                f"forecaster.model: is for candles of {model.interval_ms} ms, not market.timeframe {settings.market.timeframe}"
            ]
        )
    if wanted:
        try:
            check_universe(model.symbols, wanted)
        except BadModel as why:
            hint = "set market.symbols = [] to take the model's own"
            raise BadConfiguration([f"forecaster.model: {name}: {why}; {hint}"]) from why
    return model.symbols, model


async def serve(
    daemon: Daemon, log: FilteringBoundLogger, beside: Callable[[], Awaitable[None]] | None = None
) -> dict[str, Any]:
    """The daemon and its web server; SIGTERM and SIGINT stop it, a second one ends the process at once."""
    sys.setswitchinterval(SWITCH_S)
    _obey_signals(daemon)
    settings = daemon.settings.web
    ready, status = lambda: ready_of(daemon), lambda: status_of(daemon)
    web = Web(settings, daemon.clock, daemon.metrics.text, ready, status)
    try:
        try:
            await web.start()
            if settings.port >= 0:
                log.info("web", url=f"http://{settings.host}:{web.port}/")
        except PortTaken as why:
            daemon.faults.count("Q6", str(why))  # on paper: a warning, trading goes on
        if beside is None:
            return dict(to_builtins(await daemon.run()))
        shown = asyncio.ensure_future(beside())
        try:
            return dict(to_builtins(await daemon.run()))
        finally:
            shown.cancel()
            await asyncio.gather(shown, return_exceptions=True)
    finally:
        await web.stop()


def _obey_signals(daemon: Daemon) -> None:
    loop = asyncio.get_running_loop()
    told = False

    def stop() -> None:
        nonlocal told
        if told:
            os._exit(1)  # the second word means now; the next start recovers (fault P2)
        told = True
        daemon.stop()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
