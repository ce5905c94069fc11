"""`lacuna train` and `lacuna evaluate` from a folder of candles to the report."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bot.core.market import FIELDS, Panel, compact
from bot.edge.candles import BadCandles
from bot.research import evaluate_model, table, train_model
from models.checkpoint import digest, load
from models.evaluate import CannotScore
from tests.models.markets import market

COINS = 4


def candle_folder(folder: Path, panel: Panel) -> Path:
    """One file a coin of the candles it has."""
    folder.mkdir()
    for at, symbol in enumerate(panel.symbols):
        there = np.isfinite(panel.close[:, at])
        fields = {name: getattr(panel, name)[there, at] for name in FIELDS}
        pq.write_table(pa.table({"timestamp": panel.open_ms[there]} | fields), folder / f"{compact(symbol)}.parquet")
    return folder


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day and a half of minutes; the last coin is there in half of them."""
    panel = market(2_000, COINS)
    panel.close[1_000:, -1] = np.nan
    return candle_folder(tmp_path_factory.mktemp("research") / "candles", panel)


@pytest.mark.parametrize("name", ["market", "ridge", "gaussian"])
def test_candles_become_a_model_and_a_model_becomes_scores(candles: Path, tmp_path: Path, name: str) -> None:
    """Fitted on 70 %, scored on 15 %; both results are plain JSON, and the model scores as its baseline."""
    trained = train_model(name, candles, tmp_path / "model", 0.9)
    assert (trained["architecture"], trained["coins"], trained["slices"]) == (name, COINS - 1, 1_400)
    assert trained["digest"] == digest(tmp_path / "model")
    found = json.loads(json.dumps(evaluate_model(tmp_path / "model", candles)))
    assert (found["coins"], found["steps"], len(found["per_coin"])) == (COINS - 1, 300, COINS - 1)
    assert found["lag0"]["mean"] > 0.3
    # a folder has no place in time, so a loaded model misses the one return across its end
    tried = trained["tried"] or {name: 0.0}
    same = found["baselines"][max(tried, key=lambda key: tried[key])]
    assert found["lag0"]["mean"] == pytest.approx(same["lag0"]["mean"], abs=1e-4)
    json.dumps(trained)


def test_coverage_chooses_the_coins(candles: Path, tmp_path: Path) -> None:
    """At 40 % the coin that left half-way belongs, at 90 % it does not; above all coins' nobody is left."""
    train_model("market", candles, tmp_path / "wide", 0.4)
    train_model("market", candles, tmp_path / "narrow", 0.9)
    assert set(load(tmp_path / "wide").symbols) - set(load(tmp_path / "narrow").symbols) == {f"C{COINS - 1}/USDT"}
    with pytest.raises(BadCandles, match="lower --coverage"):
        train_model("market", candles, tmp_path / "none", 1.01)
    assert not (tmp_path / "none").exists()


def test_the_report_shows_every_figure(candles: Path, tmp_path: Path) -> None:
    """Two lines for the model and for each of market, ridge and the Gaussians, with the figures of the JSON."""
    train_model("gaussian", candles, tmp_path / "model", 0.9)
    found = evaluate_model(tmp_path / "model", candles)
    text = table(found)
    for name, scores in found["baselines"].items():
        inference, prediction = (line for line in text.splitlines() if line.startswith(f"{name} ") and "*" not in line)
        assert f"{scores['lag0']['mean']:.4f}" in inference and f"{scores['lag1']['mean']:.4f}" in inference
        assert f"{scores['divergence_next']['mean']:.4f}" in prediction
    assert any(line.startswith("gaussian *") for line in text.splitlines())


def test_a_figure_that_is_none_is_a_dash(candles: Path, tmp_path: Path) -> None:
    """Coins without a correlation leave no number, and the report stands all the same."""
    train_model("market", candles, tmp_path / "model", 0.9)
    found = evaluate_model(tmp_path / "model", candles)
    found["lag1"] |= {"mean": None}
    assert " - " in next(line for line in table(found).splitlines() if line.startswith("market *"))


def test_candles_that_do_not_fit_the_model_are_refused(candles: Path, tmp_path: Path) -> None:
    """Candles without its coins are bad candles; candles it has seen can say nothing of it."""
    train_model("market", candles, tmp_path / "model", 0.9)
    with pytest.raises(BadCandles, match="C2/USDT"):
        evaluate_model(tmp_path / "model", candle_folder(tmp_path / "fewer", market(2_000, 2)))
    with pytest.raises(CannotScore, match="fitted on"):
        evaluate_model(tmp_path / "model", candle_folder(tmp_path / "earlier", market(500, 3)))
