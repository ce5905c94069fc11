"""Backtests that decide on forecast volatility, as people and programs meet them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from bot.cli import main
from bot.core.hours import hours_of
from bot.core.market import HOUR_MS, Panel
from bot.edge.candles import utc
from bot.simulator.synthetic import START_MS, synthetic_panel
from models.checkpoint import Card, save
from models.volatility_baselines import fit_baseline
from tests.models.test_research import candle_folder
from tests.models.volatile import volatile

DAYS, COINS = 3, 4
DAY_MS = 24 * HOUR_MS
SIZED = ("--strategy", "volatility-target", "--set", "strategies.volatility-target.band=0.05")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three synthetic days from 2024-01-01 on; `ewma` fitted on 2023, `later` on the first day; two days of hours before."""
    folder = tmp_path_factory.mktemp("volatility")
    panel = synthetic_panel(COINS, DAYS * 1_440, 5)
    candle_folder(folder / "candles", panel)
    hours = volatile(400)
    model = fit_baseline("ewma", hours, int(hours.open_ms[200]))
    save(model, folder / "ewma", Card(0, 0, 0))
    model.fitted_ms = START_MS + DAY_MS - HOUR_MS
    save(model, folder / "later", Card(0, 0, 0))
    candle_folder(folder / "hours", _before(hours_of(panel)))
    return folder


def _before(hours: Panel) -> Panel:
    """Two days of hours of all coins but the last, that end where these begin."""
    symbols = hours.symbols[:-1]
    rows = hours.rows(0, 48).of(symbols)
    return replace(rows, open_ms=rows.open_ms - 48 * HOUR_MS)


def lacuna(there: Path, verb: str, *arguments: object, model: str = "ewma") -> Result:
    given = [verb, "--candles", str(there / "candles"), "--set", "market.symbols=[]", *map(str, arguments)]
    given += ["--set", f"forecaster.volatility={there / model}"]
    if verb not in ("lookahead", "parity"):
        given += ["--research", str(there / "research")]
    return CliRunner().invoke(main, given)


def answer(there: Path, verb: str, *arguments: object, model: str = "ewma") -> dict[str, Any]:
    """What a verb that goes well puts on stdout."""
    result = lacuna(there, verb, *arguments, "--json", model=model)
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_strategy_that_wants_volatility_alone_needs_no_model_of_returns(there: Path) -> None:
    """A volatility target of hold trades without --model, the same twice, by forecasts that are kept on disk."""
    found, again = answer(there, "backtest", *SIZED), answer(there, "backtest", *SIZED)
    assert found["fills"] > COINS
    assert found["digest"] == again["digest"]
    assert found["luck"]["trials"] == again["luck"]["trials"]
    assert found["settings"]["volatility"]
    (kept,) = (there / "research" / "forecasts").glob("volatility-v1-*.npz")
    kept.write_bytes(kept.read_bytes()[:-200])
    assert answer(there, "backtest", *SIZED)["digest"] == found["digest"]
    assert answer(there, "backtest", "--strategy", "hold")["settings"].get("volatility") is None


def test_the_first_decision_waits_for_the_hours_that_warm_up(there: Path) -> None:
    """25 hours of candles where there is nothing before; with --hours from before at once, and then a coin is unknown."""
    arguments = (*SIZED, "--set", "strategies.volatility-target.per=coin")
    cold = answer(there, "backtest", *arguments)
    assert cold["first_ms"] == START_MS + 25 * HOUR_MS
    warm = answer(there, "backtest", *arguments, "--hours", there / "hours")
    assert warm["first_ms"] < START_MS + 5 * HOUR_MS
    assert warm["digest"] != cold["digest"]
    assert warm["settings"]["hours"]
    (remark,) = [remark for remark in warm["remarks"] if "--hours" in remark]
    assert remark.startswith(f"--hours {there / 'hours'} has nothing of ")
    late = answer(there, "backtest", *arguments, "--timerange", "20240103-")
    assert (late["first_ms"], late["remarks"]) == (START_MS + 2 * DAY_MS, [])


def test_hours_that_end_too_early_warm_nothing_up(there: Path, tmp_path: Path) -> None:
    """Nothing before the candles, or none of their coins: it is said, and the candles warm up by themselves."""
    shutil.copytree(there / "candles", tmp_path / "hours")
    found = answer(there, "backtest", *SIZED, "--hours", tmp_path / "hours")
    assert any("they warm nothing up" in remark for remark in found["remarks"])
    assert found["first_ms"] >= START_MS + 25 * HOUR_MS


def test_candles_that_the_volatility_model_was_fitted_on_are_not_played(there: Path) -> None:
    """It begins behind them; a range before is refused with the date and the way out."""
    found = answer(there, "backtest", *SIZED, model="later")
    assert found["first_ms"] >= START_MS + DAY_MS
    result = lacuna(there, "backtest", *SIZED, "--timerange", "20240101-20240102", model="later")
    assert result.exit_code == 78
    assert f"the volatility model was fitted on candles up to {utc(START_MS + DAY_MS - 60_000)}" in result.stderr
    assert "`lacuna train volatility --timerange`" in result.stderr
    hold = answer(there, "backtest", "--strategy", "hold", "--timerange", "20240101-20240102", model="later")
    assert hold["fills"], "what does not decide on it may be played anywhere"
    walk = ("--train-days", "0.4", "--test-days", "0.2", "--embargo", "0")
    result = lacuna(there, "walk-forward", *SIZED, *walk, "--hours", there / "hours", model="later")
    assert result.exit_code == 78
    assert "the first test part begins at 2024-01-01" in result.stderr


def test_the_ceiling_stops_a_backtest_from_buying(there: Path) -> None:
    """Far below every forecast nothing is bought, far above it the ceiling might as well be off."""
    low, high, off = (
        answer(there, "backtest", "--strategy", "hold", "--timerange", "20240103-", *more)
        for more in (
            ("--set", "risk.forecast_volatility_max=0.00001"),
            ("--set", "risk.forecast_volatility_max=10"),
            (),
        )
    )
    assert low["fills"] == 0
    assert off["fills"] >= COINS
    assert low["notes"]["veto"] > 100
    assert (high["fills"], high["final_equity"]) == (off["fills"], off["final_equity"])


def test_nothing_looks_ahead_with_volatility(there: Path) -> None:
    """The proof by the command, with hours from before and without."""
    span = ("--timerange", "20240102-20240103", "--cuts", 3)
    for more in ((), ("--hours", there / "hours")):
        found = answer(there, "lookahead", *SIZED, *span, *more)
        assert found["identical"], found["first_difference"]
        assert found["compared"] > 1_000


def test_a_walk_goes_on_with_one_volatility_model(there: Path) -> None:
    """The folds of a strategy without anything to fit; hours from before let it begin earlier."""
    walk = ("walk-forward", *SIZED, "--train-days", "0.9", "--test-days", "0.3")
    cold, warm = answer(there, *walk), answer(there, *walk, "--hours", there / "hours")
    assert cold["fills"] > COINS
    assert warm["folds"][0]["test_start_ms"] <= cold["folds"][0]["test_start_ms"]


def test_a_sweep_varies_what_sizes_and_what_is_sized(there: Path) -> None:
    """The target, the inner strategy's own, and a ceiling that the settings have not: by two processes as by one."""
    parameters = ("strategies.volatility-target.target=0.2:2.0:log", "strategies.hold.invested=0.3:0.9")
    ceiling = "risk.forecast_volatility_max=0,0.5"
    words = [part for one in (*parameters, ceiling) for part in ("--param", one)]
    one, two = (
        answer(there, "sweep", *SIZED, *words, "--trials", 4, "--best", 2, "--name", f"by-{count}", "--workers", count)
        for count in (1, 2)
    )
    assert one["best"][0]["fills"] > 0
    assert sorted(one["best"][0]["params"]) == sorted(
        [ceiling.partition("=")[0], *(p.partition("=")[0] for p in parameters)]
    )
    assert {json.dumps(best["params"]) for best in one["best"]} & {json.dumps(best["params"]) for best in two["best"]}
    only = answer(
        there, "sweep", "--strategy", "hold", "--param", ceiling, "--trials", 2, "--best", 2, "--name", "ceiling"
    )
    assert only["trials"] == 2
    result = lacuna(there, "sweep", *SIZED, "--param", "strategies.volatility-target.of=hold,masked-divergence")
    assert result.exit_code == 78
    assert "would be another study" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((*SIZED, "--set", "forecaster.volatility="), 78, "forecaster.volatility: is empty"),
        ((*SIZED, "--set", "strategies.volatility-target.of=masked-divergence"), 78, "name a model folder"),
        ((*SIZED, "--set", "strategies.volatility-target.most=2"), 78, "strategies.volatility-target.most"),
        (("--strategy", "hold", "--hours", "{there}/hours"), 78, "nothing here decides on forecast volatility"),
        ((*SIZED, "--hours", "{there}/none"), 74, "none"),
        ((*SIZED, "--timerange", "20240101-20240102"), 78, "are left to decide behind the"),
    ],
)
def test_what_does_not_fit_is_said(there: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    """A sentence each, and no traceback."""
    given = [one.format(there=there) for one in arguments]
    result = CliRunner().invoke(
        main,
        [
            "backtest",
            *("--candles", str(there / "candles"), "--research", str(there / "research"), "--set", "market.symbols=[]"),
            *(
                ()
                if any("forecaster" in one for one in given)
                else ("--set", f"forecaster.volatility={there / 'ewma'}")
            ),
            *given,
        ],
    )
    assert (result.exit_code, words in result.stderr) == (code, True), result.stderr


def test_real_coins_are_held_to_the_target() -> None:
    """A month of BTC in 2021 at 40 % a year: the hours' realised volatility is within a quarter of it, hold's is not."""
    folder = Path("../shared/data/binance_spot_1m_2021")
    if not folder.is_dir():
        pytest.skip("needs ../shared/data")
    from backtest.forecasts import Forecasts
    from backtest.run import play
    from bot.config import load
    from bot.edge.candles import load_panel
    from models.hourly import forecast_ahead

    panel = load_panel(folder, ("BTC/USDT",))
    model = fit_baseline("ewma", volatile(400, coins=1), int(volatile(400, coins=1).open_ms[200])).of(panel.symbols)
    free = {"risk.position_max": 1, "risk.order_max": 1, "risk.exposure_max": 1, "risk.stop_loss": 0}
    free |= {"risk.daily_loss_max": 1, "risk.drawdown_max": 1, "risk.volatility_max": 0}
    realised = {}
    for strategy in ("hold", "volatility-target"):
        settings = load(None, {"strategy.name": strategy, "strategies.hold.invested": 1.0} | free)
        found = play(settings, panel, 1_500, Forecasts(None, volatility=forecast_ahead(model, panel)))
        hours = found.equity[(found.panel.open_ms + 60_000) % HOUR_MS == 0]
        realised[strategy] = float(np.sqrt(np.mean(np.diff(np.log(hours)) ** 2) * 8_760))
    assert realised["volatility-target"] == pytest.approx(0.4, rel=0.25)
    assert realised["hold"] > 0.6
