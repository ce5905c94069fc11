"""A volatility network from hours to forecasts: it learns, streams as it backtests, is stored, goes on when killed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from bot.core.market import FIELDS, HOUR_MS, Panel
from models.evaluate_volatility import evaluate_volatility
from models.model import BadModel
from models.processes import alone
from models.sph_net import TrunkConfig
from models.train_volatility import TrainedVolatility, train_volatility
from models.training_state import OtherRun
from models.volatility import Estimator, volatility
from models.volatility_baselines import fit_baseline
from models.volatility_kinds import Lesson, Preset, preset
from models.volatility_loading import volatility_model
from models.volatility_model import VolatilityForecast, VolatilityModel
from tests.models.hours import absent_at, equal, panel
from tests.models.markets import without
from tests.models.volatile import volatile

WHOLE = volatile(5_500, 2)
TEST = 4_700
SEEN = WHOLE.rows(0, TEST)
VALIDATION_MS, TEST_MS = int(WHOLE.open_ms[4_200]), int(WHOLE.open_ms[TEST])
TINY = TrunkConfig(window=6, width=8, heads=2, layers=1, decoder_layers=1, dropout=0.0)
QUICK = Lesson(4, 128, 1e-3, validations=8)
SPH = replace(preset("sph-net"), trunk=TINY, panel=QUICK, tune=Lesson(1, 128, 3e-4, validations=4))
PUBLISHED = replace(preset("published"), trunk=TINY, panel=replace(QUICK, epochs=2))
PARTS = ("volatility", "mean", "median", "quantiles", "rising", "fallback", "clamped")


def train(given: Preset, folder: Path, **options: Any) -> TrainedVolatility:
    return train_volatility("quick", given, SEEN, VALIDATION_MS, folder, alone("cpu"), **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> VolatilityModel:
    return train(SPH, tmp_path_factory.mktemp("volatility") / "sph", tune="C0/USDT").model


def same(a: VolatilityForecast, b: VolatilityForecast) -> bool:
    return all(equal(getattr(a, name), getattr(b, name)) for name in PARTS)


def test_it_learns_what_there_is_to_learn(trained: VolatilityModel) -> None:
    """On later hours it is better than HAR on logs, and its intervals hold what they should."""
    baselines = {name: fit_baseline(name, SEEN, VALIDATION_MS) for name in ("persistence", "har")}
    found, tested = evaluate_volatility(trained, baselines, WHOLE, TEST_MS, "C0/USDT")
    assert found.hours == len(tested.open_ms) == len(WHOLE) - TEST
    assert found.model.qlike < 0.98 * found.baselines["har"].qlike
    assert found.model.direction > found.baselines["persistence"].direction
    assert found.coverage["0.8"] == pytest.approx(0.8, abs=0.06)
    assert found.fallbacks == 0 and found.dm.against == "har"


def test_hour_by_hour_it_forecasts_what_it_does_at_once(trained: VolatilityModel) -> None:
    """To the bit, history in one piece, with a restart on the way, hours missing and a hole in time."""
    given = without(absent_at(WHOLE.rows(3_000, 4_200), 1_100, 1), slice(1_110, 1_114))
    bulk = trained.forecast_panel(given, 1_000)
    live = trained.of(trained.symbols)
    live.observe(given.rows(0, 1_000))
    for row in range(1_000, len(given)):
        if row == 1_112:
            state = live.state()
            live = trained.of(trained.symbols)
            live.restore(state)
        live.observe(given.rows(row, row + 1))
        assert same(live.forecast(), bulk.rows(row - 1_000, row - 999)), row
    assert int(live.forecast().open_ms[0]) == int(given.open_ms[-1])
    live.observe(given.rows(0, 50))
    assert same(live.forecast(), bulk.rows(len(bulk) - 1, len(bulk)))


def test_the_future_moves_nothing(trained: VolatilityModel) -> None:
    """Hours changed after a row leave its forecast and all before the same, to the bit."""
    given = WHOLE.rows(3_000, 4_000)
    fields = [getattr(given, name).copy() for name in FIELDS]
    for field in fields:
        field[951:] *= 1.7
    changed = panel(fields, given.present, int(given.open_ms[0]))
    found, wanted = trained.forecast_panel(changed, 900), trained.forecast_panel(given, 900)
    assert same(found.rows(0, 51), wanted.rows(0, 51)) and not same(found.rows(51, 52), wanted.rows(51, 52))


def test_stored_and_loaded_it_says_the_same(trained: VolatilityModel) -> None:
    """From settings and tensors alone; cut ones are refused."""
    given = WHOLE.rows(3_000, 4_000)
    settings, tensors = trained.settings(), trained.tensors()
    again = volatility_model("sph-net", trained.symbols, HOUR_MS, trained.fitted_ms, settings, tensors)
    assert same(again.forecast_panel(given, 900), trained.forecast_panel(given, 900))
    for name in ("units.width", "network.0.direct.0.weight", "factors.root", "season.utc"):
        less = {key: one for key, one in tensors.items() if key != name}
        with pytest.raises(BadModel, match=name):
            volatility_model("sph-net", trained.symbols, HOUR_MS, trained.fitted_ms, settings, less)
    with pytest.raises(BadModel, match="reads hours"):
        volatility_model("sph-net", trained.symbols, 60_000, trained.fitted_ms, settings, tensors)
    for broken in ({}, settings | {"modules": 0}, settings | {"scaling_inputs": None}):
        with pytest.raises(BadModel):
            volatility_model("sph-net", trained.symbols, HOUR_MS, trained.fitted_ms, broken, tensors)


def test_a_coin_never_seen_is_answered_for_or_falls_back_in_sight(trained: VolatilityModel) -> None:
    """One that moves as the others do gets the network's forecast; a still one the panel HAR's, marked so.

    So do hours without enough before.
    """
    strange = calmed(volatile(1_300, 4, seed=5), 3, 40.0)
    model = trained.of(strange.symbols)
    found = model.forecast_panel(strange)
    late = found.rows(950, 1_300)
    assert late.fallback.all(axis=0).tolist() == late.fallback.any(axis=0).tolist() == [False, False, False, True]
    actual = volatility(strange, Estimator.GARMAN_KLASS)[951:]
    for coin in (2, 3):
        assert np.corrcoef(np.log(late.median[:-1, coin]), np.log(actual[:, coin]))[0, 1] > 0.3
    assert np.abs(np.log(late.median[:-1, 2] / actual[:, 2])).mean() < 0.5
    alone = trained.of(strange.symbols[:1]).forecast_panel(strange.of(strange.symbols[:1]))
    assert alone.volatility[:, 0] == pytest.approx(found.volatility[:, 0], rel=1e-5, nan_ok=True)
    early = found.rows(200, 300)
    assert early.fallback.all() and np.isfinite(early.volatility).all()
    assert not found.rows(0, 50).fallback.any() and np.isnan(found.volatility[:50]).all()


def calmed(given: Panel, coin: int, by: float) -> Panel:
    """The panel with a coin whose every move is so many times smaller."""
    fields = {name: getattr(given, name).copy() for name in ("open", "high", "low", "close")}
    for field in fields.values():
        field[:, coin] **= 1.0 / by
    return replace(given, **fields)


def test_it_is_never_absurd(trained: VolatilityModel) -> None:
    """A market a thousand times as wild gives the largest volatility that fitting saw, and says it is clamped."""
    given = WHOLE.rows(3_000, 4_000)
    middle = given.open[500:]
    fields = [getattr(given, name).copy() for name in FIELDS]
    fields[1][500:], fields[2][500:] = 50.0 * middle, middle / 50.0
    found = trained.forecast_panel(panel(fields, given.present, int(given.open_ms[0])), 900)
    most = np.exp(trained.factors.most) * (1 + 1e-9)
    assert np.isfinite(found.volatility).all() and (found.median <= most).all()
    assert found.clamped.any()


def test_the_published_preset_is_a_model_too(tmp_path: Path) -> None:
    """Raw levels and three heads come out as the same forecast; its own head says the direction."""
    model = train(PUBLISHED, tmp_path / "published").model
    found = model.forecast_panel(WHOLE.rows(3_700, 4_700), 900)
    assert (found.volatility > 0).all() and (np.diff(found.quantiles, axis=-1) >= 0).all()
    assert ((found.rising > 0) & (found.rising < 1)).all()
    again = volatility_model(
        "sph-net-published", model.symbols, HOUR_MS, model.fitted_ms, model.settings(), model.tensors()
    )
    given = WHOLE.rows(3_700, 4_700)
    assert same(again.forecast_panel(given, 900), found)


def test_an_ensemble_answers_with_its_mean(tmp_path: Path) -> None:
    """Two seeds give two modules, and one location between theirs."""
    short = replace(SPH, trunk=None, panel=Lesson(0.5, 128, 3e-3, validations=1), tune=None)
    both = train(short, tmp_path / "both", seeds=(0, 1)).model
    given = WHOLE.rows(3_700, 4_700)
    alone_ = [train(short, tmp_path / "both", seeds=(seed,)).model for seed in (0, 1)]
    locations = [np.log(one.forecast_panel(given, 950).median[0]) for one in (both, *alone_)]
    assert np.allclose(locations[0], (locations[1] + locations[2]) / 2, atol=1e-5)
    assert not np.allclose(locations[1], locations[2], atol=1e-4)


def test_a_training_that_was_killed_goes_on(tmp_path: Path) -> None:
    """Stopped in the middle and started again, it comes to the same weights to the bit; other settings are refused."""
    given = replace(SPH, trunk=None, panel=Lesson(1, 128, 3e-3, validations=4), tune=None)

    def stop_at(step: int, steps: int, loss: float) -> None:
        if step == steps // 2 + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(given, tmp_path / "cut", told=stop_at)
    said: list[str] = []
    cut, whole = train(given, tmp_path / "cut", said=said.append), train(given, tmp_path / "whole")
    assert any(line.startswith("going on after step") for line in said)
    for name, one in whole.model.tensors().items():
        assert one.tobytes() == cut.model.tensors()[name].tobytes(), name
    with pytest.raises(OtherRun):
        train(replace(given, panel=replace(given.panel, lr=1e-3)), tmp_path / "cut")


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    """Too few hours, a coin that is not there, no validation, a coin without candles: in words."""
    with pytest.raises(BadModel, match="among the candles"):
        train(SPH, tmp_path / "a", tune="X/USDT")
    for rows, at in ((600, 450), (4_700, 4_650)):
        with pytest.raises(BadModel, match="give|needed"):
            short, validation = WHOLE.rows(0, rows), int(WHOLE.open_ms[at])
            train_volatility("quick", SPH, short, validation, tmp_path / "b", alone("cpu"))
    fields = [getattr(SEEN, name).copy() for name in FIELDS]
    for field in fields:
        field[:, 1] = np.nan
    with pytest.raises(BadModel):
        train_volatility("quick", SPH, panel(fields), VALIDATION_MS, tmp_path / "c", alone("cpu"))
