"""What a session begins with and a checkpoint keeps: the engine's state as one value."""

from decimal import Decimal

import numpy as np

from bot.core.engine import Engine, Setup
from bot.core.market import Instrument
from bot.core.snapshot import RiskMemory, Snapshot, Streaks


def genesis(setup: Setup, session: int, cash: Decimal, instruments: tuple[Instrument, ...]) -> Snapshot:
    """The snapshot of an account that has never traded."""
    memory = RiskMemory((), 0.0, 0, 0.0, {}, (), ())
    nothing = np.zeros((0, len(setup.symbols)))
    return Snapshot(
        session,
        setup.symbols,
        setup.interval_ms,
        instruments,
        setup.quote_asset,
        cash,
        cash,
        (),
        {},
        Decimal(0),
        Decimal(0),
        (),
        memory,
        0,
        0,
        np.zeros(0, dtype=np.int64),
        nothing,
        np.zeros(len(setup.symbols)),
    )


def remember(engine: Engine, session: int, rows: int) -> Snapshot:
    """Everything the next session, or a checkpoint, needs to go on; `rows` of past forecasts."""
    ledger, window = engine.ledger, engine.window
    return Snapshot(
        session,
        engine.setup.symbols,
        engine.setup.interval_ms,
        engine.instruments,
        ledger.quote_asset,
        ledger.cash_start,
        ledger.cash,
        ledger.positions(),
        dict(ledger.fees),
        ledger.fees_value,
        ledger.realised,
        tuple(engine.orders),
        engine.risk.remember(),
        engine.decided_ms,
        engine.orders_made,
        window.open_ms[-rows:],
        window.inferred[-rows:].copy(),
        ledger.mark,
        engine.slices.remember(),
        Streaks(engine.risk.streaks, engine.failed_forecasts),
    )
