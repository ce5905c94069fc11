"""Sessions: a journal replays byte for byte anywhere, and the next session goes on where the last one stood."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from bot.config import BadConfiguration, load
from bot.core.events import Forecast, Forecasted
from bot.core.market import Side
from bot.core.memory import remember
from bot.edge.store import Store
from bot.session import build_engine, continue_from, engine_of, recorded_as, recover, replay, replay_all
from strategies.masked_divergence import Settings
from tests.making import COINS, instruments, walk
from tests.recording import HISTORY, SETTINGS, Session, record


def lacuna(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "bot.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | variables)


async def test_a_journal_replays_byte_for_byte_in_another_process(tmp_path: Path) -> None:
    """Invariants I19, I27, fault T5: another PYTHONHASHSEED and TZ change nothing; orders and fills were among it."""
    session = await record(tmp_path)
    assert session.engine.orders_made > 5
    assert session.engine.ledger.holdings
    for seed, zone in (("1", "UTC"), ("77", "Asia/Kathmandu"), ("5", "America/St_Johns")):
        done = lacuna("replay", str(tmp_path), "--json", PYTHONHASHSEED=seed, TZ=zone)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["identical"] is True
        assert found["first_difference"] is None
        assert found["compared"] == session.journal.rows
        assert found["problems"] == []


async def test_a_changed_journal_is_told_by_its_first_difference(tmp_path: Path) -> None:
    """A forecast that was not the one decided on leads to other commands: exit 1, with the row."""
    await record(tmp_path)
    with Store(tmp_path) as store:
        session, row = next(
            (store.sessions()[0], row)
            for row in store.rows(1)
            if type(row.event).__name__ == "Forecasted" and any(type(one).__name__ == "Submit" for one in row.commands)
        )
    assert isinstance(row.event, Forecasted)
    event = Forecasted(Forecast(row.event.forecast.open_ms, row.event.forecast.returns * 0), row.event.seconds)

    class Tampered:
        def rows(self, number: int) -> object:
            with Store(tmp_path) as real:
                for one in real.rows(number):
                    yield replace(one, event=event) if one.seq == row.seq else one

    found = replay(Tampered(), session.id, session.symbols, session.settings)  # type: ignore[arg-type]
    assert not found.identical
    assert f"row {row.seq}: Forecasted" in found.first_difference


async def test_the_next_session_goes_on_where_the_last_stood(tmp_path: Path) -> None:
    """Faults P3, P25: cash, holdings, stops and the decided slice come back to the last digit."""
    first = await record(tmp_path)
    with Store(tmp_path) as store:
        past = recover(store, SETTINGS)
    assert past is not None
    kept = remember(first.engine, 1, first.engine.strategy.rows)
    for name in ("cash", "holdings", "fees", "realised", "risk", "decided_ms", "orders_made", "orders"):
        assert getattr(past, name) == getattr(kept, name), name


async def test_recovery_from_a_checkpoint_equals_recovery_from_the_start(tmp_path: Path) -> None:
    """A checkpoint resets a running engine and a fresh one to the same state."""
    for folder, checkpoint_at in (("without", 0), ("with", HISTORY + 20)):
        await record(tmp_path / folder, checkpoint_at=checkpoint_at)
    found = []
    for folder in ("without", "with"):
        with Store(tmp_path / folder) as store:
            found.append(recover(store, SETTINGS))
            assert all(one.identical for _, one in replay_all(store))
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].cash == found[1].cash
    assert found[0].holdings == found[1].holdings


async def test_three_sessions_in_a_row_lose_and_double_nothing(tmp_path: Path) -> None:
    """Invariants I1, I3, I4, I11: across restarts the ledger is the sum of the fills and no slice is decided twice."""
    panel = walk(HISTORY + 60)
    decided: list[int] = []
    for start in (HISTORY, HISTORY + 20, HISTORY + 40):
        session = Session(tmp_path, panel, start)
        for row in range(start, start + 20):
            session.minute(row)
            decided.append(session.engine.decided_ms)
        await session.journal.close(session.now_ms, "stopped")
    assert len(set(decided)) == len(decided)
    with Store(tmp_path) as store:
        fills = store.newest("fills")
    cash = Decimal(10_000)
    for fill in fills:
        value = Decimal(fill["quantity"]) * Decimal(fill["price"])
        cash += -value if fill["side"] == Side.BUY else value
        cash -= Decimal(fill["fee"]) if fill["fee_asset"] == "USDT" else 0
    assert len({(fill["symbol"], fill["trade_id"]) for fill in fills}) == len(fills) > 5
    assert cash == session.engine.ledger.cash
    assert session.engine.ledger.balance_error() == 0


async def test_a_held_coin_may_not_leave_the_universe_unseen(tmp_path: Path) -> None:
    """A universe without a coin that is held is refused with the coin's name; one that only grows is taken."""
    session = await record(tmp_path)
    with Store(tmp_path) as store:
        past = recover(store, SETTINGS)
    assert past is not None
    held = next(iter(session.engine.ledger.holdings))
    rest = tuple(symbol for symbol in past.symbols if symbol != held)
    with pytest.raises(BadConfiguration, match=held):
        continue_from(past, build_engine(SETTINGS, rest, 0), 2, Decimal(1), instruments(rest))
    more = (*past.symbols, "XRP/USDT")
    grown = continue_from(past, build_engine(SETTINGS, more, 0), 2, Decimal(1), instruments(more))
    assert grown.holdings == past.holdings
    assert grown.symbols == more


async def test_a_folder_of_another_exchange_or_mode_is_refused(tmp_path: Path) -> None:
    """Fault A10: what belongs to another account is never gone on with."""
    await record(tmp_path, minutes=2)
    other = SETTINGS.model_copy(update={"mode": "live"})
    with Store(tmp_path) as store, pytest.raises(BadConfiguration, match=r"storage\.folder"):
        recover(store, other)


def test_a_session_keeps_its_strategys_whole_settings() -> None:
    """A default that changes after it was recorded changes nothing of what its journal replays to."""
    kept = recorded_as(load(None, {"strategies.masked-divergence.window": 9}), 0)
    own = kept["settings"]["strategies"]["masked-divergence"]
    assert own == Settings(window=9).model_dump(mode="json")
    assert own["round_trip_cost"] == "account"
    assert engine_of(json.loads(json.dumps(kept)), COINS).strategy.warmup == 29


async def test_a_day_of_market_replays_byte_for_byte(tmp_path: Path) -> None:
    """Invariant I19 over 1,440 slices with a checkpoint in between, elsewhere in the world."""
    session = await record(tmp_path, minutes=1_440, checkpoint_at=HISTORY + 700)
    assert session.engine.orders_made > 100
    done = lacuna("replay", str(tmp_path), "--json", PYTHONHASHSEED="4711", TZ="Pacific/Chatham")
    found = json.loads(done.stdout)
    assert (found["identical"], found["problems"]) == (True, [])
    assert found["compared"] == session.journal.rows > 7_000


def test_a_session_keeps_the_settings_of_the_strategy_that_is_sized() -> None:
    """Both sections, with today's defaults: another version's must not decide otherwise."""
    settings = load(None, {"strategy.name": "volatility-target", "strategies.hold.invested": 0.5})
    kept = recorded_as(settings, 2)["settings"]["strategies"]
    assert kept["hold"] == {"invested": 0.5}
    assert kept["volatility-target"]["target"] == 0.4
    engine = engine_of(recorded_as(settings, 2), COINS)
    assert engine.strategy.wants_volatility
