"""`lacuna run`: the daemon with its model, its signals and its web server, until it is told to stop.

Neighbours  what runs beside the daemon lives and dies with it. A web server that the machine takes away comes back
            (fault Q6: nobody stops trading for a page); any other error of theirs is our bug and ends the run, the
            journal closed, so that nobody believes for weeks in a table or a timer that died on the first day.
"""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog
from msgspec import to_builtins
from structlog.typing import FilteringBoundLogger

from bot.building import volatility_missing, volatility_wanted
from bot.config import BadConfiguration, Settings
from bot.daemon import Daemon
from bot.edge import demo_folder
from bot.edge.clock import Clock
from bot.edge.forecaster import check_universe
from bot.edge.logs import configure
from bot.edge.volatility_work import VolatilityWork
from bot.edge.web import OFF, PortTaken, Web, WebDied
from bot.pump import SWITCH_S
from bot.readings import ready_of, status_of
from bot.session import wants_forecast
from bot.volatility import volatility_model
from models.baselines import Market
from models.checkpoint import BadModel, load
from models.intersection import SHARED_MIN, Intersection
from models.model import Model
from models.shipped_volatility import shipped_simple

BUILT_IN, PRETRAINED = "market", "pretrained"
OTHERS = "set market.symbols = [] to take the model's own, or forecaster.intersect = true to trade those that both have"
STOP_WITHIN_S = 7.5  # fault P1 grants 8
WEB_AGAIN_S = 5.0
INPUT_OUTPUT = 74


def run_daemon(settings: Settings) -> dict[str, Any]:
    """Runs the daemon in this process; its outcome."""
    demo_folder.refuse(Path(settings.storage.folder))
    clock = Clock(settings.exchange.speed)
    symbols, model = choose_model(settings)
    volatility, remarks = choose_volatility(settings, symbols)
    lines = configure(settings.logs, clock.now_ms, sys.stderr)
    try:
        log: FilteringBoundLogger = structlog.get_logger()
        daemon = Daemon(settings, symbols, model, clock, log, secrets.randbits(64), volatility, remarks)
        return asyncio.run(serve(daemon, log))
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
    if name == PRETRAINED:
        return wanted, _pretrained(wanted, settings.market.interval_ms)
    if not name:
        text = f"{settings.strategy.name} needs one: {PRETRAINED}, {BUILT_IN} or a model folder"
        raise BadConfiguration([f"forecaster.model: {text}"])
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
    if not wanted or set(wanted) == set(model.symbols):
        return model.symbols, model
    try:
        if settings.forecaster.intersect:
            model = Intersection(model, wanted)
        else:
            check_universe(model.symbols, wanted)
    except BadModel as why:
        hint = "" if settings.forecaster.intersect else f"; {OTHERS}"
        raise BadConfiguration([f"forecaster.model: {name}: {why}{hint}"]) from why
    return model.symbols, model


def _pretrained(wanted: tuple[str, ...], interval_ms: int) -> Model:
    """The network that comes with lacuna, for these coins. BadConfiguration where it cannot serve them."""
    if len(wanted) < SHARED_MIN:
        raise BadConfiguration([f"market.symbols: a network infers coins from each other: name {SHARED_MIN} at least"])
    try:
        from models.shipped import for_coins  # torch takes a second

        return for_coins(wanted, interval_ms)
    except ImportError as why:
        text = (
            f"{PRETRAINED} is a network and needs PyTorch: pip install 'lacuna-trader[torch]', or set it to {BUILT_IN}"
        )
        raise BadConfiguration([f"forecaster.model: {text}"]) from why
    except BadModel as why:
        raise BadConfiguration([f"forecaster.model: {PRETRAINED}: {why}"]) from why


def choose_volatility(settings: Settings, symbols: tuple[str, ...]) -> tuple[VolatilityWork | None, tuple[str, ...]]:
    """What forecasts the coins' volatility, and what is to be said of that.

    BadConfiguration where decisions depend on it and it cannot be had; else people do without, and are told.
    """
    try:
        model = volatility_model(settings, symbols)
        if model is None and volatility_wanted(settings):
            raise volatility_missing(settings)
        if model is None:
            return None, ()
        return VolatilityWork(model, shipped_simple(symbols), settings.market.interval_ms), ()
    except BadConfiguration as trouble:
        why = str(trouble)
    except BadModel as trouble:
        why = f'forecaster.volatility: {trouble}: set it to "", or take a timeframe that makes hours'
    if volatility_wanted(settings):
        raise BadConfiguration([why])
    return None, (f"no volatility is forecast: {why}",)


async def serve(
    daemon: Daemon, log: FilteringBoundLogger, beside: Callable[[], Coroutine[Any, Any, None]] | None = None
) -> dict[str, Any]:
    """The daemon and its neighbours; SIGTERM and SIGINT stop it, a second one ends the process at once."""
    sys.setswitchinterval(SWITCH_S)
    _obey_signals(daemon)
    settings = daemon.settings.web
    ready, status = lambda: ready_of(daemon), lambda: status_of(daemon)
    async with asyncio.TaskGroup() as tasks:
        neighbours = []
        if settings.port != OFF:
            web = Web(settings, daemon.clock, daemon.metrics.text, ready, status)
            neighbours.append(tasks.create_task(_keep_serving(web, daemon, log), name="web"))
        if beside is not None:
            neighbours.append(tasks.create_task(beside(), name="beside"))
        outcome = await daemon.run()
        for neighbour in neighbours:
            neighbour.cancel()
    return dict(to_builtins(outcome))


async def _keep_serving(web: Web, daemon: Daemon, log: FilteringBoundLogger) -> None:
    """The web server for ever; on paper a port that is taken is a warning, and is tried again (fault Q6)."""
    while True:
        try:
            await web.start()
            log.info("web", url=f"http://{daemon.settings.web.host}:{web.port}/")
            daemon.faults.end("Q6")
            await web.watch()
        except (PortTaken, WebDied) as why:
            daemon.faults.begin("Q6", str(why))
        finally:
            await web.stop()
        await asyncio.sleep(WEB_AGAIN_S)


def _obey_signals(daemon: Daemon) -> None:
    loop = asyncio.get_running_loop()
    told = False

    def stop() -> None:
        nonlocal told
        if told:
            os._exit(1)  # the second word means now; the next start recovers (fault P2)
        told = True
        daemon.stop()
        loop.call_later(STOP_WITHIN_S, _give_up)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop)


def _give_up() -> None:
    """The one deadline of a stop: who waits for the disk longer is killed without a word (fault P1)."""
    os.write(2, b"lacuna: the stop took too long: what is not on disk is recovered at the next start\n")
    os._exit(INPUT_OUTPUT)
