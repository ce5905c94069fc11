"""Model folders: what is written comes back, whatever is wrong with one is said, nothing of it is run."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.baselines import Gaussian, Market
from models.checkpoint import BadModel, Card, digest, load, load_volatility, save
from models.train import fit
from models.volatility_baselines import fit_baseline
from tests.models.hours import equal
from tests.models.markets import market, names
from tests.models.volatile import volatile

CARD = Card(0, 60_000, 2, {"validation_lag0": 0.5})
PANEL = market(1_200, 4, seed=3, absent=0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Gaussian's folder."""
    where = tmp_path / "gaussian"
    save(fit("gaussian", PANEL, 0.7).model, where, CARD)
    return where


@pytest.mark.parametrize("name", ["market", "ridge", "gaussian"])
def test_a_loaded_model_infers_what_the_saved_one_would(name: str, tmp_path: Path) -> None:
    """The folder holds all that was learned; only the place in time is not in it."""
    model = fit(name, PANEL, 1.0).model
    save(model, tmp_path / "model", CARD)
    loaded = load(tmp_path / "model")
    later = market(300, 4, seed=9)  # another time: neither has a slice before it
    assert (loaded.architecture, loaded.symbols, loaded.interval_ms) == (name, model.symbols, 60_000)
    assert loaded.fitted_ms == int(PANEL.open_ms[-1])
    model._tape.newest_ms, model._tape.close = 0, np.full(4, np.nan)
    assert loaded.infer_panel(later)[60:] == pytest.approx(model.infer_panel(later)[60:], rel=1e-12, nan_ok=True)
    assert np.array_equal(loaded.tensors()["gain"], model.tensors()["gain"])


def test_the_same_model_has_the_same_name(folder: Path, tmp_path: Path) -> None:
    """Saved again it has the same digest; fitted on other candles another."""
    first = digest(folder)
    save(fit("gaussian", PANEL, 0.7).model, folder, CARD)
    assert digest(folder) == first
    save(fit("gaussian", market(1_200, 4, seed=4), 0.7).model, tmp_path / "other", CARD)
    assert digest(tmp_path / "other") != first


def test_saving_leaves_the_folder_and_nothing_beside_it(folder: Path) -> None:
    """After saving over an old model there are three files and no temporary one."""
    save(Market(names(3), 60_000, np.ones(3)), folder, CARD)
    assert load(folder).architecture == "market"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == ["gaussian"]


def test_a_folder_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    """Only a model folder or an empty one is replaced."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"meow")
    with pytest.raises(BadModel, match="no model"):
        save(Market(names(2), 60_000), tmp_path / "photos", CARD)
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"meow"


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def edit_weights(folder: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Changes the arrays and puts the new SHA-256 into the configuration, as someone who means it would."""
    tensors = {name: array.copy() for name, array in load_file(folder / "model.safetensors").items()}
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    edit(folder, weights_sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def pickle_instead(folder: Path) -> None:
    content = b"\x80\x04pickle"
    (folder / "model.safetensors").write_bytes(content)
    edit(folder, weights_sha256=hashlib.sha256(content).hexdigest())


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "no configuration": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    "cut weights": (lambda f: cut(f / "model.safetensors"), "SHA-256"),
    "one bit": (lambda f: flip(f / "model.safetensors"), "SHA-256"),
    "cut configuration": (lambda f: cut(f / "config.json"), "config.json cannot be used"),
    "unknown key": (lambda f: edit(f, code="import os"), "unknown field `code`"),
    "newer format": (lambda f: edit(f, format=2), "format 2"),
    "a typing error": (lambda f: edit(f, architecture="gausian"), "did you mean gaussian"),
    "an import path": (lambda f: edit(f, architecture="os.system"), "there are market, ridge, gaussian"),
    "fewer symbols": (lambda f: edit(f, symbols=list(names(3))), "this universe needs"),
    "one symbol twice": (lambda f: edit(f, symbols=["A/USDT", "A/USDT"]), "different pairs"),
    "no pair": (lambda f: edit(f, symbols=["A/USDT", "../../x"]), "is no pair|not written as"),
    "no interval": (lambda f: edit(f, interval_ms=0), "interval_ms"),
    "unknown setting": (lambda f: edit(f, settings={"lag": 1}), "unknown field `lag`"),
    "absurd setting": (lambda f: edit(f, settings={"lags": 7}), "lags must be 0 or 1"),
    "NaN": (lambda f: edit_weights(f, lambda t: t["long_run.sums"].fill(np.nan)), "long_run.sums .* not finite"),
    "negative": (lambda f: edit_weights(f, lambda t: t["trailing.counts"].fill(-1.0)), "negative"),
    "an array less": (lambda f: edit_weights(f, lambda t: t.pop("moments.weights")), "moments.weights is missing"),
    "a pickle": (lambda f: pickle_instead(f), "no safetensors file"),
}


@pytest.mark.parametrize("wrong", list(WRONG))
def test_a_wrong_folder_says_what_is_wrong(wrong: str, folder: Path) -> None:
    """Each fault ends in BadModel that names it, never in a model and never in another error."""
    spoil, says = WRONG[wrong]
    spoil(folder)
    with pytest.raises(BadModel, match=says):
        load(folder)


def test_a_volatility_model_of_one_coin_is_kept_and_read(tmp_path: Path) -> None:
    """Its forecast is the same to the bit; each kind of model is refused where the other is asked for."""
    hours = volatile(1_300, 1)
    model = fit_baseline("har", hours, int(hours.open_ms[1_000]))
    save(model, tmp_path / "har", CARD)
    again = load_volatility(tmp_path / "har")
    assert again.fitted_ms == model.fitted_ms
    assert equal(again.forecast_panel(hours).volatility, model.forecast_panel(hours).volatility)
    assert "volatility of the next hour" in (tmp_path / "har" / "README.md").read_text()
    with pytest.raises(BadModel, match="name it with forecaster.volatility"):
        load(tmp_path / "har")
    save(Market(names(2), 60_000), tmp_path / "market", CARD)
    with pytest.raises(BadModel, match="lacuna train volatility"):
        load_volatility(tmp_path / "market")


def test_links_and_odd_names_are_refused(folder: Path, tmp_path: Path) -> None:
    """A file that leads out of the folder, a folder that is not there and a name that is no name (S8)."""
    outside = tmp_path / "outside"
    (folder / "model.safetensors").rename(outside)
    (folder / "model.safetensors").symlink_to(outside)
    with pytest.raises(BadModel, match="leads out"):
        load(folder)
    with pytest.raises(BadModel, match="is no folder"):
        load(tmp_path / "nowhere")
    for name in ("..", "A B", "x\0y", ".hidden"):
        with pytest.raises(BadModel, match="no name"):
            load(tmp_path / name)
        with pytest.raises(BadModel, match="no name"):
            save(Market(names(2), 60_000), tmp_path / name, CARD)


def test_a_state_of_another_model_is_refused() -> None:
    """It is refused as a whole: the model stays as it was."""
    model = Gaussian(names(3), 60_000)
    model.observe(market(100, 3))
    before = model.state()
    other = Gaussian(names(4), 60_000)
    other.observe(market(100, 4))
    for state in (other.state(), {}, model.state() | {"moments.products": np.full((6, 6), np.inf)}):
        with pytest.raises(BadModel):
            model.restore(state)
        assert all(np.array_equal(before[name], array, equal_nan=True) for name, array in model.state().items())
