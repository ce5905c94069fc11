"""`lacuna backtest` and `lookahead` as people and programs meet them."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bot.cli import main
from bot.simulator.synthetic import synthetic_panel
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


def test_a_report_is_written_with_its_files(there: Path) -> None:
    """report.html, trades.csv and results.json; the results say what stdout said."""
    found = answer(there, "--report", there / "report.html")
    assert (there / "report.html").stat().st_size > 10_000
    results = json.loads((there / "results.json").read_text())
    assert results["digest"] == found["digest"]
    assert results["final_equity"] == found["final_equity"]
    assert len((there / "trades.csv").read_text().splitlines()) > found["round_trips"]


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
