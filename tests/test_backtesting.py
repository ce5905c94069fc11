"""`lacuna backtest` and `lookahead` as people and programs meet them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bot.cli import main
from bot.simulator.synthetic import START_MS, synthetic_panel
from models.checkpoint import Card, load, save
from tests.models.test_research import candle_folder

DAYS = 4
KEYS = {
    "candles", "slices", "seconds", "candles_per_second", "orders", "fills", "round_trips", "fees", "final_equity",
    "total_return", "annual_return", "sharpe", "sortino", "max_drawdown", "deflated_sharpe", "hold", "random_entries",
    "verdict", "digest",
}  # fmt: skip
EASY = (
    "strategies.masked-divergence.divergence_threshold=0.002",
    "strategies.masked-divergence.min_return_threshold=0",
    "strategies.masked-divergence.round_trip_cost=0",
)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four synthetic days of six coins from 2024-01-01 on, and a model fitted on the first 70 % of them."""
    folder = tmp_path_factory.mktemp("backtesting")
    candle_folder(folder / "candles", synthetic_panel(6, DAYS * 1_440, 5))
    trained = CliRunner().invoke(
        main, ["train", "gaussian", "--candles", f"{folder / 'candles'}", "--out", f"{folder / 'gauss'}"]
    )
    assert trained.exit_code == 0, trained.stderr
    return folder


def lacuna(there: Path, *arguments: object, verb: str = "backtest") -> Result:
    given = [str(one) for one in arguments]
    if "--candles" not in given:
        given += ["--candles", str(there / "candles")]
    if verb == "backtest" and "--research" not in given:
        given += ["--research", str(there / "research")]
    return CliRunner().invoke(main, [verb, *given])


def answer(there: Path, *arguments: object, verb: str = "backtest") -> dict[str, Any]:
    """What a verb that goes well puts on stdout."""
    easy = [part for one in EASY for part in ("--set", one)]
    result = lacuna(there, "--model", there / "gauss", *easy, *arguments, "--json", verb=verb)
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_backtest_tells_everything_other_programs_rely_on(there: Path) -> None:
    """All keys of the specification, the same digest twice, and the same settings again are no new trial."""
    first, again = answer(there), answer(there)
    assert first.keys() >= KEYS
    assert first["fills"] > 20
    assert first["digest"] == again["digest"]
    assert first["luck"]["trials"] == again["luck"]["trials"]
    assert first["slices"] * 6 == first["candles"]


def test_only_candles_the_model_never_saw_are_played(there: Path) -> None:
    """Without a range the replay begins behind the last candle of the fit."""
    found = answer(there)
    assert found["slices"] == DAYS * 1_440 - int(DAYS * 1_440 * 0.7)


def test_fees_cost(there: Path) -> None:
    """The same trades for 0.1 % and for nothing: the difference is what the fees were, or nearly."""
    dear, free = answer(there, "--fee", "0.1%"), answer(there, "--fee", "0")
    assert dear["fees"] > 0 == free["fees"]
    assert free["final_equity"] > dear["final_equity"]


def test_a_report_is_written_with_its_files(there: Path, tmp_path: Path) -> None:
    """report.html, trades.csv, fills.csv and results.json, which says what stdout said; those of before are replaced."""
    answer(there, "--report", tmp_path / "before.html", "--fee", "0")
    found = answer(there, "--report", tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 10_000
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["digest"] == found["digest"]
    assert results["final_equity"] == found["final_equity"]
    assert len((tmp_path / "trades.csv").read_text().splitlines()) > found["round_trips"]
    assert len((tmp_path / "fills.csv").read_text().splitlines()) == found["fills"] + 1


@pytest.mark.parametrize("name", ["trades.csv", "fills.csv", "results.json"])
def test_what_no_report_wrote_is_not_replaced(there: Path, tmp_path: Path, name: str) -> None:
    """A file of somebody else's that bears the name of one of ours stops the command before any work, and stays."""
    for spoil in ("mine\n", '{"made_by": "me"}', ""):
        (tmp_path / name).write_text(spoil)
        result = lacuna(there, "--strategy", "hold", "--report", tmp_path / "report.html")
        assert result.exit_code == 78
        assert f"{name} beside it would be replaced" in result.stderr
        assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [(name, spoil)]


def played(there: Path, *arguments: object) -> tuple[set[str], list[str]]:
    """The coins of a backtest of `hold`, as its settings have them, and its remarks."""
    result = lacuna(there, "--strategy", "hold", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert all(remark in result.stderr for remark in found["remarks"])
    assert found["candles"] == found["slices"] * len(found["settings"]["market"]["symbols"])
    return set(found["settings"]["market"]["symbols"]), found["remarks"]


def file_of(folder: Path, *symbols: str) -> Path:
    """A settings file with these market.symbols."""
    path = folder / "settings.toml"
    path.write_text(f"[market]\nsymbols = {json.dumps(symbols)}\n")
    return path


def test_the_settings_universe_is_played_as_far_as_the_candles_have_it(there: Path, tmp_path: Path) -> None:
    """market.symbols of a file choose the coins, what they leave out is said, and --symbols stands above them."""
    file = file_of(tmp_path, "ETH/USDT", "BTC/USDT", "NOT/USDT")
    coins, remarks = played(there, "--config", file)
    assert coins == {"BTC/USDT", "ETH/USDT"}
    assert remarks[0].startswith("played: 2 of 6 coins, those of market.symbols")
    assert remarks[1].endswith("not among the candles: NOT/USDT")
    assert played(there, "--config", file, "--symbols", "ETH/USDT") == ({"ETH/USDT"}, [])


def test_settings_of_quite_other_coins_do_not_stop_a_backtest(there: Path, tmp_path: Path) -> None:
    """Where the candles have none of market.symbols all of the candles are played, and that is said; so without any."""
    coins, remarks = played(there, "--config", file_of(tmp_path, "NOT/USDT", "NOR/USDT"))
    assert len(coins) == 6
    assert "none of the 2 coins of market.symbols" in remarks[0]
    assert played(there, "--config", file_of(tmp_path)) == (coins, [])


def test_coins_set_on_the_command_line_must_be_there(there: Path) -> None:
    """--set market.symbols is as good as --symbols: what the candles lack is refused, not left out."""
    assert played(there, "--set", 'market.symbols=["BTC/USDT"]') == ({"BTC/USDT"}, [])
    result = lacuna(there, "--strategy", "hold", "--set", 'market.symbols=["BTC/USDT", "NOT/USDT"]')
    assert result.exit_code == 74
    assert "no candles of NOT/USDT" in result.stderr


def test_a_start_without_warm_up_is_later_and_said(there: Path) -> None:
    """Candles that begin with the range warm up first: the first slice decided is told; a later start has its warm-up."""
    six = ("--set", "market.symbols=[]", "--json")
    result = lacuna(there, "--strategy", "hold", "--timerange", "20240101-20240102", *six)
    found = json.loads(result.stdout)
    late_ms = found["first_ms"] - START_MS
    assert late_ms > 0
    assert found["remarks"][0].startswith(f"decided from 2024-01-01 {late_ms // 3_600_000:02}:")
    assert "not from 2024-01-01 00:00" in result.stderr
    result = lacuna(there, "--strategy", "hold", "--timerange", "20240102-20240103", *six)
    found = json.loads(result.stdout)
    assert (found["first_ms"], found["remarks"]) == (START_MS + 86_400_000, [])


def test_candles_that_were_all_fitted_on_are_refused_as_such(there: Path, tmp_path: Path) -> None:
    """A range, or a folder, that ends before the model's fit did: the sentence says that nothing of it is left."""
    candles = candle_folder(tmp_path / "candles", synthetic_panel(6, 2_000, 5))
    for arguments, words in (
        (["--timerange", "-20240102"], "--timerange -20240102: the model was fitted on candles up to"),
        (["--timerange", "20240101-20240103"], "the range ends at 2024-01-03 00:00, so that it knows all of them"),
        (["--candles", candles], "--timerange: the model was fitted on candles up to"),
        (["--candles", candles], "the candles end at 2024-01-02 09:20, so that it knows all of them"),
    ):
        result = lacuna(there, "--model", there / "gauss", *arguments)
        assert result.exit_code == 78
        assert words in result.stderr


@pytest.fixture
def fewer(there: Path, tmp_path: Path) -> Path:
    """The candles without the model's second coin, and with one that it does not know."""
    copied = shutil.copytree(there / "candles", tmp_path / "fewer")
    _, second, third, *_ = sorted(copied.iterdir())
    shutil.copy(third, copied / "NEWUSDT.parquet")
    second.unlink()
    return copied


def test_a_model_of_another_universe_is_played_on_the_shared_coins_only_if_asked(there: Path, fewer: Path) -> None:
    """Missing coins are named with what to do; with --intersect the others are played, what is left out is said."""
    refused = lacuna(there, "--model", there / "gauss", "--candles", fewer)
    assert refused.exit_code == 74
    (missing,) = set(load(there / "gauss").symbols) - {f"{one.stem[:-4]}/USDT" for one in fewer.iterdir()}
    assert f"no candles of {missing}" in refused.stderr
    assert "--intersect takes the coins that both" in refused.stderr
    found = answer(there, "--candles", fewer, "--intersect")
    assert found["candles"] == found["slices"] * 5
    assert found["remarks"] == [
        "left out, for the model does not know them: NEW/USDT",
        f"absent to the model, which was made with them: {missing}",
    ]
    assert found["fills"] > 10
    assert found["digest"] == answer(there, "--candles", fewer, "--intersect")["digest"]


def test_named_coins_are_those_of_the_model_unless_it_is_to_intersect(there: Path) -> None:
    """--symbols of another universe lists what is missing and what is extra; three named coins may be played."""
    symbols = load(there / "gauss").symbols
    refused = lacuna(there, "--model", there / "gauss", "--symbols", ",".join(symbols[:3]))
    assert refused.exit_code == 78
    assert f"it lacks nothing, it also has {', '.join(sorted(symbols[3:]))}" in refused.stderr
    found = answer(there, "--symbols", ",".join(symbols[:3]), "--intersect")
    assert found["settings"]["market"]["symbols"] == list(symbols[:3])
    two = lacuna(there, "--model", there / "gauss", "--symbols", ",".join(symbols[:2]), "--intersect")
    assert two.exit_code == 78
    assert "3 are the least to infer from" in two.stderr


def test_nothing_looks_ahead_on_shared_coins(there: Path, fewer: Path) -> None:
    """The proof holds for a model whose other coins are absent."""
    span = ("--timerange", "20240104-20240105", "--cuts", "3")
    found = answer(there, "--candles", fewer, "--intersect", *span, verb="lookahead")
    assert found["identical"], found["first_difference"]
    assert any(remark.startswith("absent to the model") for remark in found["remarks"])


def test_a_model_without_a_gain_buys_nothing_by_default_and_says_so(there: Path, tmp_path: Path) -> None:
    """The gate needs to know what a divergence earns; with round_trip_cost=0 every signal is traded."""
    model = shutil.copytree(there / "gauss", tmp_path / "gainless")
    found = load(model)
    found.gain = None  # type: ignore[attr-defined]
    save(found, model, Card(0, 0, 0))
    easy = [part for one in EASY[:2] for part in ("--set", one)]
    result = lacuna(there, "--model", model, *easy, "--json")
    told = json.loads(result.stdout)
    assert told["orders"] == 0
    (remark,) = told["remarks"]
    assert remark in result.stderr
    assert "nothing will be bought" in remark
    assert "round_trip_cost=0" in remark
    assert answer(there, "--model", model)["remarks"] == []


def test_candles_that_only_warm_up_are_refused(tmp_path: Path) -> None:
    """Fewer candles than the first decision needs: how many it needs, and what to do about it."""
    candles = candle_folder(tmp_path / "candles", synthetic_panel(2, 60, 5))
    result = lacuna(tmp_path, "--strategy", "hold", "--candles", candles)
    assert result.exit_code == 78
    assert "--timerange: 0 slices are left to decide behind the" in result.stderr
    assert "fetch more candles" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--fee", "5"], 78, "500% of every trade"),
        (["--fee", "x"], 78, "is no fee"),
        (["--strategy", "masked-divergense"], 78, "did you mean masked-divergence?"),
        (["--strategy", "masked-divergence"], 78, "name a model folder"),
        (["--model", "{there}/gaus"], 78, "did you mean"),
        (["--strategy", "hold", "--timerange", "20240110-20240112"], 74, "only from 2024-01-01 00:00"),
        (["--strategy", "hold", "--timerange", "20240103-20240101"], 2, "ends before it starts"),
        (["--strategy", "hold", "--timerange", "yesterday"], 2, "is no range of days"),
        (["--model", "{there}/gauss", "--timerange", "20240102-"], 78, "was fitted on candles up to 2024-01-03"),
        (["--strategy", "hold", "--candles", "{there}/nothing"], 74, "does not exist"),
        (["--strategy", "hold", "--report", "{there}/none/report.html"], 78, "a folder that exists"),
        (["--strategy", "hold", "--report", "{there}/candles"], 78, "a file like report.html"),
        (["--strategy", "hold", "--report", "/proc/report.html"], 74, "nothing can be written in /proc"),
        (["--strategy", "hold", "--capital", "0"], 2, "capital"),
        (["--strategy", "hold", "--symbols", "BTC/USDT,BTCUSDT"], 2, "named twice: BTC/USDT"),
        (["--strategy", "hold", "--set", "market.quote=USDC"], 78, "not quoted in"),
        (["--strategy", "hold", "--set", "account.latency_ms=60000"], 78, "every order would be over"),
        (["--model", "{there}/gauss", "--research", "/dev/null/x"], 74, "cannot be opened"),
    ],
)
def test_what_cannot_be_played_is_said_before_any_work(
    there: Path, arguments: list[str], code: int, words: str
) -> None:
    """One sentence with what to change, and the exit code of its kind."""
    result = lacuna(there, *(one.format(there=there) for one in arguments))
    assert result.exit_code == code, result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_a_long_hole_is_refused(tmp_path: Path) -> None:
    """Where a coin's candles break off for longer than allowed, the coin and the hole are named."""
    panel = synthetic_panel(3, 3_000, 5)
    panel.close[1_000:1_500, 1] = float("nan")
    candles = candle_folder(tmp_path / "candles", panel)
    result = lacuna(tmp_path, "--strategy", "hold", "--candles", candles, "--hole-max", "60")
    assert result.exit_code == 74
    assert "500 minutes, where 60 minutes are allowed" in result.stderr


def test_nothing_of_ours_looks_ahead(there: Path) -> None:
    """Exit 0 and the number of things compared."""
    found = answer(there, "--timerange", "20240104-20240105", "--cuts", "3", verb="lookahead")
    assert found["identical"]
    assert found["first_difference"] == ""
    assert found["compared"] > 1_000
