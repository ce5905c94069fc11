"""Sessions: building an engine from settings, going on where the last one stood, proving a journal.

Recovery and replay are the same thing: recorded events through a fresh engine built from the settings that
were recorded with them. Recovery keeps the state they lead to, replay compares the commands byte for byte.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from bot.config import BadConfiguration, Settings
from bot.core.engine import Engine, Setup
from bot.core.market import Instrument
from bot.core.memory import genesis, remember
from bot.core.snapshot import Snapshot
from bot.edge.encoding import encode_commands
from bot.edge.store import Recorded, Row, Store
from strategies import build


class Replayed(Struct, frozen=True):
    """What a replay found. `first_difference` is "" when every command was the same."""

    compared: int
    identical: bool
    first_difference: str


def build_engine(settings: Settings, symbols: tuple[str, ...], rows: int) -> Engine:
    """The engine these settings describe; `rows` is what the model needs to see of the past."""
    market = settings.market
    setup = Setup(
        symbols,
        market.interval_ms,
        market.quote,
        market.soft_limit_ms,
        market.hard_limit_ms,
        max(rows, market.window),
        settings.risk,
        settings.planner,
    )
    return Engine(setup, build(settings.strategy.name, settings.strategies.get(settings.strategy.name, {})))


def wants_forecast(settings: Settings) -> bool:
    """Whether the chosen strategy waits for a model."""
    return build(settings.strategy.name, settings.strategies.get(settings.strategy.name, {})).wants_forecast


def recorded_as(settings: Settings, rows: int) -> dict[str, Any]:
    """What a session's row keeps, so that its engine can be built again."""
    return {"rows": rows, "settings": settings.model_dump(mode="json")}


def engine_of(recorded: dict[str, Any], symbols: tuple[str, ...]) -> Engine:
    """The engine of a recorded session."""
    return build_engine(Settings.model_validate(recorded["settings"]), symbols, recorded["rows"])


def recover(store: Store, settings: Settings) -> Snapshot | None:
    """The state the last session died or stopped in; None where there was none.

    BadConfiguration when the folder belongs to another exchange or mode (fault A10).
    """
    recorded = store.last_session()
    if recorded is None:
        return None
    _check_same_account(recorded, settings)
    return _state_of(recorded)


def recover_state(store: Store) -> Snapshot | None:
    """The same for whoever only reads."""
    recorded = store.last_session()
    return _state_of(recorded) if recorded else None


def _state_of(recorded: Recorded) -> Snapshot:
    engine = engine_of(recorded.session.settings, recorded.session.symbols)
    for row in recorded.rows():
        engine.handle(row.event, row.now_ms)
    return remember(engine, recorded.session.id, engine.strategy.rows)


def _check_same_account(recorded: Recorded, settings: Settings) -> None:
    before = recorded.session.settings["settings"]
    then, now = (before["mode"], before["exchange"]["name"]), (settings.mode, settings.exchange.name)
    if then != now:
        raise BadConfiguration(
            [f"storage.folder: belongs to {' on '.join(then)}, not {' on '.join(now)}: name another folder"]
        )


def continue_from(
    past: Snapshot | None, engine: Engine, session: int, cash: Decimal, instruments: tuple[Instrument, ...]
) -> Snapshot:
    """The snapshot a session starts from: the past on today's universe and rules, or an account with `cash`.

    BadConfiguration when a coin that is held is not in the universe any more.
    """
    setup = engine.setup
    if past is None:
        return genesis(setup, session, cash, instruments)
    lost = [held.symbol for held in past.holdings if held.symbol not in setup.symbols]
    if lost:
        raise BadConfiguration([f"market.symbols: {', '.join(lost)} is held: keep it in until it is sold"])
    past = replace(
        past, session=session, instruments=instruments, interval_ms=setup.interval_ms, assembly=None, streaks=None
    )
    if past.symbols == setup.symbols:
        return past
    fresh = genesis(setup, session, cash, instruments)
    marks = dict(zip(past.symbols, past.marks.tolist(), strict=True))
    orders = tuple(order for order in past.orders if order.symbol in setup.symbols)
    return replace(
        past,
        symbols=setup.symbols,
        orders=orders,
        forecasts_open_ms=fresh.forecasts_open_ms,
        forecasts=fresh.forecasts,
        marks=np.array([marks.get(symbol, 0.0) for symbol in setup.symbols]),
    )


def replay(store: Store, session: int, symbols: tuple[str, ...], recorded: dict[str, Any]) -> Replayed:
    """Feeds a session's events to a fresh engine and compares every command with the journal's."""
    engine = engine_of(recorded, symbols)
    compared = 0
    for row in store.rows(session):
        if compared == 0 and not _starts_a_session(row):
            continue  # pruned up to a checkpoint: begin there
        commands = encode_commands(engine.handle(row.event, row.now_ms))
        compared += 1
        if commands != row.record:
            return Replayed(compared, False, f"session {session} row {row.seq}: {type(row.event).__name__}")
    return Replayed(compared, True, "")


def _starts_a_session(row: Row) -> bool:
    return type(row.event).__name__ == "Reconciled"


def replay_all(store: Store, only: int | None = None) -> Iterator[tuple[int, Replayed]]:
    """(session, what was found) for every session that handled anything, or for one."""
    for session in store.sessions():
        if only is None or session.id == only:
            yield session.id, replay(store, session.id, session.symbols, session.settings)
