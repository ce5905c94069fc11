"""`lacuna train masked` from a folder of candles to a model that infers."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from bot.cli import main
from bot.core.market import Panel
from models.checkpoint import BadModel, digest, load
from models.dataset import split
from models.network import Network
from models.presets import PRESETS, Preset
from models.presets import SMALL as SMALL_CONFIG
from models.training_log import Line, read
from tests.models.markets import START_MS
from tests.models.test_research import candle_folder
from tests.models.test_wicks import bouncing

ROOT = Path(__file__).parents[2]
PANEL = bouncing(2_400, 5, seed=9)
QUICK = ("--steps", "40", "--batch", "32", "--device", "cpu")
SMALL = ("--preset", "small", "--steps", "30", "--batch", "16", "--lr", "3e-3")


def train(candles: Path, out: Path, *options: str) -> Result:
    arguments = ["train", "masked", "--candles", str(candles), "--out", str(out), "--json", *QUICK, *options]
    return CliRunner().invoke(main, arguments)


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return candle_folder(tmp_path_factory.mktemp("network") / "candles", PANEL)


@pytest.fixture(scope="module")
def trained(candles: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("trained") / "mine"
    done = train(candles, folder)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), folder


def test_candles_become_a_network_that_says_what_it_was_fitted_on(trained: tuple[dict[str, Any], Path]) -> None:
    """The folder names its range, its score beside the closed forms', and what it is not good for."""
    told, folder = trained
    parts = split(PANEL)
    config = json.loads((folder / "config.json").read_text())
    assert (told["architecture"], told["coins"], told["digest"]) == ("coin-query", 5, digest(folder))
    assert config["data"]["start_ms"] == START_MS
    assert config["fitted_ms"] == int(parts.validation.open_ms[-1]) < int(parts.test.open_ms[0])
    scores = config["metrics"]
    assert scores["validation_lag0"] >= scores["validation_lag0_gaussian_wicks"] - 0.002
    assert {"validation_lag0_market", "validation_lag0_ridge", "validation_lag0_gaussian"} <= set(scores)
    assert "no forecast" in (folder / "README.md").read_text()
    assert len(config["symbols"]) == 5 and not list(folder.glob("*.pt"))


def test_a_loaded_network_infers_slice_by_slice_what_it_infers_at_once(trained: tuple[dict[str, Any], Path]) -> None:
    """To the bit, from its folder on, in what it was not trained on."""
    test = split(PANEL).test.rows(0, 80)
    bulk, live = load(trained[1]).infer_panel(test), load(trained[1])
    for row in range(len(test)):
        live.observe(test.rows(row, row + 1))
        assert live.infer().returns.tobytes() == bulk[row].tobytes(), row
    assert np.isfinite(bulk[2:]).all()
    assert live.infer().gain is not None


def test_the_same_command_again_trains_nothing_anew(trained: tuple[dict[str, Any], Path], candles: Path) -> None:
    """What is done is done: the same folder comes out."""
    before = digest(trained[1])
    done = train(candles, trained[1])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["digest"] == digest(trained[1]) == before


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--preset", "coin-qeury"), 78, "there are coin-query"),
        (("--scheme", "coins"), 78, "leave out --scheme"),
        (("--scheme", "rows"), 2, "scheme"),
        (("--lr", "nan"), 2, "lr"),
        (("--batch", "100000"), 78, "give more candles"),
        (("--steps", "0"), 2, "steps"),
        (("--steps", "70"), 78, "plan.steps"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    trained: tuple[dict[str, Any], Path], candles: Path, options: tuple[str, ...], code: int, says: str
) -> None:
    """With a sentence that says what to change, another plan in the same folder too."""
    done = train(candles, trained[1], *options)
    assert (done.exit_code, says in done.output) == (code, True), done.output


def test_candles_of_other_coins_teach_the_same_weights(
    trained: tuple[dict[str, Any], Path], candles: Path, tmp_path: Path
) -> None:
    """A synthetic market beside the folder's own: other weights, the same universe, and a card that tells it."""
    done = train(candles, tmp_path / "mine", "--also", "synthetic", "--also", str(candles))
    assert done.exit_code == 0, done.output
    config = json.loads((tmp_path / "mine" / "config.json").read_text())
    assert config["symbols"] == json.loads((trained[1] / "config.json").read_text())["symbols"]
    assert json.loads(done.stdout)["digest"] != trained[0]["digest"]
    train_rows = len(split(PANEL).train)  # of its own folder no row that chooses
    assert f"also on 14400 slices of 30 coins; {train_rows} slices of 5 coins" in config["limits"]
    assert "--also synthetic" in config["command"]


def test_what_belongs_to_its_coins_learns_from_no_others(candles: Path, tmp_path: Path) -> None:
    """A masked network has weights for each coin; later candles would tell what was not known yet."""
    done = train(candles, tmp_path / "mine", *SMALL, "--also", "synthetic")
    assert (done.exit_code, "only coin-query" in done.output) == (78, True), done.output
    late = candle_folder(tmp_path / "late", replace(PANEL, open_ms=PANEL.open_ms + 10 * 86_400_000))
    done = train(candles, tmp_path / "mine", "--also", str(late))
    assert (done.exit_code, "not be known yet" in done.output) == (78, True), done.output


def test_a_cut_weights_file_is_refused(trained: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    """Never a wrong number."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((trained[1] / name).read_bytes())
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.truncate(1_000)
    with pytest.raises(BadModel, match="cut or changed"):
        load(tmp_path)


def test_its_network_serves_coins_it_never_saw(trained: tuple[dict[str, Any], Path]) -> None:
    """Another market of three coins: its Gaussian learns them, its network is the same."""
    model = load(trained[1])
    assert isinstance(model, Network)
    others: Panel = bouncing(1_200, 3, seed=11)
    rebased = model.unlearned(others.symbols, None, 0)
    rebased.observe(others.rows(0, 1_000))
    assert np.isfinite(rebased.infer_panel(others.rows(1_000, 1_200))).all()


@pytest.fixture(scope="module")
def small(candles: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("small") / "mine"
    done = train(candles, folder, *SMALL)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), folder


def test_a_masked_network_is_trained_saved_and_loaded(small: tuple[dict[str, Any], Path]) -> None:
    """It finds the common factor, its card names its scheme, and its folder infers live what it infers in bulk."""
    told, folder = small
    assert (told["architecture"], told["digest"]) == ("masked", digest(folder))
    assert told["validation"] == told["scores"]["score"] > 0.5
    assert "scheme entries" in (folder / "README.md").read_text()
    test = split(PANEL).test.rows(0, 40)
    bulk, live = load(folder).infer_panel(test), load(folder)
    for row in range(len(test)):
        live.observe(test.rows(row, row + 1))
        assert live.infer().returns.tobytes() == bulk[row].tobytes(), row
    assert np.isfinite(bulk[2:]).all()


def test_another_scheme_is_another_training(small: tuple[dict[str, Any], Path], candles: Path) -> None:
    """What was trained by one does not go on by another."""
    done = train(candles, small[1], *SMALL, "--scheme", "coins")
    assert (done.exit_code, "scheme" in done.output) == (78, True), done.output


@pytest.mark.slow
def test_five_kills_change_no_bit(candles: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of `lacuna train masked`: the log and the model are those of a training left alone."""
    options = (*SMALL, "--scheme", "blocks")
    whole = train(candles, tmp_path / "whole", *options)
    assert whole.exit_code == 0, whole.output
    log = tmp_path / "mine.training" / "training.jsonl"
    for step in (6, 12, 15, 21, 27):
        killed_at(step, candles, tmp_path / "mine", log, options)
    rest = train(candles, tmp_path / "mine", *options)
    assert rest.exit_code == 0, rest.output
    assert json.loads(rest.stdout)["digest"] == json.loads(whole.stdout)["digest"]
    assert lines_of(tmp_path / "mine.training") == lines_of(tmp_path / "whole.training")


def killed_at(step: int, candles: Path, out: Path, log: Path, options: tuple[str, ...]) -> None:
    """Starts it, and kills it when the log has come to this step."""
    command = [sys.executable, "-m", "bot.cli", "train", "masked", "--candles", str(candles), "--out", str(out)]
    with subprocess.Popen([*command, *QUICK, *options], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}) as process:
        while not (log.exists() and any(line.step >= step for line in lines_of(log.parent))):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                break
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def lines_of(folder: Path) -> list[Line]:
    return [replace(line, seconds=0.0) for line in read(folder)]


def test_raw_returns_tell_the_published_loss(candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside that of inferring zero: in what is printed, in the log and in the folder."""
    raw = Preset("masked", replace(SMALL_CONFIG, raw=True, levelled=False), "coins", scored=64, judged=64)
    monkeypatch.setitem(PRESETS, "published-raw", raw)
    done = train(candles, tmp_path / "raw", "--preset", "published-raw", "--steps", "8", "--batch", "8")
    assert done.exit_code == 0, done.output
    scores, config = json.loads(done.stdout)["scores"], json.loads((tmp_path / "raw" / "config.json").read_text())
    for name in ("published_loss", "published_loss_of_zero"):
        assert scores[name] == config["metrics"][name] > 0
        assert name in read(tmp_path / "raw.training")[-1].scores
