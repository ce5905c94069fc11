"""`lacuna train volatility` from a folder of candles to a model that forecasts."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from bot.cli import main
from bot.config import BadConfiguration
from bot.core.market import FIELDS, HOUR_MS, Panel
from bot.volatility_training import Asked, train_volatility
from models.checkpoint import digest, load_volatility
from models.make_volatility import BESIDE
from models.training_log import Line, read
from models.volatility_baselines import fit_baseline
from models.volatility_scores import qlike
from tests.models.hours import START_MS, equal
from tests.models.test_research import candle_folder
from tests.models.test_walk_forward_volatility import gone, spoiled
from tests.models.volatile import volatile

ROOT = Path(__file__).parents[1]
PANEL = volatile(2_800, 3, seed=4)
VALIDATION = int(0.85 * len(PANEL))
VALIDATION_MS = int(PANEL.open_ms[VALIDATION])
REAL = ROOT / "../shared/data/binance_spot_1h_full"
TOLD = {
    "architecture",
    "preset",
    "folder",
    "symbols",
    "hours",
    "start_ms",
    "stop_ms",
    "validation_ms",
    "scored",
    "validation",
    "baselines",
    "walk_forward",
    "steps",
    "seconds",
    "digest",
}


def arguments(candles: Path, out: Path, *options: str) -> list[str]:
    return ["train", "volatility", "--candles", str(candles), "--out", str(out), "--device", "cpu", *options]


def train(candles: Path, out: Path, *options: str) -> Result:
    return CliRunner().invoke(main, arguments(candles, out, "--json", *options))


def made(candles: Path, out: Path, *options: str) -> dict[str, Any]:
    done = train(candles, out, *options)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return candle_folder(tmp_path_factory.mktemp("volatility") / "candles", PANEL)


@pytest.fixture(scope="module")
def simple(candles: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("simple") / "mine"
    return made(candles, folder, "--preset", "har-panel"), folder


@pytest.fixture(scope="module")
def network(candles: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("network") / "mine"
    return made(candles, folder, "--preset", "direct", "--tune", "C1/USDT"), folder


def test_a_baseline_is_a_model_folder_too(simple: tuple[dict[str, Any], Path]) -> None:
    """It says what it was fitted on and how it did; loaded, it forecasts what the baseline does that was fitted here."""
    told, folder = simple
    assert set(told) == TOLD and told["digest"] == digest(folder)
    assert (told["architecture"], told["hours"], told["steps"]) == ("har", len(PANEL), 0)
    assert (told["start_ms"], told["stop_ms"]) == (START_MS, int(PANEL.open_ms[-1]))
    assert set(told["baselines"]) == {*BESIDE} - {"har-panel"} and told["scored"] == "the mean of 3 coins"
    config = json.loads((folder / "config.json").read_text())
    assert config["data"]["validation_ms"] == told["validation_ms"] == VALIDATION_MS
    assert config["metrics"]["validation_qlike"] == told["validation"]["qlike"]
    assert (
        config["metrics"]["validation_qlike_ewma"] == told["baselines"]["ewma"]["qlike"] > told["validation"]["qlike"]
    )
    assert "--preset har-panel" in config["command"] and "not where to" in (folder / "README.md").read_text()
    wanted = fit_baseline("har-panel", PANEL, VALIDATION_MS).forecast_panel(PANEL, 2_000)
    assert equal(load_volatility(folder).forecast_panel(PANEL, 2_000).volatility, wanted.volatility)


def test_a_network_is_trained_tuned_and_saved(network: tuple[dict[str, Any], Path]) -> None:
    """On all coins, then on one; it beats the moving average there, and leaves a log of each training."""
    told, folder = network
    assert (told["architecture"], told["scored"], told["digest"]) == ("sph-net", "C1/USDT", digest(folder))
    assert told["validation"]["qlike"] < told["baselines"]["ewma"]["qlike"] and set(told["baselines"]) == {*BESIDE}
    for stage in ("panel-1", "tuned-1"):
        left = folder.with_name("mine.training") / stage
        lines = read(left)
        assert lines[-1].lr > 0 and set(lines[-1].scores) == {
            "score",
            "qlike",
            "rmse",
            "mae",
            "mape",
            "r2",
            "direction",
        }
        assert list((left / "tensorboard").glob("events.*"))
    assert told["steps"] == sum(
        read(folder.with_name("mine.training") / one)[-1].step for one in ("panel-1", "tuned-1")
    )
    found = load_volatility(folder, "cpu").forecast_panel(PANEL.rows(0, 1_000), 950)
    assert np.isfinite(found.volatility).all() and not found.fallback.any()


def test_the_same_command_again_trains_nothing_anew(network: tuple[dict[str, Any], Path], candles: Path) -> None:
    """What is done is done: the same folder comes out. Another validation is another training, refused there."""
    options = ("--preset", "direct", "--tune", "C1/USDT")
    done = train(candles, network[1], *options)
    assert done.exit_code == 0 and "going on after step" in done.stderr
    assert json.loads(done.stdout)["digest"] == network[0]["digest"] == digest(network[1])
    other = train(candles, network[1], *options, "--validation", "20240220")
    assert (other.exit_code, "other settings" in other.output) == (78, True), other.output
    assert digest(network[1]) == network[0]["digest"]


def test_an_ensemble_holds_a_network_for_each_seed(candles: Path, tmp_path: Path) -> None:
    """Seeds follow each other from --seed on, and all of their steps are counted; one coin alone is enough."""
    told = made(candles, tmp_path / "mine", "--preset", "direct", "--symbols", "C2USDT", "--seeds", "2", "--seed", "5")
    config = json.loads((tmp_path / "mine" / "config.json").read_text())
    assert config["settings"]["modules"] == 2 and told["symbols"] == ["C2/USDT"] and told["scored"] == "C2/USDT"
    several = [read(tmp_path / "mine.training" / f"panel-{seed}") for seed in (5, 6)]
    assert told["steps"] == sum(lines[-1].step for lines in several) and several[0][-1].loss != several[1][-1].loss


def test_what_is_outside_the_range_changes_nothing(candles: Path, tmp_path: Path) -> None:
    """Hours from the range's end on may be anything: the same model comes out, to the bit."""
    changed = spoiled(PANEL, slice(2_500, None), 0, open=5.0, high=500.0, low=0.01, close=60.0)
    later = candle_folder(tmp_path / "later", changed)
    days = np.datetime64(START_MS, "ms").astype("datetime64[D]") + np.array([10, 100])
    options = ("--preset", "har-plus", "--timerange", "-".join(str(day).replace("-", "") for day in days))
    first, second = made(candles, tmp_path / "a", *options), made(later, tmp_path / "b", *options)
    assert first["digest"] == second["digest"] and first["hours"] == 90 * 24
    whole = [made(one, tmp_path / name, "--preset", "har-plus") for one, name in ((candles, "c"), (later, "d"))]
    assert len({one["digest"] for one in (first, *whole)}) == 3


def test_shorter_candles_are_made_into_hours(candles: Path, tmp_path: Path) -> None:
    """Quarters of hours give the model that the hours give, and say so."""
    quarters = candle_folder(tmp_path / "quarters", in_quarters(PANEL))
    done = train(quarters, tmp_path / "mine", "--preset", "har-panel")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert "2800 complete hours are made of 15-minute candles" in done.stderr and "data resample" in done.stderr
    assert told["digest"] == made(candles, tmp_path / "hours", "--preset", "har-panel")["digest"]


def in_quarters(hours: Panel) -> Panel:
    """Candles of 15 minutes: all happens in the first, the others stand at its close."""
    rows = 4 * len(hours)
    fields = [np.repeat(hours.close, 4, axis=0) for _ in FIELDS]
    for name, field in zip(FIELDS, fields, strict=True):
        if name == "volume":
            field[:] = 0.0
        field[::4] = getattr(hours, name)
    open_ms = hours.open_ms[0] + HOUR_MS // 4 * np.arange(rows, dtype=np.int64)
    opened, high, low, close, volume = fields
    return Panel(hours.symbols, HOUR_MS // 4, open_ms, opened, high, low, close, volume, volume > 0)


def test_coins_with_too_little_are_left_out_and_named(tmp_path: Path) -> None:
    """Unless they are asked for: then nothing is fitted."""
    folder = candle_folder(tmp_path / "young", gone(PANEL, slice(0, 2_000), 2))
    done = train(folder, tmp_path / "mine", "--preset", "ewma")
    assert done.exit_code == 0, done.output
    assert (
        json.loads(done.stdout)["symbols"] == ["C0/USDT", "C1/USDT"] and "left out: C2/USDT: 380 hours" in done.stderr
    )
    for options in (("--symbols", "C0/USDT,C2/USDT"), ("--tune", "C2USDT")):
        refused = train(folder, tmp_path / "other", "--preset", "ewma", *options)
        assert (refused.exit_code, "C2/USDT: 380 hours to learn from" in refused.output) == (78, True), refused.output
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--preset", "sph-nett"), 78, "did you mean sph-net?"),
        (("--preset", "harpanel"), 78, "did you mean har-panel?"),
        (("--preset", "xyz"), 78, "there are sph-net"),
        (("--preset", "ewma", "--seeds", "2"), 78, "leave out --seeds"),
        (("--preset", "published", "--tune", "C0/USDT"), 78, "with --symbols"),
        (("--symbols", "C0/USDT,C9/USDT"), 74, "no candles of C9/USDT"),
        (("--tune", "C8/USDT"), 78, "did you mean"),
        (("--tune", "C8"), 78, "write it as BTC/USDT"),
        (("--validation", "20200101"), 78, "outside of the hours"),
        (("--validation", "2024"), 2, "20240101-20240201"),
        (("--validation", "20240101-20240201"), 2, "write the first one"),
        (("--timerange", "20240101-20240201"), 78, "hours to learn from"),
        (("--timerange", "20300101-"), 74, "ask for a range inside"),
        (("--walk-forward", "3", "--embargo", "900"), 78, "fold 1 of 3 begins too early"),
        (("--walk-forward", "400"), 78, "take fewer"),
        (("--walk-forward", "1", "--embargo", "100000"), 78, "no hours are left before fold 1 of 1"),
        (("--seeds", "0"), 2, "seeds"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    candles: Path, tmp_path: Path, options: tuple[str, ...], code: int, says: str
) -> None:
    """With a sentence that says what to change, and nothing written."""
    done = train(candles, tmp_path / "mine", *options)
    assert (done.exit_code, says in done.output) == (code, True), done.output
    assert not list(tmp_path.glob("mine*"))


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        (spoiled(PANEL, slice(None), slice(None), volume=0.0), 78, "never moved"),  # type: ignore[arg-type]
        (spoiled(PANEL, slice(500, 501), 1, high=np.inf), 74, "high is no price above zero"),
        (replace(PANEL, open_ms=START_MS // 86_400_000 * 86_400_000 + 24 * (PANEL.open_ms - START_MS)), 78, "fetch 1h"),
        (PANEL.rows(0, 1_200), 78, "hours to learn from"),
    ],
)
def test_candles_that_cannot_teach_are_refused(tmp_path: Path, given: Panel, code: int, says: str) -> None:
    """No volume at all, an impossible price, days, too few."""
    done = train(candle_folder(tmp_path / "candles", given), tmp_path / "mine", "--preset", "direct")
    assert (done.exit_code, says in done.output) == (code, True), done.output
    assert not list(tmp_path.glob("mine*"))


def test_a_folder_of_something_else_is_left_alone(candles: Path, tmp_path: Path) -> None:
    """It is refused before anything is read."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear")
    done = train(candles, tmp_path / "mine", "--preset", "ewma")
    assert (done.exit_code, "name a new folder" in done.output) == (78, True), done.output
    assert (tmp_path / "mine" / "diary.txt").read_text() == "dear"


@pytest.mark.parametrize("out", ["/dev/null/x/mine", "/proc/mine", "/dev/null"])
def test_where_nothing_can_be_written_nothing_is_begun(tmp_path: Path, out: str) -> None:
    """A sentence before the candles are looked for, and the exit code of whatever cannot be written."""
    done = train(tmp_path / "nowhere", Path(out), "--preset", "ewma")
    assert done.exit_code == (78 if out == "/dev/null" else 74), done.output
    assert ("something that is no model" if out == "/dev/null" else f"{out} cannot be written: ") in done.output
    fresh = train(tmp_path / "nowhere", tmp_path / "new" / "deeper" / "mine", "--preset", "ewma")
    assert "nowhere does not exist" in fresh.output and not (tmp_path / "new").exists()


def test_a_list_of_no_coins_is_refused(candles: Path, tmp_path: Path) -> None:
    """`--symbols ,` names none, which is not the same as all; a comma too many does no harm."""
    asked = Asked(candles, tmp_path / "mine", "har-panel", ("", " "), None, "-", "", 1, 1, None, 168, "cpu")
    with pytest.raises(BadConfiguration, match="--symbols names no coin"):
        train_volatility(asked)
    assert not list(tmp_path.iterdir())
    done = train_volatility(msgspec.structs.replace(asked, symbols=("C1/USDT", "")))
    assert done is not None and done[0]["symbols"] == ("C1/USDT",)


def test_a_walk_forward_is_on_the_card_and_its_forecasts_are_kept(candles: Path, tmp_path: Path) -> None:
    """The figures follow from the Parquet; the model is the one that no walk would have changed."""
    options = ("--preset", "har-panel", "--timerange", "-", "--validation", "20240229")
    told = made(candles, tmp_path / "mine", *options, "--walk-forward", "2", "--embargo", "24", "--tune", "C0/USDT")
    walk, config = told["walk_forward"], json.loads((tmp_path / "mine" / "config.json").read_text())
    assert (walk["folds"], walk["embargo_hours"], walk["start_ms"]) == (2, 24, told["validation_ms"])
    assert config["metrics"]["walk_forward_qlike"] == walk["model"]["qlike"]
    assert config["metrics"]["walk_forward_qlike_ewma"] == walk["baselines"]["ewma"]["qlike"]
    found = pq.read_table(tmp_path / "mine.training" / "walk-forward.parquet").to_pandas()
    assert len(found) == 3 * walk["hours"] and sorted(found["fold"].unique()) == [1, 2]
    own = found[found["symbol"] == "C0/USDT"]
    for column, score in (("volatility", walk["model"]), ("volatility_ewma", walk["baselines"]["ewma"])):
        losses = qlike(own[column].to_numpy(), own["actual"].to_numpy())
        assert losses.mean() == pytest.approx(score["qlike"], rel=1e-12)
    without = fit_baseline("har-panel", PANEL, told["validation_ms"])
    for name, array in load_volatility(tmp_path / "mine").tensors().items():
        assert equal(array, without.tensors()[name]), name


def test_people_get_a_table(candles: Path, tmp_path: Path) -> None:
    """With every baseline in it, and both kinds of score."""
    options = ("--preset", "har-plus", "--walk-forward", "1", "--validation", "20240229")
    done = CliRunner().invoke(main, arguments(candles, tmp_path / "mine", *options))
    assert done.exit_code == 0, done.output
    assert not done.stdout and done.stderr.count("har-panel") == done.stderr.count("har-plus *") == 2
    assert "validation from 2024-02-29" in done.stderr and "1 fold from 2024-02-29" in done.stderr


def test_torchrun_is_for_networks(candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A baseline is fitted by one process, and says so."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    done = train(candles, tmp_path / "mine", "--preset", "ewma")
    assert (done.exit_code, "leave out torchrun" in done.output) == (78, True), done.output


@pytest.mark.slow
def test_kills_change_no_bit(candles: Path, tmp_path: Path) -> None:
    """SIGKILL in a fold, in the training of all coins and in that of one: the logs and the model are those of one run."""
    options = ("--preset", "direct", "--tune", "C0/USDT", "--walk-forward", "1", "--validation", "20240229")
    whole = made(candles, tmp_path / "whole", *options)
    for part, step in (("fold-1/panel-1", 6), ("panel-1", 6), ("tuned-1", 6)):
        killed_at(step, candles, tmp_path / "mine", tmp_path / "mine.training" / part, options)
    rest = made(candles, tmp_path / "mine", *options)
    assert rest["digest"] == whole["digest"] and rest["walk_forward"] == whole["walk_forward"]
    for part in ("fold-1/panel-1", "fold-1/tuned-1", "panel-1", "tuned-1"):
        assert lines_of(tmp_path / "mine.training" / part) == lines_of(tmp_path / "whole.training" / part)


KILLED = """
import os, pathlib, signal, sys
import rich.progress
from models.training_log import read

log, step = pathlib.Path(sys.argv[1]), int(sys.argv[2])

class Bar(rich.progress.Progress):  # is told of every step, whatever the pace
    def update(self, *given, **named):
        super().update(*given, **named)
        if any(line.step >= step for line in read(log)):
            os.kill(os.getpid(), signal.SIGKILL)

rich.progress.Progress = Bar
from bot.cli import main
main(sys.argv[3:])
"""


def killed_at(step: int, candles: Path, out: Path, log: Path, options: tuple[str, ...]) -> None:
    """Starts it; it kills itself at the first step of the optimiser that finds the log at this step or later."""
    command = [sys.executable, "-c", KILLED, str(log), str(step), *arguments(candles, out, *options)]
    done = subprocess.run(command, check=False, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=900)
    assert done.returncode == -signal.SIGKILL


def lines_of(folder: Path) -> list[Line]:
    return [replace(line, seconds=0.0) for line in read(folder)]


@pytest.mark.slow
def test_two_processes_train_one_model(candles: Path, tmp_path: Path) -> None:
    """Under torchrun one of them is heard, and the folder is whole."""
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "bot.cli"]
    options = (
        "--json",
        "--preset",
        "direct",
        "--symbols",
        "C0/USDT",
        "--walk-forward",
        "1",
        "--validation",
        "20240229",
    )
    done = subprocess.run(
        [sys.executable, *run, *arguments(candles, tmp_path / "mine", *options)],
        check=False,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    assert told["digest"] == digest(tmp_path / "mine")
    assert told["validation"]["qlike"] < told["baselines"]["ewma"]["qlike"]


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not here")
def test_real_hours_make_a_model_as_good_as_was_found(tmp_path: Path) -> None:
    """Ten coins to 2024-10 in three folds: HAR's QLIKE on hours never seen is near that of validation, far from EWMA's."""
    options = ("--preset", "har-panel", "--timerange", "20220101-20241101", "--validation", "20240801")
    told = made(REAL, tmp_path / "mine", *options, "--walk-forward", "3")
    assert (told["hours"], len(told["symbols"]), told["walk_forward"]["hours"]) == (24_840, 10, 2_208)
    assert told["validation"]["qlike"] == pytest.approx(0.375, abs=0.003)
    assert told["walk_forward"]["model"]["qlike"] == pytest.approx(0.378, abs=0.004)
    assert told["walk_forward"]["baselines"]["ewma"]["qlike"] == pytest.approx(0.512, abs=0.003)
