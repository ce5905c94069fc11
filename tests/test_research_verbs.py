"""`lacuna walk-forward` and `lacuna sweep` as people and programs meet them."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner, Result

from bot.cli import main
from bot.research import train_model
from bot.simulator.synthetic import synthetic_panel
from tests.models.test_research import candle_folder

DAYS = 2
OWN = "strategies.masked-divergence."
EASY = (
    f"{OWN}divergence_threshold=0.003",
    f"{OWN}min_return_threshold=0",
    f"{OWN}round_trip_cost=0",
    "risk.daily_loss_max=0.9",
    "risk.drawdown_max=1",
)
PARAMS = (f"{OWN}divergence_threshold=0.002:0.006:log", f"{OWN}bet=reversion,continuation")
WALK = ("--train", "ridge", "--train-days", "0.5", "--test-days", "0.25")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two synthetic days of five coins, and a model fitted on the first 70 % of them."""
    folder = tmp_path_factory.mktemp("research")
    candle_folder(folder / "candles", synthetic_panel(5, DAYS * 1_440, 5))
    train_model("ridge", folder / "candles", folder / "ridge", 0.5)
    return folder


def words(there: Path, verb: str, *arguments: object, research: str = "research") -> list[str]:
    """A whole command line, with the candles and the easy settings."""
    given = [verb, *map(str, arguments)]
    given += [part for one in EASY for part in ("--set", one)]
    if "--candles" not in given:
        given += ["--candles", str(there / "candles")]
    if verb == "sweep":
        given += ["--model", str(there / "ridge")]
        if "--param" not in given:
            given += [part for one in PARAMS for part in ("--param", one)]
    return [*given, "--research", str(there / research)]


def lacuna(there: Path, verb: str, *arguments: object, research: str = "research") -> Result:
    return CliRunner().invoke(main, words(there, verb, *arguments, research=research))


def answer(there: Path, verb: str, *arguments: object, research: str = "research") -> dict[str, Any]:
    """What a verb that goes well puts on stdout."""
    result = lacuna(there, verb, *arguments, "--json", research=research)
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_walk_tells_its_folds_and_the_whole(there: Path) -> None:
    """Folds follow each other, the embargo lies between, and together they are the account that is judged."""
    found = answer(there, "walk-forward", *WALK)
    folds = found["folds"]
    embargo_ms = found["walk_forward"]["embargo"] * 60_000
    assert len(folds) >= 3
    assert embargo_ms > 240 * 60_000
    for fold, after in zip(folds, folds[1:] + [None], strict=True):
        assert fold["test_start_ms"] - fold["train_stop_ms"] == embargo_ms
        assert fold["fitted_ms"] < fold["train_stop_ms"]
        assert after is None or after["test_start_ms"] == fold["test_stop_ms"]
    assert found["first_ms"] == folds[0]["test_start_ms"]
    assert found["fills"] == sum(fold["fills"] for fold in folds) > 0
    assert found["hold"]["coins"] == 5
    assert found["verdict"]


def test_a_walk_is_the_same_by_two_processes_and_no_new_trial(there: Path) -> None:
    """The digest does not depend on the workers, and a walk repeated counts once."""
    one, two = answer(there, "walk-forward", *WALK), answer(there, "walk-forward", *WALK, "--workers", 2)
    assert one["digest"] == two["digest"]
    assert one["luck"]["trials"] == two["luck"]["trials"]


def test_an_anchored_walk_fits_on_all_that_came_before(there: Path) -> None:
    """Every train part begins with the candles."""
    folds = answer(there, "walk-forward", *WALK, "--anchored", "--embargo", 300)["folds"]
    assert len({fold["train_start_ms"] for fold in folds}) == 1
    assert len({fold["train_stop_ms"] for fold in folds}) == len(folds)


def test_a_walk_without_a_model_is_a_replay_in_parts(there: Path) -> None:
    """A strategy that needs no forecasts has folds and nothing fitted; people get a table and a report."""
    result = lacuna(
        there, "walk-forward", "--strategy", "hold", *WALK[2:], "--embargo", 0, "--report", there / "walk.html"
    )
    assert result.exit_code == 0, result.stderr
    assert "trained from" in result.stderr and "nothing is fitted" in result.stderr
    assert (there / "walk.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--train-days", "30", "--test-days", "7"], 78, "the candles have 2.00: give shorter"),
        (["--train-days", "0.001"], 78, "slices to fit on"),
        (["--train-days", "0.2", "--test-days", "0.0005"], 78, "slices to test on"),
        (["--train-days", "0.2", "--test-days", "0.0014"], 78, "are the most: test on longer parts"),
        (["--train-days", "0"], 2, "train-days"),
        (["--train-days", "nan"], 2, "no number"),
        (["--strategy", "hold", "--train", "ridge"], 78, "needs no forecasts"),
        (["--train", "rigde"], 2, "gaussian"),
        ([*WALK, "--symbols", "BTC/USDT"], 78, "give two"),
        ([*WALK, "--candles", "{there}/nothing"], 74, "does not exist"),
        ([*WALK, "--report", "{there}/none/report.html"], 78, "a folder that exists"),
    ],
)
def test_a_walk_that_cannot_be_is_refused_before_any_work(
    there: Path, arguments: list[str], code: int, said: str
) -> None:
    """One sentence with what to change, and the exit code of its kind."""
    result = lacuna(there, "walk-forward", *(one.format(there=there) for one in arguments))
    assert result.exit_code == code, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_sweep_tells_what_its_search_was_worth(there: Path) -> None:
    """The best trials and the settings as they were, on both parts, deflated by all trials, with a plain sentence."""
    found = answer(there, "sweep", "--trials", 6, "--best", 2, "--name", "worth", research="worth")
    assert found["trials"] == 6
    assert 1 <= len(found["best"]) <= 2
    assert found["best"][0]["params"].keys() == {one.partition("=")[0] for one in PARAMS}
    assert found["default"]["params"] == {}
    assert found["best"][0]["held_out"]["first_ms"] == found["held_out_from_ms"] > found["searched_from_ms"]
    assert found["best"][0]["held_out"]["settings"]["model"]
    assert 0 <= found["overfitting"]["probability"] <= 1
    assert found["verdict"].startswith("The best of 6 trials")
    assert "not distinguishable from luck" in found["verdict"]
    again = lacuna(there, "sweep", "--trials", 6, "--best", 2, "--name", "worth", research="worth")
    assert again.exit_code == 0
    assert found["verdict"] in again.stderr


def test_a_search_counts_when_the_whole_range_is_judged(there: Path) -> None:
    """A backtest of candles that were searched and held out before is one trial more than all of that."""
    found = answer(there, "sweep", "--trials", 3, "--best", 1, research="whole range")
    ledger = there / "whole range" / "trials.sqlite"
    before = told(ledger)
    assert before == 3 + 1 + 2  # the search, the settings as they were, and both on the held-out part
    assert found["held_out_trials"] == 2
    judged = answer(there, "backtest", "--model", there / "ridge", research="whole range")
    assert judged["first_ms"] == found["searched_from_ms"]
    assert judged["luck"]["trials"] == told(ledger) == before + 1


def test_a_search_that_goes_on_says_that_it_looked_before(there: Path) -> None:
    """Every look at the held-out part counts for all that follow; the first run has none behind it."""
    first = lacuna(there, "sweep", "--trials", 2, "--best", 2, research="looks")
    assert first.exit_code == 0 and "looked at the held-out part before" not in first.stderr
    whole = answer(there, "sweep", "--trials", 8, "--best", 1, research="looks")
    looks = whole["held_out_trials"]
    assert looks >= 3
    again = lacuna(there, "sweep", "--trials", 8, "--best", 1, research="looks")
    assert f"other trials that looked at the held-out part before: {looks - 2}" in again.stderr


@pytest.mark.parametrize("verb", ["backtest", "lookahead", "parity", "walk-forward", "sweep"])
def test_every_verb_of_research_asks_alike(verb: str) -> None:
    """What is replayed is said in the same words to all of them; an account is for those that judge one."""
    said = CliRunner().invoke(main, [verb, "--help"]).stdout
    options = ["strategy", "candles", "symbols", "timerange", "hole-max", "config", "set", "json"]
    options += [] if verb == "walk-forward" else ["model"]
    options += ["capital", "fee", "research"] if verb in ("backtest", "walk-forward", "sweep") else []
    options += ["report"] if verb in ("backtest", "walk-forward") else []
    assert [option for option in options if f"  --{option} " not in said] == []
    assert "Example: lacuna" in said
    assert ("fills.csv" in said) == ("report" in options)


def told(ledger: Path) -> int:
    """The trials in a ledger that may not be there yet."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as base:
            return int(base.execute("select count(*) from trials").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


@pytest.mark.slow
def test_a_killed_sweep_goes_on(there: Path) -> None:
    """SIGKILL in the midst of it: its workers clear up and end too, and the same command ends as if nothing had been."""
    arguments = ("--trials", 12, "--best", 1, "--workers", 2)
    command = [sys.executable, "-m", "bot.cli", *words(there, "sweep", *arguments, research="killed")]
    (there / "temporary").mkdir()
    environment = os.environ | {"TMPDIR": str(there / "temporary")}
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
    while process.poll() is None and told(there / "killed" / "trials.sqlite") < 3:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    process.wait()
    assert not psutil.wait_procs(children, timeout=20)[1]
    assert not list((there / "temporary").glob("lacuna-*"))
    killed, whole = (answer(there, "sweep", *arguments, research=name) for name in ("killed", "whole"))
    assert killed["trials"] == whole["trials"] == 12
    assert killed["verdict"] == whole["verdict"]
    assert [one["params"] for one in killed["best"]] == [one["params"] for one in whole["best"]]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--param", f"{OWN}divergence_treshold=0.1:0.2"], 78, f"did you mean {OWN}divergence_threshold?"),
        (["--param", "risk.stop_loss=0.1:2"], 78, "less than 1"),
        (["--param", "account.fee_bps=0:10"], 78, "and nothing else"),
        (["--validate", "0.95"], 2, "validate"),
        (["--trials", "0"], 2, "trials"),
        (["--name", "../x"], 78, "use letters"),
        (["--name", "taken", "--seed", "2"], 78, "another seed"),
        (["--name", "taken", "--fee", "0"], 78, "another settings"),
        (["--name", "taken", "--param", "risk.stop_loss=0.1:0.2"], 78, "another param"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_before_any_work(
    there: Path, arguments: list[str], code: int, said: str
) -> None:
    """One sentence with what to change; a study of something else under the same name is not mixed with this one."""
    if "taken" in arguments:
        assert lacuna(there, "sweep", "--trials", 1, "--name", "taken").exit_code == 0
    result = lacuna(there, "sweep", "--trials", 1, *arguments)
    assert result.exit_code == code, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_settings_that_allow_no_trial_are_said(there: Path) -> None:
    """A range of which no part goes with the rest is refused, whatever its ends look like alone."""
    result = lacuna(there, "sweep", "--trials", 2, "--param", f"{OWN}z_exit=2.5:3", "--param", f"{OWN}z_entry=1:2")
    assert result.exit_code == 78
    assert "no combination" in result.stderr
