"""The command line as people and programs meet it: help, one JSON object, exit codes, a whole demo, its end by signal."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from bot.cli import main
from bot.edge.demo_folder import MARKER
from bot.edge.encoding import encode_commands
from bot.edge.lock import FolderLock
from bot.edge.store import Store, checksum
from bot.simulator.synthetic import synthetic_panel
from tests.models.markets import market
from tests.models.test_research import candle_folder
from tests.recording import record

HEAVY = ("torch", "ccxt", "numpy", "pyarrow", "scipy", "pydantic", "aiohttp", "websockets", "sqlite_utils", "structlog")
OUTCOME = {
    "slices",
    "slices_late",
    "decisions",
    "orders",
    "fills",
    "rejected",
    "equity",
    "cash",
    "positions",
    "faults",
    "journal",
    "digest",
    "remarks",
}
LIVELY = {
    "market.window": 20,
    "risk.volatility_max": 0,
    "strategies.masked-divergence.divergence_threshold": 0.0005,
    "strategies.masked-divergence.min_return_threshold": 0,
    "strategies.masked-divergence.confidence_min": 0,
    "strategies.masked-divergence.window": 20,
    "strategies.masked-divergence.round_trip_cost": 0,
    "storage.reserve_mib": 0,
}
STOP_WITHIN_S = 8.0  # fault P1
PATIENCE_S = 60.0
Finished = subprocess.CompletedProcess[str]


def lacuna(*arguments: object, **variables: str) -> Finished:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "bot.cli", *map(str, arguments)]
    environment = os.environ | variables
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=PATIENCE_S)


def the_object(done: Finished) -> dict[str, Any]:
    """What a verb said with --json: exactly one line, one object."""
    assert done.stdout.count("\n") == 1 and done.stdout.endswith("\n"), done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def verbs() -> Iterator[tuple[str, ...]]:
    """Every verb there is, with its group's name before it."""
    for name, command in main.commands.items():
        if isinstance(command, click.Group):
            yield from ((name, inner) for inner in command.commands)
        else:
            yield (name,)


def sets(**settings: object) -> list[str]:
    return [f"--set={name.replace('__', '.')}={value}" for name, value in settings.items()]


LIVELY_SETS = [f"--set={name}={value}" for name, value in LIVELY.items()]


# -- help


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), *((*verb, "--help") for verb in verbs())])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    """`--help` answers at once, because of what it does not load."""
    line = "import atexit, sys; atexit.register(lambda: print([*sys.modules], file=sys.stderr)); from bot.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", line, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = done.stderr
    assert "'click'" in loaded
    assert [name for name in HEAVY if f"'{name}'" in loaded] == []
    if len(arguments) > 1:
        assert "Example: lacuna" in done.stdout


def test_help_takes_little_of_a_processor() -> None:
    """Under half a second of processor time, the interpreter's own start included."""
    before = os.times()
    assert lacuna("--help").returncode == 0
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    assert used < 0.5


# -- exit codes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nonsense",), "No such command"),
        (("run", "--set", "foo"), "write it as SECTION.KEY=VALUE"),
        (("demo", "--speed", "nan"), "--speed"),
        (("demo", "--speed", "0"), "--speed"),
        (("demo", "--minutes", "-1"), "--minutes"),
        (("demo", "--coins", "1"), "--coins"),
        (("demo", "--fault", "X9@+1s"), "no fault 'X9' here"),
        (("exchange", "--port", "70000"), "--port"),
        (("exchange", "--fault", "bogus"), "write a fault as"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...], said: str) -> None:
    """What was wrong stands on stderr, without a traceback."""
    done = lacuna(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_setting_ends_with_78_wherever_it_comes_from() -> None:
    """File, environment and command line: all errors at once, each with its path."""
    done = lacuna("show-config", *sets(market__windows=3, risk__order_max=2), LACUNA__FEED__SILENCE_S="none")
    assert (done.returncode, done.stdout) == (78, "")
    for text in ("market.windows: no such setting, did you mean market.window?", "risk.order_max", "feed.silence_s"):
        assert text in done.stderr
    assert lacuna("show-config", "--config", "nowhere.toml").returncode == 78


def test_a_folder_in_use_ends_with_75(tmp_path: Path) -> None:
    """Fault P16: neither run nor demo touches a folder another bot lives in."""
    (tmp_path / "lacuna.sqlite").write_bytes(b"theirs")
    lock = FolderLock(tmp_path)
    quiet = sets(storage__folder=tmp_path, web__port=-1)
    coins = sets(market__symbols='["BTC/USDT","ETH/USDT"]', forecaster__model="market")
    run = lacuna("run", *quiet, *coins)
    (tmp_path / MARKER).write_text("")  # as if a demo had made it: any other folder it does not even look at
    for done in (run, lacuna("demo", "--coins", 3, *quiet)):
        assert done.returncode == 75, done.stderr
        assert f"another bot is running on {tmp_path}" in done.stderr
    lock.release()
    assert (tmp_path / "lacuna.sqlite").read_bytes() == b"theirs"


def test_a_folder_that_cannot_be_ends_with_74(tmp_path: Path) -> None:
    """Fault P29: below a file there is no folder; what to do is said."""
    (tmp_path / "file").write_text("")
    coins = sets(market__symbols='["BTC/USDT","ETH/USDT"]', forecaster__model="market", web__port=-1)
    done = lacuna("run", *coins, *sets(storage__folder=tmp_path / "file" / "data"))
    assert done.returncode == 74
    assert "set storage.folder to one you own" in done.stderr


@pytest.mark.parametrize("verb", ["replay", "status"])
def test_a_folder_without_a_journal_ends_with_78(tmp_path: Path, verb: str) -> None:
    """Who names a wrong folder is told so; nothing is made in it."""
    done = lacuna(verb, tmp_path, "--json")
    assert (done.returncode, done.stdout) == (78, "")
    assert "name the data folder of a bot that has run" in done.stderr
    assert list(tmp_path.iterdir()) == []


async def test_a_replay_that_differs_ends_with_1(tmp_path: Path) -> None:
    """The first difference is named; one session alone can be asked for, one that is not there is wrong usage."""
    await record(tmp_path, minutes=5)
    with Store(tmp_path) as store:
        session = store.sessions()[-1].id
        row = next(one for one in store.rows(session) if len(one.record) > 10 and one.commands)
    assert the_object(lacuna("replay", tmp_path, "--json", "--session", session))["identical"] is True
    assert lacuna("replay", tmp_path, "--session", session + 1).returncode == 2
    _forge(tmp_path, row.session, row.seq)
    done = lacuna("replay", tmp_path, "--json")
    assert done.returncode == 1
    found = the_object(done)
    assert found["identical"] is False
    assert found["first_difference"].startswith(f"session {row.session} row {row.seq}: ")


def _forge(folder: Path, session: int, seq: int) -> None:
    """Makes the journal say that this event led to nothing, with a checksum that agrees."""
    forged = encode_commands([])
    with sqlite3.connect(folder / "lacuna.sqlite") as disk:
        (now_ms, event) = disk.execute(
            "select now_ms, event from journal where (session, seq) = (?, ?)", (session, seq)
        ).fetchone()
        values = (forged, checksum(session, seq, now_ms, event, forged), session, seq)
        disk.execute("update journal set commands = ?, checksum = ? where (session, seq) = (?, ?)", values)
    disk.close()


# -- candles and models that do not fit


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder.mkdir(), "is empty"),
        (lambda folder: None, "does not exist"),
        (lambda folder: folder.write_text("x"), "is a file, not a folder"),
        (lambda folder: folder.mkdir() or (folder / "BTCUSDT.parquet").write_text("x"), "BTCUSDT.parquet"),
    ],
)
def test_candles_that_cannot_be_read_are_told_with_what_to_do(tmp_path: Path, make: Any, said: str) -> None:
    """Exit 74 for demo, train and exchange; nothing is written."""
    candles = tmp_path / "candles"
    make(candles)
    model = tmp_path / "model"
    for arguments in (("demo",), ("exchange",), ("train", "gaussian", "--out", model)):
        done = lacuna(*arguments, "--candles", candles)
        assert done.returncode == 74, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert not model.exists()


def test_a_model_of_another_universe_is_refused_by_name(tmp_path: Path) -> None:
    """Fault C7: exit 78 with what the model lacks and what it has besides, and how to go on."""
    candles = candle_folder(tmp_path / "candles", market(2_000, 4))
    trained = the_object(lacuna("train", "gaussian", "--candles", candles, "--out", tmp_path / "model", "--json"))
    assert trained["coins"] == 4
    names = json.loads((tmp_path / "model" / "config.json").read_text())["symbols"]
    wanted = json.dumps([*names[:3], "XMR/USDT"])
    done = lacuna(
        "run", *sets(market__symbols=wanted, forecaster__model=tmp_path / "model", storage__folder=tmp_path / "data")
    )
    assert done.returncode == 78, done.stderr
    assert f"it lacks XMR/USDT, it also has {names[3]}" in done.stderr
    assert "market.symbols = []" in done.stderr
    assert "forecaster.intersect = true" in done.stderr
    assert not (tmp_path / "data").exists()
    done = lacuna(
        "demo", "--candles", candle_folder(tmp_path / "less", market(2_000, 3)), "--model", tmp_path / "model"
    )
    assert done.returncode == 78
    assert f"lack {names[3]}" in done.stderr


# -- one object


def test_show_config_is_one_object_of_all_sections() -> None:
    """What is set on the command line is in it."""
    found = the_object(lacuna("show-config", "--json", *sets(market__window=33)))
    assert found["market"]["window"] == 33
    assert {"mode", "exchange", "market", "feed", "account", "risk", "planner", "storage", "web", "logs"} <= set(found)


@pytest.mark.slow
def test_a_demo_runs_offline_from_end_to_end(tmp_path: Path) -> None:
    """`lacuna demo` trades a synthetic market for some seconds and says what it did; its journal replays, its status reads."""
    quiet = sets(storage__folder=tmp_path, web__port=-1)
    done = lacuna("demo", "--minutes", 0.15, "--speed", 120, "--coins", 8, "--json", *quiet, *LIVELY_SETS)
    assert done.returncode == 0, done.stderr
    found = the_object(done)
    assert set(found) == OUTCOME
    assert found["slices"] >= found["decisions"] > 5
    assert found["fills"] > 0
    assert found["journal"] == str(tmp_path)
    replayed = the_object(lacuna("replay", tmp_path, "--json"))
    assert (replayed["identical"], replayed["problems"]) == (True, [])
    held = the_object(lacuna("status", tmp_path, "--json"))["positions"]
    assert {symbol: row["quantity"] for symbol, row in held.items()} == found["positions"]


# -- ports and signals


def test_the_simulated_exchange_names_a_taken_port() -> None:
    """Exit 78 and a sentence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = lacuna("exchange", "--coins", 3, "--port", taken.getsockname()[1])
    assert done.returncode == 78
    assert "is taken: choose another" in done.stderr


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day of eight coins: fitting on it takes a moment."""
    return candle_folder(tmp_path_factory.mktemp("cli") / "candles", synthetic_panel(8, 1_500, 7))


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_running_demo_stops_at_a_signal_with_everything_on_disk(
    tmp_path: Path, candles: Path, first: signal.Signals
) -> None:
    """Faults P1, Q6: a taken web port is a warning; the signal ends it with 0 in 8 s, its one object, a whole journal."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        demo = started(tmp_path, candles, f"--set=web.port={taken.getsockname()[1]}")
        demo.send_signal(first)
        said, errors = demo.communicate(timeout=STOP_WITHIN_S)
    assert demo.returncode == 0, errors
    found = the_object(Finished(demo.args, 0, said, errors))
    assert set(found) == OUTCOME
    assert found["orders"] > 0
    assert found["faults"]["Q6"] == 1
    assert "is taken: set web.port to another" in errors
    replayed = the_object(lacuna("replay", tmp_path, "--json"))
    assert (replayed["identical"], replayed["problems"], replayed["sessions"]) == (True, [], 1)
    with Store(tmp_path) as store:
        assert store.sessions()[-1].exit == "stopped"
        assert len(store.newest("fills")) == found["fills"]


def test_the_second_signal_ends_a_demo_at_once(tmp_path: Path, candles: Path) -> None:
    """Fault P2: SIGTERM, then SIGINT: exit 1 without a last word; what was on disk is whole."""
    demo = started(tmp_path, candles, "--set=web.port=-1")
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):  # stopped: it sees both together
        demo.send_signal(number)
    said, errors = demo.communicate(timeout=STOP_WITHIN_S)
    assert (demo.returncode, said) == (1, ""), errors
    assert the_object(lacuna("replay", tmp_path, "--json"))["problems"] == []
    with Store(tmp_path) as store:
        assert store.sessions()[-1].ended_ms is None


def started(folder: Path, candles: Path, *arguments: str) -> "subprocess.Popen[str]":
    """A demo that has made orders."""
    quiet = sets(storage__folder=folder)
    command = [sys.executable, "-m", "bot.cli", "demo", "--candles", str(candles), "--speed", "120", "--json"]
    demo = subprocess.Popen(
        [*command, *quiet, *arguments, *LIVELY_SETS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + PATIENCE_S
    while not _ordered(folder):
        assert demo.poll() is None, demo.communicate()[1]
        assert time.monotonic() < until, "the demo does not trade"
        time.sleep(0.1)
    return demo


def _ordered(folder: Path) -> bool:
    if not (folder / "lacuna.sqlite").exists():
        return False
    with Store(folder) as store:
        return bool(store.newest("fills"))
