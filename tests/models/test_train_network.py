"""`lacuna train masked` from a folder of candles to a model that infers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from bot.cli import main
from bot.core.market import Panel
from models.checkpoint import BadModel, digest, load
from models.dataset import split
from models.network import Network
from tests.models.markets import START_MS
from tests.models.test_research import candle_folder
from tests.models.test_wicks import bouncing

PANEL = bouncing(2_400, 5, seed=9)
QUICK = ("--steps", "40", "--batch", "32", "--device", "cpu")


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
    rebased = model.of(others.rows(0, 1_000), None)
    assert np.isfinite(rebased.infer_panel(others.rows(1_000, 1_200))).all()
