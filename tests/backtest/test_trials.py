"""The trial ledger: counts what was tried, once, whoever tried it."""

import sqlite3
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from backtest.trials import Trial, Trials, TrialsUnusable
from bot.core.market import MINUTE_MS
from tests.making import COINS, START_MS, walk


def trial(number: float, family: str = "hold", data: str = "d1", sharpe: float | None = 0.5) -> Trial:
    return Trial(family, data, {"a": number, "b": {"c": [1, 2]}}, sharpe, 100, "digest", 1_000)


def _try_many(job: tuple[Path, int]) -> int:
    """One process: its own 20 settings and 10 that all processes share."""
    path, worker = job
    ledger = Trials(path)
    new = [ledger.add(trial(1_000 * worker + number)) for number in range(20)]
    new += [ledger.add(trial(-1 - number)) for number in range(10)]
    ledger.close()
    return sum(new)


def test_the_same_settings_again_are_no_new_trial(tmp_path: Path) -> None:
    """Another setting, another family and other data are new; the same in another order is not."""
    ledger = Trials(tmp_path / "deep" / "trials.sqlite")
    assert ledger.add(trial(1))
    assert not ledger.add(trial(1, sharpe=9.0))
    again = Trial("hold", "d1", {"b": {"c": [1, 2]}, "a": 1}, 0.5, 100, "other", 2_000)
    assert not ledger.add(again)
    assert ledger.add(trial(2))
    assert ledger.add(trial(1, family="masked"))
    assert ledger.add(trial(1, data="d2"))


def test_others_are_of_the_same_family_and_data(tmp_path: Path) -> None:
    """Of four trials of two families on two histories one is another of the first; one without a ratio counts too."""
    ledger = Trials(tmp_path / "trials.sqlite")
    for one in (trial(1), trial(2, sharpe=None), trial(3, family="masked"), trial(4, data="d2")):
        ledger.add(one)
    assert ledger.others(trial(1)) == [None]
    assert sorted(ledger.others(trial(9)), key=str) == [0.5, None]
    ledger.close()
    assert Trials(tmp_path / "trials.sqlite").others(trial(2)) == [0.5]


def described(ledger: Trials, data: str, first: int, last: int, symbols: tuple[str, ...] = COINS) -> None:
    ledger.describe(data, walk(last - first + 1, symbols, start_ms=START_MS + first * MINUTE_MS))


def test_others_are_those_that_share_coins_and_time(tmp_path: Path) -> None:
    """Parts of a history, and histories that reach into it, count; what only touches other times or coins does not."""
    ledger = Trials(tmp_path / "trials.sqlite")
    histories = {
        "whole": (0, 99), "part": (10, 20), "reaching": (99, 150), "behind": (100, 150), "unknown": None,
        "turned": (50, 60, COINS[::-1]), "fewer": (0, 99, COINS[:2]),
        "elsewhere": (0, 99, ("X/USDT", "Y/USDT")),
    }  # fmt: skip
    for number, (data, told) in enumerate(histories.items()):
        if told is not None:
            described(ledger, data, *told)
        ledger.add(trial(number, data=data, sharpe=float(number)))
    ledger.add(trial(1, family="masked", data="part"))
    assert sorted(ledger.others(trial(0, data="whole")), key=str) == [1.0, 2.0, 5.0, 6.0]
    assert sorted(ledger.others(trial(9, data="fewer")), key=str) == [0.0, 1.0, 2.0, 5.0, 6.0]
    assert ledger.others(trial(9, data="unknown")) == [4.0]
    assert sorted(ledger.others(trial(9, data="behind")), key=str) == [2.0, 3.0]


def test_a_history_that_is_described_again_reaches_from_the_first_to_the_last(tmp_path: Path) -> None:
    """Two trials that decided different slices of the same candles: both ranges count, before the file is opened or after."""
    path = tmp_path / "trials.sqlite"
    ledger = Trials(path)
    ledger.add(trial(1))
    ledger.add(trial(2, data="early"))
    described(ledger, "early", 0, 9)
    described(ledger, "d1", 50, 60)
    assert ledger.others(trial(1)) == []
    described(ledger, "d1", 5, 20)
    assert Trials(path).others(trial(1)) == [0.5]


def test_several_processes_count_together(tmp_path: Path) -> None:
    """Four processes with 20 settings each and 10 in common: 90 trials, each new to exactly one of them."""
    path = tmp_path / "trials.sqlite"
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        new = list(pool.map(_try_many, [(path, worker) for worker in range(4)]))
    assert sum(new) == 90
    assert len(Trials(path).others(trial(-99))) == 90


def test_what_is_no_ledger_is_refused_by_name(tmp_path: Path) -> None:
    """A file that is something else, and a folder, end with a sentence and exit code 74; the file is left as it was."""
    foreign = tmp_path / "notes.txt"
    foreign.write_text("not a database, and long enough to be read as a header of one" * 10)
    with pytest.raises(TrialsUnusable, match=r"notes\.txt") as refused:
        Trials(foreign)
    assert refused.value.exit_code == 74
    assert foreign.read_text().startswith("not a database")
    with pytest.raises(TrialsUnusable):
        Trials(tmp_path)


def test_a_table_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    """A database with another table of that name is not written to."""
    path = tmp_path / "other.sqlite"
    base = sqlite3.connect(path)
    base.execute("create table trials (what text)")
    base.commit()
    with pytest.raises(TrialsUnusable):
        Trials(path)
