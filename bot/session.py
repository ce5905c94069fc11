"""Sessions: building an engine from settings, going on where the last one stood, proving a journal.

Recovery and replay are the same thing: recorded events through a fresh engine built from the settings that
were recorded with them, every command compared byte for byte. Recovery keeps the state they lead to: one that other
commands led to is not what the account went through, so a version that decides otherwise refuses to go on (Diverged).
A checkpoint that nothing follows needs no engine: what was stopped in good order goes on in any version.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from pydantic import ValidationError

from bot.building import setup_of, strategy_of
from bot.config import BadConfiguration, Settings
from bot.core.engine import Engine, Setup
from bot.core.events import History, Reconciled
from bot.core.market import Instrument
from bot.core.memory import genesis, remember
from bot.core.snapshot import Snapshot
from bot.edge.encoding import encode_commands
from bot.edge.store import Recorded, Row, Store
from strategies import SETTINGS as STRATEGY_SETTINGS
from strategies import involved


class Diverged(Exception):
    """This version does not do with a journal what the version that wrote it did."""

    exit_code = 78


class Replayed(Struct, frozen=True):
    """What a replay found. `first_difference` is "" when every command was the same."""

    compared: int
    identical: bool
    first_difference: str


def build_engine(settings: Settings, symbols: tuple[str, ...], rows: int) -> Engine:
    """The engine these settings describe; `rows` is what the model needs to see of the past."""
    return Engine(setup_of(settings, symbols, rows), strategy_of(settings))


def wants_forecast(settings: Settings) -> bool:
    """Whether the chosen strategy waits for a model."""
    return strategy_of(settings).wants_forecast


def recorded_as(settings: Settings, rows: int) -> dict[str, Any]:
    """What a session's row keeps, so that its engine can be built again, whatever the defaults are then."""
    sections = settings.strategies
    used = {
        name: STRATEGY_SETTINGS[name](**sections.get(name, {})).model_dump(mode="json")
        for name in involved(settings.strategy.name, sections)
    }
    told = settings.model_dump(mode="json")
    return {"rows": rows, "settings": told | {"strategies": told["strategies"] | used}}


def engine_of(recorded: dict[str, Any], symbols: tuple[str, ...]) -> Engine:
    """The engine of a recorded session. Diverged where this version does not know its settings any more."""
    try:
        settings = Settings.model_validate(recorded["settings"])
    except ValidationError as why:
        unknown = ", ".join(".".join(map(str, error["loc"])) for error in why.errors())
        raise Diverged(f"the journal was recorded with settings that this version refuses: {unknown}") from None
    return build_engine(settings, symbols, recorded["rows"])


def recover(store: Store, settings: Settings) -> Snapshot | None:
    """The state the last session died or stopped in; None where there was none.

    BadConfiguration when the folder belongs to another exchange, mode or quote (fault A10), Diverged when this version
    decides otherwise than the one that died there.
    """
    recorded = store.last_session()
    if recorded is None:
        return None
    _check_same_account(recorded, settings)
    try:
        return _state_of(recorded, _go_the_same_way)
    except Diverged as why:
        text = f"session {recorded.session.id} of {store.path.parent} did not stop in good order, and {why}"
        todo = f"start version {recorded.session.version} on it and stop that one, or name another storage.folder"
        raise Diverged(f"{text}; {todo}") from None


def recover_state(store: Store) -> Snapshot | None:
    """The same for whoever only reads: what this version makes of it, the same or not."""
    recorded = store.last_session()
    return _state_of(recorded, _go) if recorded else None


def _state_of(recorded: Recorded, go: Callable[[Engine, Row], None]) -> Snapshot:
    """What the rows from the newest checkpoint on lead to; the checkpoint itself where nothing followed it."""
    engine: Engine | None = None
    opening: list[Row] = []  # a Reconciled row and its history, until something happens behind them
    for row in recorded.rows():
        if isinstance(row.event, Reconciled):
            engine, opening = None, []
        if engine is None and isinstance(row.event, Reconciled | History):
            opening.append(row)
            continue
        if engine is None:
            engine = engine_of(recorded.session.settings, recorded.session.symbols)
            for one in opening:
                go(engine, one)
        go(engine, row)
    if engine is not None:
        return remember(engine, recorded.session.id, engine.strategy.rows)
    assert isinstance(opening[0].event, Reconciled), "a session begins with its state"
    return opening[0].event.snapshot


def _go(engine: Engine, row: Row) -> None:
    engine.handle(row.event, row.now_ms)


def _go_the_same_way(engine: Engine, row: Row) -> None:
    if encode_commands(engine.handle(row.event, row.now_ms)) != row.record:
        raise Diverged(f"this version decides otherwise at {_place(row)}")


def _place(row: Row) -> str:
    return f"session {row.session} row {row.seq}: {type(row.event).__name__}"


def _check_same_account(recorded: Recorded, settings: Settings) -> None:
    before = recorded.session.settings["settings"]
    then = (before["mode"], before["exchange"]["name"], before["market"]["quote"])
    now = (settings.mode, settings.exchange.name, settings.market.quote)
    if then != now:
        theirs, ours = (f"{mode} on {exchange} in {quote}" for mode, exchange, quote in (then, now))
        raise BadConfiguration([f"storage.folder: belongs to {theirs}, not {ours}: name another folder"])


def continue_from(
    past: Snapshot | None, engine: Engine, session: int, cash: Decimal, instruments: tuple[Instrument, ...]
) -> Snapshot:
    """The snapshot a session starts from: the past on today's universe, slices and rules, or an account with `cash`.

    BadConfiguration when a coin that is held or has an open order is not in the universe any more.
    """
    setup = engine.setup
    if past is None:
        return genesis(setup, session, cash, instruments)
    _check_nothing_at_stake_leaves(past, setup.symbols)
    past = _on_slices(past, setup)
    past = replace(past, session=session, instruments=instruments, assembly=None, streaks=None)
    if past.symbols == setup.symbols:
        return past
    fresh = genesis(setup, session, cash, instruments)
    marks = dict(zip(past.symbols, past.marks.tolist(), strict=True))
    return replace(
        past,
        symbols=setup.symbols,
        orders=tuple(order for order in past.orders if order.symbol in setup.symbols),  # the others are over
        forecasts_open_ms=fresh.forecasts_open_ms,
        forecasts=fresh.forecasts,
        marks=np.array([marks.get(symbol, 0.0) for symbol in setup.symbols]),
    )


def _check_nothing_at_stake_leaves(past: Snapshot, symbols: tuple[str, ...]) -> None:
    held = [one.symbol for one in past.holdings if one.symbol not in symbols]
    ordered = dict.fromkeys(one.symbol for one in past.orders if not one.final and one.symbol not in symbols)
    errors = []
    if held:
        errors.append(f"market.symbols: {', '.join(held)} is held: keep it in until it is sold")
    if ordered:
        errors.append(f"market.symbols: {', '.join(ordered)} has an open order: keep it in until that is over")
    if errors:
        raise BadConfiguration(errors)


def _on_slices(past: Snapshot, setup: Setup) -> Snapshot:
    """The past as slices of another interval see it: without forecasts, and decided up to the same close."""
    if past.interval_ms == setup.interval_ms:
        return past
    closed_ms = past.decided_ms + past.interval_ms
    return replace(
        past,
        interval_ms=setup.interval_ms,
        decided_ms=closed_ms - setup.interval_ms if past.decided_ms else 0,
        forecasts_open_ms=past.forecasts_open_ms[:0],
        forecasts=past.forecasts[:0],
    )


def replay(store: Store, session: int, symbols: tuple[str, ...], recorded: dict[str, Any]) -> Replayed:
    """Feeds a session's events to a fresh engine and compares every command with the journal's."""
    engine = engine_of(recorded, symbols)
    compared = 0
    for row in store.rows(session):
        if compared == 0 and not isinstance(row.event, Reconciled):
            continue  # pruned in part: begin at the first checkpoint that is kept
        commands = encode_commands(engine.handle(row.event, row.now_ms))
        compared += 1
        if commands != row.record:
            return Replayed(compared, False, _place(row))
    return Replayed(compared, True, "")


def replay_all(store: Store, only: int | None = None) -> Iterator[tuple[int, Replayed]]:
    """(session, what was found) for every session that handled anything, or for one."""
    for session in store.sessions():
        if only is None or session.id == only:
            yield session.id, replay(store, session.id, session.symbols, session.settings)
