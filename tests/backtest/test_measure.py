"""All of it together: the results file, degenerate replays, the time it takes, the trial it leaves behind."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from backtest.measure import judged, measure
from backtest.result import Result
from backtest.statistics import Statistics, as_dict
from backtest.summary import text_of
from backtest.trials import Trials
from bot.core.market import MINUTE_MS, Panel
from tests.backtest.accounts import Account, coin, result_of
from tests.making import COINS, panel, walk

KEYS = """
    candles slices seconds candles_per_second orders fills round_trips fees final_equity total_return annual_return
    sharpe sortino max_drawdown deflated_sharpe hold random_entries verdict digest
"""


def measured(result: Result) -> Statistics:
    return measure(result, [], np.random.default_rng(1))


def busy(rows: int = 3_000) -> Result:
    """An account that buys and sells a coin every twenty minutes."""
    account = Account(walk(rows), "10000")
    for number, row in enumerate(range(1, rows - 10, 20)):
        symbol = COINS[number % 3]
        account.buy(symbol, row, "10").sell(symbol, row + 8, "10")
    return account.result()


def test_the_results_file_has_every_key_that_programs_rely_on() -> None:
    """Spec 9: all keys of `backtest`, strict JSON without NaN, the figures of the account."""
    result = busy()
    found = as_dict(measured(result))
    assert not set(KEYS.split()) - set(found)
    text = json.dumps(found, allow_nan=False)
    read = json.loads(text)
    assert (read["slices"], read["candles"], read["fills"], read["round_trips"]) == (3_000, 9_000, 300, 150)
    assert read["candles_per_second"] == 18_000.0
    assert read["final_equity"] == result.equity[-1]
    assert read["fees"] == pytest.approx(sum(float(fill.fee) for fill in result.fills))
    assert {"total_return", "sharpe", "drawdown"} <= set(read["hold"])
    assert {"mean", "low", "high", "better"} <= set(read["random_entries"])
    assert read["luck"]["basis"] == "hour"


def test_all_parts_agree_on_the_profit() -> None:
    """Equity, coins and trips tell one number; months compound to it."""
    result = busy()
    found = measured(result)
    profit = result.equity[-1] - result.capital
    assert sum(part.profit for part in found.coins) == pytest.approx(profit, abs=1e-6)
    assert sum(trip.profit for trip in found.trips) == pytest.approx(profit, abs=1e-6)
    assert found.drawdown.max() == found.performance.drawdown.depth


def test_months_compound_to_the_whole() -> None:
    """Ninety days of hours: calendar months in order, their returns multiply to the total, their fees add up."""
    hours = walk(90 * 24)
    history = replace(
        hours, interval_ms=3_600_000, open_ms=hours.open_ms[0] // 3_600_000 * 3_600_000 + 3_600_000 * np.arange(90 * 24)
    )
    account = Account(history, "10000").buy(COINS[0], 5, "20").sell(COINS[0], 1_000, "20").buy(COINS[1], 2_000, "30")
    result = account.result()
    found = measured(result)
    assert [(month.year, month.month) for month in found.months] == [(2023, 11), (2023, 12), (2024, 1), (2024, 2)]
    whole = np.prod([1.0 + month.total_return for month in found.months if month.total_return is not None])
    assert whole == pytest.approx(1.0 + found.performance.total_return)
    assert found.hold
    holds = np.prod([1.0 + month.hold_return for month in found.months if month.hold_return is not None])
    assert holds == pytest.approx(found.hold.equity[-1] / found.hold.equity[0])
    assert sum(month.fees for month in found.months) == pytest.approx(found.costs.fees)
    assert [month.fills for month in found.months] == [1, 1, 0, 1]


def test_random_entries_pay_what_fills_were_worse_than_the_next_open() -> None:
    """On a flat price, filled 1 % worse with a fee of 1 % on both sides, random entries lose the same 4 % of the stake."""
    account = Account(coin(*[100.0] * 30), "1000", "0.01").buy("BTC/USDT", 3, "1", "101").sell("BTC/USDT", 9, "1", "99")
    entries = measured(account.result()).random_entries
    assert entries
    assert entries.mean == pytest.approx(-4.0 / 1_000.0, rel=0.02)


@pytest.mark.parametrize(
    "closes", [[100.0], [100.0, 100.0], [100.0] * 100, [100.0] * 3 + [float("nan")] * 3, [float("nan")] * 5]
)
def test_an_idle_account_gives_none_and_no_error(closes: list[float]) -> None:
    """No trades, one slice, coins without a price: strict JSON, and a verdict that judges nothing."""
    found = as_dict(measured(Account(coin(*closes)).result()))
    json.dumps(found, allow_nan=False)
    assert found["sharpe"] is found["deflated_sharpe"] is found["random_entries"] is found["break_even_fee"] is None
    assert "nothing to judge" in str(found["verdict"])


def test_a_ruined_account_gives_none_and_no_error() -> None:
    """Everything in a coin that goes to nothing: all lost, no ratio, strict JSON."""
    account = Account(coin(100.0, 100.0, 50.0, 0.0, 0.0), "100", "0").buy("BTC/USDT", 1, "1")
    found = as_dict(measured(account.result()))
    json.dumps(found, allow_nan=False)
    assert (found["total_return"], found["max_drawdown"], found["sharpe"]) == (-1.0, 1.0, None)


def test_a_coin_that_ends_is_counted_once_more_at_nothing() -> None:
    """Of 1000: 3 B at 100, whose candles end at 150, and 2 A at 100; no fee. 500 cash, 450 of B, 200 of A make 1150."""
    closes = np.array([[100.0, 100.0], [100.0, 100.0], [100.0, 150.0], [100.0, np.nan], [100.0, np.nan]])
    history = panel(closes, symbols=("A/USDT", "B/USDT"))
    account = Account(history, fee="0").buy("A/USDT", 1, "2").buy("B/USDT", 1, "4").sell("B/USDT", 1, "1")
    statistics = measured(account.result())
    assert statistics.performance.final_equity == 1_150.0
    assert statistics.ended.symbols == ("B/USDT",)
    assert as_dict(statistics)["ended"] == {
        "symbols": ("B/USDT",),
        "worth": 450.0,
        "share": pytest.approx(450.0 / 1_150.0),
        "total_return_at_zero": pytest.approx(-0.3),
    }
    told = text_of(statistics)
    assert "450.00 of the final equity (39.1%) stands in B/USDT, without a candle at the end" in told
    assert "total return -30.0% if worth nothing" in told
    assert "lost 30.0% if that is worth nothing" in statistics.verdict


def test_what_was_sold_before_a_coin_ended_is_no_loss() -> None:
    """Bought with a fee in the coin and sold to the last digit: nothing stands in the coin that ended."""
    history = coin(100.0, 100.0, 100.0, 100.0, float("nan"))
    account = Account(history, fee="0.1", in_coin=True).buy("BTC/USDT", 1, "0.3").sell("BTC/USDT", 2, "0.1")
    statistics = measured(account.sell("BTC/USDT", 3, "0.17").result())
    assert (statistics.ended.symbols, statistics.ended.worth, statistics.ended.share) == ((), 0.0, 0.0)
    assert statistics.ended.total_return_at_zero == pytest.approx(statistics.performance.total_return)
    assert "without a candle" not in text_of(statistics)


def test_a_replay_becomes_a_trial_and_is_judged_among_the_others(tmp_path: Path) -> None:
    """The same replay twice is one trial; with other settings there are two, for both."""
    ledger, result = Trials(tmp_path / "trials.sqlite"), busy()
    for _ in range(2):
        assert judged(result, "data", ledger, 1_000, np.random.default_rng(1)).luck.trials == 1
    other = replace(result, settings={"by": "another hand"}, equity=result.equity[::-1])
    assert judged(other, "data", ledger, 2_000, np.random.default_rng(1)).luck.trials == 2
    again = judged(result, "data", ledger, 3_000, np.random.default_rng(1))
    assert again.luck.trials == 2
    assert again.luck.sharpe_by_chance is not None
    assert again.luck.sharpe_by_chance > 0.0
    assert judged(result, "other data", ledger, 3_000, np.random.default_rng(1)).luck.trials == 1


def test_a_long_history_is_measured_in_seconds() -> None:
    """A hundred thousand slices of forty coins with gaps and two thousand fills, all figures, in under three seconds of a core."""
    history = _long(100_000, 40)
    account = Account(history, "1000000")
    for row in range(1, 90_001, 90):
        symbol = history.symbols[row % 30]
        account.buy(symbol, row, "1", "100").sell(symbol, row + 60, "1", "100.5")
    drift = 1e6 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 1e-4, len(history))))
    result = result_of(history, 1e6, 0.001, drift, drift * 0.5, account.orders, account.fills)
    began = time.process_time()
    found = measured(result)
    assert time.process_time() - began < 3.0
    assert found.round_trips.count == 1_000
    assert found.luck.basis == "day"


def _long(rows: int, coins: int) -> Panel:
    steps = np.random.default_rng(2).normal(0, 0.001, (rows, coins))
    closes = 100.0 * np.exp(np.cumsum(steps, axis=0))
    closes[5_000:, -1] = np.nan
    closes[40_000:41_000, -5:] = np.nan
    made = panel(closes, symbols=tuple(f"C{at}/USDT" for at in range(coins)))
    assert made.interval_ms == MINUTE_MS
    return made
