"""A whole world in one process: a simulated exchange, the real daemon on it, one clock for both, and patience.

Everything is real: websockets and REST over loopback, SQLite in a folder, the worker threads. Exchange minutes are
`SPEED` times shorter than ours, so a test takes seconds; what is waited for is a fact, never a time.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog
from msgspec import Struct

from bot.config import Settings
from bot.core.commands import Note
from bot.core.market import MINUTE_MS, Panel
from bot.daemon import Daemon, Outcome
from bot.edge.clock import Clock
from bot.edge.store import Row, Store
from bot.edge.volatility_work import VolatilityWork
from bot.simulator.faults import Fault, parse_fault
from bot.simulator.limits import Limits
from bot.simulator.market import Market as PlayedMarket
from bot.simulator.server import SimulatedExchange
from bot.simulator.synthetic import synthetic_panel
from models.baselines import Market
from models.model import Model

SPEED = 60.0
COINS, MINUTES, HISTORY = 6, 600, 120
WINDOW = 20
PATIENCE_WALL_S = 60.0

LIVELY: dict[str, dict[str, Any]] = {
    "market": {"window": WINDOW, "soft_limit_ms": 10_000, "hard_limit_ms": 30_000},
    "risk": {"stale_after_ms": 50_000, "forecast_age_max_ms": 50_000, "volatility_max": 0.0, "daily_loss_max": 0.9,
             "drawdown_max": 0.95},
    "strategies": {"masked-divergence": {
        "window": WINDOW, "divergence_threshold": 0.0005, "min_return_threshold": 0.0, "confidence_min": 0.0,
        "base_position_size": 0.05, "max_position_size": 0.15, "round_trip_cost": 0.0}},
    "storage": {"reserve_mib": 0, "checkpoint_slices": 10_000},
    "feed": {"silence_s": 30.0, "ping_every_s": 20.0, "pong_within_s": 20.0, "resync_every_s": 600.0},
    "forecaster": {"model": "market", "budget_s": 50.0},
    "web": {"port": -1},
}  # fmt: skip


class Said(Struct):
    """One note of the engine, from the journal."""

    code: str
    fault: str
    symbol: str
    text: str


class Alerted(Struct):
    """One alert of the daemon's log, at the exchange's time: `stage` is began, ended or once."""

    now_ms: int
    stage: str
    fault: str
    symbol: str


class World:
    """`async with World(tmp_path, "F1@+120s/30s") as world:`; faults count from the first slice that can close."""

    def __init__(
        self,
        folder: Path,
        *faults: str,
        panel: Panel | None = None,
        speed: float = SPEED,
        model: Model | None = None,
        settings: dict[str, dict[str, Any]] | None = None,
        clock: Clock | None = None,
        started_ms: int | None = None,
        limits: Limits | None = None,
        volatility: VolatilityWork | None = None,
    ) -> None:
        self.folder = folder
        self.alerts: list[Alerted] = []
        self.panel = panel if panel is not None else synthetic_panel(COINS, MINUTES, 11)
        self.start_ms = started_ms or int(self.panel.open_ms[HISTORY])
        self.clock = clock or Clock(speed, self.start_ms)
        schedule: tuple[Fault, ...] = tuple(parse_fault(text, self.start_ms) for text in faults)
        self.exchange = SimulatedExchange(PlayedMarket(self.panel), self.clock, schedule, limits)
        self._model = model or Market(self.panel.symbols, MINUTE_MS)
        self._volatility = volatility
        self._overrides = settings or {}
        self.daemon: Daemon
        self.task: asyncio.Task[Outcome]

    async def __aenter__(self) -> Self:
        await self.exchange.start()
        symbols, volatility = self.panel.symbols, self._volatility
        self.daemon = Daemon(self.settings(), symbols, self._model, self.clock, self._log(), 1, volatility)
        self.task = asyncio.create_task(self.daemon.run())
        return self

    def _log(self) -> Any:
        """The log as configured, with an ear in front of it."""

        def hear(logger: Any, method: str, line: Any) -> Any:
            head, _, stage = line["event"].partition(".")
            if head == "fault":
                self.alerts.append(Alerted(self.clock.now_ms(), stage, line["fault"], line["symbol"]))
            return line

        return structlog.wrap_logger(structlog.PrintLogger(), [hear, *structlog.get_config()["processors"]])

    def settings(self) -> Settings:
        values = {name: dict(section) for name, section in LIVELY.items()}
        for name, section in self._overrides.items():
            values[name] = values.get(name, {}) | section
        values["exchange"] = {
            "rest_url": self.exchange.rest_url,
            "stream_url": self.exchange.stream_url,
            "speed": self.clock.speed,
        } | values.get("exchange", {})
        values["storage"] = values["storage"] | {"folder": str(self.folder)}
        return Settings.model_validate(values)

    async def __aexit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self.task.done():
                await self.stop()
        finally:
            await self.exchange.stop()

    async def stop(self) -> Outcome:
        """Ends the daemon in order; what it did."""
        self.daemon.stop()
        return await self.task

    async def until(self, fact: Callable[[], bool]) -> None:
        """Waits for a fact; fails when the daemon ended or patience did."""
        async with asyncio.timeout(PATIENCE_WALL_S):
            while not fact():
                if self.task.done():
                    self.task.result()
                    raise AssertionError("the daemon has stopped")
                await asyncio.sleep(0.01)

    async def slices(self, count: int) -> None:
        """Until so many slices closed since the start."""
        await self.until(lambda: self.daemon.ready.is_set() and self.daemon.pump.counts.slices >= count)

    async def decisions(self, count: int) -> None:
        """Until so many slices were decided since the start: those of a busy machine may close undecided."""
        await self.until(lambda: self.daemon.ready.is_set() and self.daemon.pump.counts.decisions >= count)

    async def seen(self, open_ms: int) -> None:
        """Until the slice of this open is in the window and the model has answered what it was asked."""
        await self.until(lambda: self.daemon.engine.window.newest_ms >= open_ms)
        await self.until(self._answered)

    def _answered(self) -> bool:
        model = self.daemon.forecaster
        waits = model is not None and model.asked > model.answered + model.skipped + model.late + model.failed
        return not waits and not self.daemon.pump.depth

    async def passed(self, seconds: float) -> None:
        """Until the exchange's time is so many seconds after the start of the test's world."""
        await self.until(lambda: self.clock.now_ms() >= self.start_ms + seconds * 1000)

    @property
    def faults(self) -> dict[str, int]:
        return self.daemon.faults.counts

    @property
    def slice_count(self) -> int:
        return self.daemon.pump.counts.slices if self.daemon.ready.is_set() else 0

    def rows(self) -> list[Row]:
        """The journal, after a stop."""
        with Store(self.folder) as store:
            return [row for session in store.sessions() for row in store.rows(session.id)]

    def notes(self, code: str = "") -> list[Said]:
        """The engine's notes of one code, from the journal, after a stop."""
        found = [
            Said(command.code, command.fault, command.symbol, command.text)
            for row in self.rows()
            for command in row.commands
            if isinstance(command, Note)
        ]
        return [note for note in found if not code or note.code == code]
