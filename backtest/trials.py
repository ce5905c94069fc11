"""The trial ledger: every setting ever tried on a history, so that the best of many is judged as the best of many.

A trial  is one backtest of a strategy family on one history (`data`, a hash) with its settings. The same again is no new one.
File     SQLite; several processes may write at once, each waits WAIT_S for the others. Nothing is ever changed or deleted.
Limits   it knows what it was told: other ranges of the same history are other data, and trials elsewhere are not in it.
Errors   TrialsUnusable when the file cannot be opened or written, or is something else.
"""

import hashlib
import sqlite3
from pathlib import Path

import msgspec
from msgspec import Struct

WAIT_S = 30.0
TABLE = """
create table if not exists trials (
    key text primary key, family text not null, data text not null, settings text not null,
    sharpe real, observations integer not null, digest text not null, time_ms integer not null
) strict, without rowid
"""
INDEX = "create index if not exists trials_by_family on trials (family, data)"
ADD = "insert into trials values (?, ?, ?, ?, ?, ?, ?, ?) on conflict (key) do nothing"
OTHERS = "select sharpe from trials where family = ? and data = ? and key <> ? order by key"


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
            self._base.execute(TABLE)
            self._base.execute(INDEX)
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

    def others(self, trial: Trial) -> list[float | None]:
        """The annual Sharpe ratios of all other trials of its family on its data."""
        try:
            found = self._base.execute(OTHERS, (trial.family, trial.data, trial.key)).fetchall()
        except sqlite3.Error as why:
            raise TrialsUnusable(f"the trial ledger {self.path} cannot be read: {why}") from why
        return [row[0] for row in found]

    def close(self) -> None:
        self._base.close()
