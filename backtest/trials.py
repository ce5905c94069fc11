"""The trial ledger: every setting ever tried on a history, so that the best of many is judged as the best of many.

A trial  is one backtest of a strategy family on one history (`data`, a hash) with its settings. The same again is no new one.
Others   are the family's trials on the same history, and on histories that it shares time and at least one coin with, as far
         as they were described: a search on a part of a year counts when the year is judged. The same settings on
         another range or other coins are another trial, for choosing those is choosing too.
File     SQLite; several processes may write at once, each waits WAIT_S for the others. No trial is ever changed or deleted.
Limits   it knows what it was told: trials on other coins, or kept elsewhere, are not counted.
Errors   TrialsUnusable when the file cannot be opened or written, or is something else.
"""

import hashlib
import sqlite3
from pathlib import Path

import msgspec
from msgspec import Struct

from bot.core.market import Panel

WAIT_S = 30.0
TABLES = (
    """
create table if not exists trials (
    key text primary key, family text not null, data text not null, settings text not null,
    sharpe real, observations integer not null, digest text not null, time_ms integer not null
) strict, without rowid
""",
    """
create table if not exists histories (
    data text not null, coin text not null, first_ms integer not null, last_ms integer not null,
    primary key (data, coin)
) strict, without rowid
""",
    "create index if not exists trials_by_family on trials (family, data)",
)
ADD = "insert into trials values (?, ?, ?, ?, ?, ?, ?, ?) on conflict (key) do nothing"
DESCRIBE = """
insert into histories values (?, ?, ?, ?) on conflict (data, coin) do update
set first_ms = min(first_ms, excluded.first_ms), last_ms = max(last_ms, excluded.last_ms)
"""
OTHERS = """
select sharpe from trials where family = :family and key <> :key and data in (
    select :data union
    select other.data from histories as own join histories as other using (coin)
    where own.data = :data and other.first_ms <= own.last_ms and own.first_ms <= other.last_ms
) order by key
"""


class TrialsUnusable(Exception):
    """The trial ledger cannot be used. Without it a result would be called better than it is, so nothing goes on."""

    exit_code = 74


class Trial(Struct, frozen=True):
    """One trial. `sharpe` is annual, on the basis of inference (`luck.sharpe_of`), None where the equity never moved."""

    family: str
    data: str
    settings: dict[str, object]
    sharpe: float | None
    observations: int
    digest: str
    time_ms: int

    @property
    def key(self) -> str:
        """The same for the same family, data and settings, in whatever order the settings stand."""
        told = msgspec.json.encode([self.family, self.data, self.settings], order="sorted")
        return hashlib.blake2b(told, digest_size=16).hexdigest()


class Trials:
    """The ledger at `path`, made when it is not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
            for table in TABLES:
                self._base.execute(table)
        except (sqlite3.Error, OSError) as why:
            raise TrialsUnusable(
                f"the trial ledger {path} cannot be opened: {why}; move it away or name another"
            ) from why

    def add(self, trial: Trial) -> bool:
        """Writes a trial down; False when it was known."""
        told = msgspec.json.encode(trial.settings, order="sorted").decode()
        row = (trial.key, trial.family, trial.data, told, trial.sharpe, trial.observations, trial.digest, trial.time_ms)
        try:
            return self._base.execute(ADD, row).rowcount == 1
        except sqlite3.Error as why:
            raise TrialsUnusable(f"the trial ledger {self.path} cannot be written: {why}") from why

    def describe(self, data: str, decided: Panel) -> None:
        """What the hash of a history stands for: its coins and the slices that were decided.

        Where trials on it decided different slices, its range is from the first of all to the last of all.
        """
        rows = [(data, coin, int(decided.open_ms[0]), int(decided.open_ms[-1])) for coin in decided.symbols]
        try:
            self._base.executemany(DESCRIBE, rows)
        except sqlite3.Error as why:
            raise TrialsUnusable(f"the trial ledger {self.path} cannot be written: {why}") from why

    def others(self, trial: Trial) -> list[float | None]:
        """The annual Sharpe ratios of all other trials of its family that were made on its time and any of its coins."""
        asked = {"family": trial.family, "key": trial.key, "data": trial.data}
        try:
            found = self._base.execute(OTHERS, asked).fetchall()
        except sqlite3.Error as why:
            raise TrialsUnusable(f"the trial ledger {self.path} cannot be read: {why}") from why
        return [row[0] for row in found]

    def close(self) -> None:
        self._base.close()
