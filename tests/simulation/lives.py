"""Bots that die: processes of their own that kill themselves with SIGKILL, in a world whose exchange goes on.

A life ends at a named place, or at the n-th call of our code; the next one, here or there, begins in its folder.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog

from bot.audit import audit
from bot.config import Settings
from bot.core.events import Accepted, Filled
from bot.daemon import Daemon
from bot.edge.broker import PaperBroker
from bot.edge.clock import Clock
from bot.edge.store import Store
from bot.edge.trouble import NoJournal
from bot.pump import Pump
from bot.run import choose_model
from bot.session import recover_state, replay_all
from tests.simulation.world import PATIENCE_WALL_S, World

OURS = str(Path(__file__).parent.parent.parent / "bot")
COMMIT_WALL_S = 0.2  # the writer's groups are shorter: what was journaled before is on disk after


def _always(*arguments: Any) -> bool:
    return True


def _of(kind: type) -> Callable[..., bool]:
    return lambda pump, event: isinstance(event, kind)


PLACES: dict[str, tuple[type, str, Callable[..., bool]]] = {
    "intent written, not sent": (PaperBroker, "submit", _always),
    "sent, not answered": (Pump, "take", _of(Accepted)),
    "filled, not booked": (Pump, "take", _of(Filled)),
    "slice decided": (Daemon, "slice_decided", _always),
    "slice decided with orders": (Daemon, "slice_decided", lambda daemon: daemon.pump.slice_orders > 0),
}


def live(settings: str, place: str, nth: int) -> None:
    """A bot that dies when it comes to a place for the n-th time; what it had journaled before is on disk."""
    owner, name, here = PLACES[place]
    real = getattr(owner, name)
    times = 0

    def dying(*arguments: Any) -> Any:
        nonlocal times
        times += here(*arguments)
        if times == nth:
            time.sleep(COMMIT_WALL_S)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)

    setattr(owner, name, dying)
    asyncio.run(_daemon(settings).run())


def live_again_and_again(settings: str, deaths: int) -> None:
    """Lives until it trades, then so often a part of that, from the first call of our code to the last: all die.

    Prints how each ended. A fork for each life: importing takes longer than recovering.
    """
    import ccxt.async_support  # noqa: F401

    reader, calls_of = os.pipe()
    ended = [_fork(settings, 0, calls_of)]
    calls = int(os.read(reader, 100))
    ended += [_fork(settings, 1 + calls * death // deaths, calls_of) for death in range(deaths)]
    print(json.dumps({"calls": calls, "ended": ended}))


def _fork(settings: str, at_call: int, calls_of: int) -> int:
    """One life that dies at the n-th call, or once it trades; how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            calls += 1
            if calls == at_call:
                os.kill(os.getpid(), signal.SIGKILL)

    async def until_it_trades() -> None:
        daemon = _daemon(settings)
        sys.setprofile(count)
        running = asyncio.create_task(daemon.run())
        trading = asyncio.create_task(daemon.ready.wait())
        await asyncio.wait((running, trading), return_when=asyncio.FIRST_COMPLETED)
        sys.setprofile(None)
        if running.done():
            running.result()
        os.write(calls_of, str(calls).encode())
        os.kill(os.getpid(), signal.SIGKILL)

    try:
        asyncio.run(until_it_trades())
    finally:
        os._exit(1)


def _daemon(settings: str) -> Daemon:
    read = Settings.model_validate_json(settings)
    symbols, model = choose_model(read)
    return Daemon(read, symbols, model, Clock(read.exchange.speed), structlog.get_logger(), 1)


class Lives(World):
    """A world whose bot begins, dies and begins again in one folder; `begins` is the one in this process."""

    async def __aenter__(self) -> Self:
        await self.exchange.start()
        return self

    async def begins(self) -> None:
        self.daemon = Daemon(self.settings(), self.panel.symbols, self._model, self.clock, structlog.get_logger(), 1)
        self.task = asyncio.create_task(self.daemon.run())
        await self.until(self.daemon.ready.is_set)

    async def __aexit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "task" in vars(self):
            await super().__aexit__(kind, why, trace)
        else:
            await self.exchange.stop()

    def settings(self) -> Settings:
        settings = super().settings()
        market = settings.market.model_copy(update={"symbols": self.panel.symbols})
        return settings.model_copy(update={"market": market})

    async def runs(self, program: str, *arguments: object) -> bytes:
        """A function of this module in a process of its own, with the settings; what it printed."""
        given = ", ".join(repr(one) for one in (self.settings().model_dump_json(), *arguments))
        line = f"from tests.simulation import lives; lives.{program}({given})"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", line, stdout=-1, stderr=-1)
        async with asyncio.timeout(PATIENCE_WALL_S * 3):
            said, errors = await process.communicate()
        wanted = -signal.SIGKILL if program == "live" else 0
        assert process.returncode == wanted, errors.decode()[-2_000:]
        return said

    async def dies(self, place: str, nth: int = 1) -> None:
        await self.runs("live", place, nth)

    async def command_line(self, *arguments: str) -> asyncio.subprocess.Process:
        """`lacuna run` on this world, in a process of its own."""
        config = self.folder.parent / "config.toml"
        config.write_text(toml(self.settings()))
        command = (sys.executable, "-m", "bot.cli", "run", "--config", str(config), *arguments)
        return await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-1)

    def ordered(self) -> list[dict[str, Any]]:
        """The orders that the folder knows of."""
        try:
            with Store(self.folder) as store:
                return store.newest("orders")
        except NoJournal:
            return []

    def open_orders(self) -> list[dict[str, Any]]:
        """Those of them that rest at the exchange, or may."""
        return [order for order in self.ordered() if order["state"] in ("open", "partial")]


def audited(folder: Path) -> list[str]:
    """What is wrong in a folder: the books, or a session that does not replay."""
    with Store(folder) as store:
        different = [one.first_difference for _, one in replay_all(store) if not one.identical]
        return audit(store, recover_state(store)) + different


def toml(settings: Settings) -> str:
    """These settings as a file; JSON values are TOML values for what stands there."""
    lines: list[str] = []
    sections = settings.model_dump(mode="json", exclude_none=True)
    strategies = sections.pop("strategies")
    lines.append(f"mode = {json.dumps(sections.pop('mode'))}")
    for section, values in (sections | {f"strategies.{name}": one for name, one in strategies.items()}).items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines)
