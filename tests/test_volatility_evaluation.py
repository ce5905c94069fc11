"""`lacuna evaluate` of models that forecast volatility: scores, page, pictures, files, and what is refused before work."""

import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from bot.cli import main
from bot.config import BadConfiguration
from bot.core.market import FIELDS, HOUR_MS, Panel
from bot.research import train_model
from bot.volatility_research import Asked, evaluate_folder
from bot.volatility_table import table
from models.checkpoint import Card, load_volatility, save
from models.evaluate_volatility import evaluate_volatility
from models.model import BadModel
from models.processes import alone
from models.sph_net import TrunkConfig
from models.train_volatility import train_volatility
from models.volatility_baselines import BASELINES, fit_baseline
from models.volatility_kinds import Lesson, preset
from models.volatility_model import Factors, VolatilityModel
from models.volatility_network import VolatilityNetwork
from tests.models.hours import panel
from tests.models.markets import market, names
from tests.models.test_evaluate_page import Tables
from tests.models.test_research import candle_folder
from tests.models.volatile import volatile

START_MS = 1_704_067_200_000  # 2024-01-01
DAY = 24
VALIDATION, TEST, END = 130 * DAY, 150 * DAY, 164 * DAY
VALIDATION_MS, TEST_MS = START_MS + VALIDATION * HOUR_MS, START_MS + TEST * HOUR_MS
KEYS = {"hours", "model", "baselines", "dm", "coverage", "seconds", "coins"}
PANELS = ("last-days", "scatter", "errors", "uncertainty")
PICTURES = (*PANELS, "four-panels", "calibration", "coverage", "attention", "attention-days")
TINY = TrunkConfig(window=6, width=8, heads=2, layers=1, decoder_layers=1, dropout=0.0)
QUICK = replace(preset("sph-net"), trunk=TINY, panel=Lesson(0.5, 128, 1e-3, validations=1), tune=None)


def whole() -> Panel:
    """164 days of hours of three coins."""
    made = volatile(END, 3)
    return panel([getattr(made, name) for name in FIELDS], None, START_MS)


WHOLE = whole()


def card(fitted: int = TEST) -> Card:
    return Card(START_MS, START_MS + fitted * HOUR_MS, fitted, validation_ms=VALIDATION_MS)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candles of three coins, a network that has learned two of them, and HAR."""
    folder = tmp_path_factory.mktemp("volatility")
    candle_folder(folder / "candles", WHOLE)
    seen = WHOLE.rows(0, TEST).of(names(2))
    network = train_volatility("quick", QUICK, seen, VALIDATION_MS, folder / "training", alone("cpu"))
    save(network.model, folder / "network", card())
    save(har(seen), folder / "har", card())
    return folder


def har(seen: Panel) -> VolatilityModel:
    return fit_baseline("har", seen, VALIDATION_MS)


def lacuna(there: Path, model: str, *arguments: object, candles: str = "candles") -> Result:
    given = ["evaluate", there / model, "--candles", there / candles, *arguments]
    return CliRunner().invoke(main, [str(one) for one in given])


def refused(result: Result, code: int = 78) -> str:
    assert result.exit_code == code and "Traceback" not in result.stderr, result.stderr
    return result.stderr.replace("\n", " ")


@pytest.fixture(scope="module")
def reported(there: Path) -> Result:
    return lacuna(there, "network", "--report", there / "quality.html", "--coin", "c1usdt", "--json")


def test_programs_get_every_score_of_every_coin(there: Path, reported: Result) -> None:
    """The keys that are promised, every baseline of the same split, and the model's own scores of the range."""
    assert reported.exit_code == 0, reported.stderr
    found = json.loads(reported.stdout)
    assert found.keys() >= KEYS and found["symbol"] == "C1/USDT"
    assert found["coins"].keys() == set(names(3)) and found["hours"] == END - TEST
    assert {"qlike", "mse", "rmse", "mae", "mape", "r2", "direction"} <= found["model"].keys()
    assert set(found["baselines"]) == set(BASELINES) and found["left_out"] == {}
    for name, score in found["coins"]["C1/USDT"].items():
        assert name == "seconds" or found[name] == score
    baseline = fit_baseline("har-plus", WHOLE.rows(0, TEST), VALIDATION_MS)
    same, _ = evaluate_volatility(baseline, {"har": har(WHOLE.rows(0, TEST))}, WHOLE, TEST_MS, "C1/USDT")
    assert found["baselines"]["har-plus"]["qlike"] == pytest.approx(same.model.qlike, rel=1e-9)
    assert found["dm"]["against"] == min(found["baselines"], key=lambda name: found["baselines"][name]["qlike"])


def test_the_page_has_every_table_and_picture(there: Path, reported: Result) -> None:
    """A row for each model and each coin; pictures inside and beside it; no script, nothing to load."""
    found, page = json.loads(reported.stdout), (there / "quality.html").read_text()
    tables = Tables()
    tables.feed(page)
    assert tables.open == []
    assert tables.rows == {"models": 2 + len(BASELINES), "coins": 1 + 3}
    assert f"{found['model']['qlike']:.4f}" in page and "Not among the coins it was trained on: C2/USDT" in page
    assert page.count("data:image/png;base64,") == len(PICTURES) - 1
    assert "<script" not in page and not re.search(r"""(src|href)=["'](?!data:)""", page)
    for name in PICTURES:
        assert (there / f"quality-{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_forecasts_can_be_scored_again(there: Path, reported: Result) -> None:
    """From the Parquet file alone: QLIKE and coverage of each coin, as they are told; the CSV has the same rows."""
    found = json.loads(reported.stdout)
    rows = pq.read_table(there / "quality-forecasts.parquet").to_pylist()
    for symbol, told in found["coins"].items():
        mine = [row for row in rows if row["symbol"] == symbol]
        ratio = np.array([(row["actual"] / row["volatility"]) ** 2 for row in mine])
        assert len(mine) == told["hours"]
        assert np.mean(ratio - np.log(ratio) - 1.0) == pytest.approx(told["model"]["qlike"], rel=1e-9)
        assert np.mean([row["q10"] <= row["actual"] <= row["q90"] for row in mine]) == told["coverage"]["0.8"]
        assert mine[0]["open_ms"] == TEST_MS and f"{mine[0]['open_utc']:%Y%m%d %H}" == "20240530 00"
    lines = (there / "quality-forecasts.csv").read_text().splitlines()
    assert len(lines) == 1 + len(rows) and lines[0].startswith('"symbol","open_ms"')
    stored = json.loads((there / "results.json").read_text())
    assert stored.pop("made_by") == "lacuna" and stored == found


def test_people_read_the_same_figures(there: Path) -> None:
    """Without --json: the models from the best on, the tests, a line for each coin; HAR alone knows its own two coins."""
    result = lacuna(there, "har", "--timerange", "20240604-")
    assert result.exit_code == 0, result.stderr
    assert "C0/USDT: 216 hours never fitted on, 2024-06-04 00:00 to 2024-06-12 23:00" in result.stderr
    for told in (
        "Diebold-Mariano against",
        "80% intervals hold",
        "Mincer-Zarnowitz",
        "har *",
        "persistence",
        "\nC1/USDT",
    ):
        assert told in result.stderr
    assert "knows nothing of them: C2/USDT" in result.stderr and "\nC2/USDT" not in result.stderr


def test_the_last_ten_days_are_a_test_too(there: Path) -> None:
    """The published split: 240 hours to the end of the candles."""
    found = json.loads(lacuna(there, "network", "--timerange", "20240603-20240613", "--json").stdout)
    assert found["hours"] == 240 and found["start_ms"] == START_MS + 154 * DAY * HOUR_MS


def test_minutes_are_made_hours(there: Path, tmp_path: Path) -> None:
    """Quarters of an hour score as the hours that they are parts of, but for the last bits."""
    quarters, hours = four_a_piece(WHOLE)
    candle_folder(tmp_path / "hours", hours)
    candle_folder(tmp_path / "quarters", quarters)
    two, one = (evaluate_folder(Asked(there / "har", tmp_path / name)) for name in ("quarters", "hours"))
    told = one.coins["C0/USDT"]
    assert two.coins["C0/USDT"].hours == told.hours
    assert two.coins["C0/USDT"].model.qlike == pytest.approx(told.model.qlike, rel=1e-9)


def four_a_piece(given: Panel) -> tuple[Panel, Panel]:
    """Quarters that walk from open over high and low to close, and the hours that they make."""
    corners = [given.open, given.high, given.low, 0.5 * (given.low + given.close), given.close]
    fields = {
        "open": np.stack(corners[:-1], axis=1),
        "high": np.stack([np.maximum(*pair) for pair in itertools.pairwise(corners)], axis=1),
        "low": np.stack([np.minimum(*pair) for pair in itertools.pairwise(corners)], axis=1),
        "close": np.stack(corners[1:], axis=1),
        "volume": np.repeat(given.volume[:, None] / 4.0, 4, axis=1),
    }
    opened, high, low, close, volume = (fields[name].reshape(-1, len(given.symbols)) for name in FIELDS)
    open_ms = START_MS + HOUR_MS // 4 * np.arange(4 * len(given), dtype=np.int64)
    there = np.ones(close.shape, dtype=np.bool_)
    quarters = Panel(given.symbols, HOUR_MS // 4, open_ms, opened, high, low, close, volume, there)
    return quarters, given


def test_candles_that_begin_after_the_fit_have_simpler_rivals(there: Path, tmp_path: Path) -> None:
    """What cannot be fitted is named; persistence and EWMA need no fit, and the fallback is counted until warm."""
    candle_folder(tmp_path / "late", WHOLE.rows(TEST, END))
    found = evaluate_folder(Asked(there / "network", tmp_path / "late", "C0/USDT"))
    one = found.coins["C0/USDT"]
    assert set(one.baselines) == {"persistence", "ewma"}
    assert set(found.left_out) == set(BASELINES) - set(one.baselines)
    assert any("0 hours that the model was trained on" in remark for remark in found.remarks)
    assert one.fallbacks == one.hours > DAY and any("warm the model up" in remark for remark in found.remarks)


def test_the_panel_har_that_comes_with_lacuna_stands_in(there: Path, tmp_path: Path) -> None:
    """Where no HAR can be fitted, and the hours are later than those that it has seen."""
    late = panel([getattr(WHOLE, name)[TEST:] for name in FIELDS], None, START_MS + 800 * DAY * HOUR_MS)
    candle_folder(tmp_path / "later", late)
    found = evaluate_folder(Asked(there / "network", tmp_path / "later"))
    assert set(found.coins["C0/USDT"].baselines) == {"persistence", "ewma", "har-shipped"}


def test_a_baselines_folder_ties_with_its_baseline(there: Path, tmp_path: Path) -> None:
    """Hours before those that the folder was fitted on teach the baselines nothing: one model has one score."""
    begin = 30 * DAY
    seen = WHOLE.rows(begin, TEST)
    data = Card(int(seen.open_ms[0]), TEST_MS - HOUR_MS, len(seen), validation_ms=VALIDATION_MS)
    save(fit_baseline("har-plus", seen, VALIDATION_MS), tmp_path / "plus", data)
    found = evaluate_folder(Asked(tmp_path / "plus", there / "candles"))
    assert found.own_split and not any("begin at" in remark for remark in found.remarks)
    for one in found.coins.values():
        assert one.model.qlike == pytest.approx(one.baselines["har-plus"].qlike, rel=1e-9)
    longer = fit_baseline("har-plus", WHOLE.rows(0, TEST), VALIDATION_MS)
    other, _ = evaluate_volatility(longer, {"own": longer}, WHOLE, TEST_MS, "C0/USDT")
    assert other.model.qlike != pytest.approx(found.coins["C0/USDT"].model.qlike, rel=1e-5)


def test_candles_that_begin_within_the_fit_are_no_split_of_its_own(tmp_path: Path) -> None:
    """It is said, on the page and to programs, and the panel HAR that comes with lacuna stands beside every coin."""
    later = panel([getattr(WHOLE, name) for name in FIELDS], None, START_MS + 800 * DAY * HOUR_MS)
    validation_ms = int(later.open_ms[VALIDATION])
    seen = later.rows(0, TEST)
    data = Card(int(seen.open_ms[0]), int(seen.open_ms[-1]), TEST, validation_ms=validation_ms)
    save(fit_baseline("har", seen, validation_ms), tmp_path / "har", data)
    candle_folder(tmp_path / "all", later)
    candle_folder(tmp_path / "late", later.rows(20 * DAY, END))
    for name, own_split in (("all", True), ("late", False)):
        result = lacuna(tmp_path, "har", "--json", "--report", tmp_path / f"{name}.html", candles=name)
        assert result.exit_code == 0, result.stderr
        found, page = json.loads(result.stdout), (tmp_path / f"{name}.html").read_text()
        assert found["own_split"] == own_split
        said = [remark for remark in found["remarks"] if "baselines are fitted on fewer hours than it was" in remark]
        assert len(said) == (not own_split)
        assert (
            "fitted on the model&#x27;s own split" in page or "fitted on the model's own split" in page
        ) == own_split
        assert ("aselines are fitted on fewer hours than it was" in page) != own_split
        assert {"har", "garch"} <= found["baselines"].keys()
        for one in found["coins"].values():
            assert ("har-shipped" in one["baselines"]) != own_split
        (tmp_path / "results.json").unlink()


def test_a_folder_that_names_no_split_is_refused(there: Path, tmp_path: Path) -> None:
    """No command makes one: whoever changed it is told so."""
    copied = tmp_path / "har"
    shutil.copytree(there / "har", copied)
    for name in ("validation_ms", "start_ms"):
        config = json.loads((there / "har" / "config.json").read_text())
        del config["data"][name]
        (copied / "config.json").write_text(json.dumps(config))
        assert "does not say from when on" in refused(lacuna(there, str(copied)))


def test_minutes_without_one_whole_hour_are_refused(there: Path, tmp_path: Path) -> None:
    """In the words of training: both read hours in one way."""
    quarters, _ = four_a_piece(WHOLE.rows(0, 2))
    candle_folder(tmp_path / "few", quarters.rows(1, 4))
    said = refused(lacuna(there, "har", candles=str(tmp_path / "few")))
    assert "not one whole hour of 15-minute candles is in the range" in said


def test_a_coin_listed_after_the_fit_is_scored_beside_what_needs_none(there: Path, tmp_path: Path) -> None:
    """No baseline can be fitted on it, and no other coin loses one."""
    listed = panel([getattr(WHOLE, name).copy() for name in FIELDS], None, START_MS)
    for name in FIELDS:
        getattr(listed, name)[: TEST + DAY, 2] = np.nan
    candle_folder(tmp_path / "listed", listed)
    result = lacuna(there, "network", "--json", candles=str(tmp_path / "listed"))
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert set(found["coins"]["C2/USDT"]["baselines"]) == {"persistence", "ewma"}
    assert set(found["coins"]["C0/USDT"]["baselines"]) == set(BASELINES)


@pytest.mark.parametrize(("begin", "hours"), [(TEST, "1 hour"), (TEST - 30, "30 hours")])
def test_only_a_network_lets_a_simpler_rule_answer_first(there: Path, tmp_path: Path, begin: int, hours: str) -> None:
    """That it will is said in good English; HAR waits until it knows, and nothing is said of a rule."""
    candle_folder(tmp_path / "late", WHOLE.rows(begin, END))
    remarks = {name: evaluate_folder(Asked(there / name, tmp_path / "late")).remarks for name in ("network", "har")}
    assert sum(remark.startswith(f"{hours} of candles before the test, ") for remark in remarks["network"]) == 1
    assert not any("simpler rule" in remark for remark in remarks["har"])


def test_forecasts_of_one_value_have_no_line(there: Path, tmp_path: Path) -> None:
    """A model that is bounded throughout: Mincer and Zarnowitz are left out of the table and of the page's notes."""
    known = load_volatility(there / "har")
    ones, low = np.ones(2), np.full(2, -3.0)
    lost = VolatilityModel(known.predictor, Factors(ones, ones, ones, low, low), known.fitted_ms)
    save(lost, tmp_path / "lost", card())
    found = evaluate_folder(Asked(tmp_path / "lost", there / "candles", report=tmp_path / "quality.html"))
    assert "Mincer-Zarnowitz" not in table(found) and "nan" not in table(found)
    assert "Mincer and Zarnowitz: actual =" not in (tmp_path / "quality.html").read_text()
    assert "Mincer-Zarnowitz" in table(evaluate_folder(Asked(there / "har", there / "candles")))


def test_a_folder_that_is_not_there_names_what_makes_it(there: Path) -> None:
    """The command for volatility where that is wanted, both where either would do."""
    with pytest.raises(BadModel, match="lacuna train volatility --candles") as why:
        load_volatility(there / "nowhere")
    assert "gaussian" not in str(why.value)
    said = refused(lacuna(there, "nowhere"))
    assert "lacuna train gaussian (or volatility) --candles" in said


def test_a_coin_with_too_little_history_costs_the_others_no_baseline(there: Path, tmp_path: Path) -> None:
    """It is scored beside what needs no fit; the others keep every baseline."""
    young = panel([getattr(WHOLE, name).copy() for name in FIELDS], None, START_MS)
    for name in FIELDS:
        getattr(young, name)[: VALIDATION - DAY, 1] = np.nan
    candle_folder(tmp_path / "young", young)
    found = evaluate_folder(Asked(there / "network", tmp_path / "young"))
    assert {"har", "garch"} <= found.coins["C0/USDT"].baselines.keys()
    assert "har" not in found.coins["C1/USDT"].baselines and found.coins["C1/USDT"].hours > DAY
    assert set(found.left_out["har"]) == {"C1/USDT"}
    assert any(remark.startswith("left out: har") and "C1/USDT" in remark for remark in found.remarks)


def test_what_does_not_fit_is_refused_before_any_work(there: Path, tmp_path: Path) -> None:
    """Hours of the fit, too few hours, a foreign coin, a page that cannot be written, options of the other kind."""
    assert "begin at 20240530" in refused(lacuna(there, "network", "--timerange", "20240501-"))
    assert "end at" in refused(lacuna(there, "network", "--timerange", "20240901-"))
    candle_folder(tmp_path / "short", WHOLE.rows(0, END - 10))
    short = lacuna(there, "network", "--timerange", "20240612-", candles=str(tmp_path / "short"))
    assert "14 hours of C0/USDT" in refused(short) and "24 are the least" in short.stderr
    assert "not among the 3 coins" in refused(lacuna(there, "network", "--coin", "XYZ/USDT"))
    assert "--coin" in refused(lacuna(there, "network", "--coin", "nothing"))
    assert "folder that exists" in refused(lacuna(there, "network", "--report", there / "none" / "q.html"))
    for option in (("--steps", 10), ("--intersect",)):
        assert f"{option[0]}: {there / 'network'} forecasts volatility" in refused(lacuna(there, "network", *option))
    (tmp_path / "results.json").write_text("{}")
    assert "results.json beside it" in refused(lacuna(there, "network", "--report", tmp_path / "q.html"))


def test_a_model_that_infers_has_no_range(tmp_path: Path) -> None:
    """--timerange is of models that forecast volatility."""
    candle_folder(tmp_path / "candles", market(500, 3))
    train_model("market", tmp_path / "candles", tmp_path / "market", 0.5)
    assert "only volatility has a range" in refused(lacuna(tmp_path, "market", "--timerange", "20240101-"))
    assert lacuna(tmp_path, "market").exit_code == 0


def test_days_are_no_hours(there: Path, tmp_path: Path) -> None:
    """Candles longer than an hour cannot be made hours."""
    days = WHOLE.rows(0, 300)
    open_ms = START_MS + DAY * HOUR_MS * np.arange(300, dtype=np.int64)
    fields = days.open, days.high, days.low, days.close, days.volume
    candle_folder(tmp_path / "days", Panel(days.symbols, DAY * HOUR_MS, open_ms, *fields, days.present))
    with pytest.raises(BadConfiguration, match="no hours are made: fetch 1h"):
        evaluate_folder(Asked(there / "har", tmp_path / "days"))


def test_attention_is_of_the_hours_that_were_asked_for(there: Path) -> None:
    """A share for each hour of the window that sums to 1, NaN before the inputs are known; nothing changes."""
    model = load_volatility(there / "network", "cpu")
    assert isinstance(model.predictor, VolatilityNetwork)
    before = model.state()
    shares = model.predictor.attention(WHOLE.rows(0, 1_000).of(names(2)), 10)
    assert shares.shape == (990, 2, TINY.window)
    assert np.isnan(shares[:DAY]).all() and np.isfinite(shares[-50:]).all()
    assert shares[-50:].sum(axis=-1) == pytest.approx(np.ones((50, 2)))
    assert all(np.array_equal(one, before[name], equal_nan=True) for name, one in model.state().items())
