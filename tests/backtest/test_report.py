"""The report as a reader and a program see it: all there, nothing from elsewhere, one truth in every file."""

import csv
import json
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from plotly.offline import get_plotlyjs

from backtest.measure import measure
from backtest.report import write_report, write_results, write_trades
from backtest.report.page import page
from backtest.report.saving import ReportUnwritable
from backtest.report.script import SCRIPT
from backtest.result import Result
from backtest.statistics import Statistics
from tests.backtest.accounts import Account, coin
from tests.making import COINS, walk

EVIL = '</script><img src=x onerror="alert(1)">/USDT'
LOADS = {"src", "href", "srcset", "action", "data", "poster", "background", "formaction", "xlink:href"}
VOID = {"meta", "link", "br", "img", "input"}


class Reader(HTMLParser):
    """What a browser would find: elements, texts, figures by key; elements that do not close are errors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.figures: dict[str, tuple[float, str]] = {}
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.titles: list[str] = []
        self._figure = ""
        self._value = 0.0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")
        if tag == "data":
            self._figure, self._value = str(found["data-figure"]), float(str(found["value"]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._figure = ""

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.open and self.open[-1] != "style":
            self.words.append(data)
            if self.open[-1] == "h2":
                self.titles.append(data)
            if self._figure:
                self.figures[self._figure] = self._value, data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@cache
def traded(symbols: tuple[str, ...] = COINS) -> tuple[Result, Statistics]:
    """Three thousand slices of three coins, ninety round trips, one of them open, one with dust left over."""
    history = walk(3_000, symbols)
    account = Account(history, "10000")
    for row in range(10, 2_910, 33):
        symbol = symbols[row % 2]
        account.buy(symbol, row, "2.5").sell(symbol, row + 25, "2.49" if row == 10 else "2.5")
    account.buy(symbols[0], 2_990, "1")
    result = account.result()
    return result, measure(result, [0.5, -1.0], np.random.default_rng(1))


def figure_of(results: Any, key: str) -> Any:
    """The value at a dotted key of the results file."""
    for part in key.split("."):
        results = results[int(part)] if isinstance(results, list) else results[part]
    return results


def test_the_page_is_whole_and_in_the_order_a_trader_reads() -> None:
    """Every element closes; the sections come verdict first, caveats last; tables have heads."""
    result, statistics = traded()
    read = Reader(page(result, statistics))
    assert not read.open
    first, *_, last = read.titles
    assert (first, last) == ("Verdict", "What this does not tell")
    told = ["Equity", "Trading", "How much may be luck", "Months", "Coins", "Trades on the price", "Costs", "Settings"]
    assert [title for title, start in zip(read.titles[1:-1], told, strict=True) if not title.startswith(start)] == []
    assert statistics.verdict in read.text
    tags = [tag for tag, _ in read.elements]
    assert tags.count("thead") == tags.count("table") >= 7
    assert all("scope" in found for tag, found in read.elements if tag == "th")


def test_every_figure_of_the_page_is_the_one_in_results_json(tmp_path: Path) -> None:
    """More than a hundred figures, each with its key: the values are equal to the last digit."""
    result, statistics = traded()
    write_report(result, statistics, tmp_path / "report.html")
    write_results(statistics, tmp_path / "results.json")
    read = Reader((tmp_path / "report.html").read_text(encoding="utf-8"))
    results = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert {"final_equity", "hold.sharpe", "random_entries.better", "luck.deflated_sharpe"} <= set(read.figures)
    assert {"break_even_fee", "coins.2.hold_return", "months.0.total_return", "trips.win_rate"} <= set(read.figures)
    for key, (value, _) in read.figures.items():
        assert value == figure_of(results, key), key
    assert read.figures["total_return"][1] == f"{100 * results['total_return']:+.2f} %".replace("-", "\u2212")
    assert read.figures["final_equity"][1] == f"{results['final_equity']:,.2f}"


def test_the_page_loads_nothing() -> None:
    """No element names another place, our own text has no address, and the policy forbids what plotly might try."""
    result, statistics = traded()
    html = page(result, statistics)
    read = Reader(html)
    named = [(tag, found[name]) for tag, found in read.elements for name in LOADS & set(found)]
    assert named == [("link", "data:,")]
    own = re.sub('"bdata":"[^"]*"', "", html.replace(get_plotlyjs(), ""))
    assert len(own) < len(html) - 4_000_000
    assert not re.search(r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttpRequest", own)
    policy = next(found["content"] for tag, found in read.elements if tag == "meta" and "http-equiv" in found)
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "connect-src" not in policy


def test_no_button_sends_the_chart_to_a_server() -> None:
    """Plotly's own bar has one that opens a foreign page with all the data: off, and the buttons are listed one by one."""
    assert 'showSendToCloud: false, plotlyServerURL: ""' in SCRIPT
    assert "modeBarButtons: [[" in SCRIPT
    assert "ToCloud" not in SCRIPT.replace("showSendToCloud: false", "")


def test_foreign_text_stays_text() -> None:
    """Markup in a symbol, a name, a setting and a reason is shown as it is and makes no element and ends no script."""
    usual = {tag for tag, _ in Reader(page(*traded())).elements}
    result, _ = traded((EVIL, "ETH/USDT", "SOL/USDT"))
    orders = tuple(replace(order, reason="</script><script>alert(2)") for order in result.orders)
    result = replace(result, name="<h4>&", settings={"<h5>": ["<h6>", {"x": "</td>"}]}, orders=orders)
    read = Reader(page(result, measure(result, [], np.random.default_rng(1))))
    assert {tag for tag, _ in read.elements} == usual
    assert len(read.scripts) == 3
    assert EVIL in read.text
    assert "<h5>" in read.text
    assert read.text.startswith("<h4>& · lacuna")
    data = json.loads(read.scripts[0])
    assert EVIL in [price["symbol"] for price in data["prices"]]
    assert data["prices"][0]["buys"]["reason"][0] == "</script><script>alert(2)"


def test_what_has_no_meaning_is_a_dash_and_never_a_zero() -> None:
    """One idle slice: no ratio, no trip, no interval, no month and no number that pretends there was one."""
    result = Account(coin(100.0)).result()
    statistics = measure(result, [], np.random.default_rng(1))
    read = Reader(page(result, statistics))
    assert not {"sharpe", "annual_return", "trips.win_rate", "break_even_fee", "random_entries.mean"} & set(
        read.figures
    )
    assert "None" not in read.text
    assert not re.search(r"\bnan\b|\binf\b", read.text)
    assert "Sharpe ratio - - -" in read.text
    assert "Nothing was traded." in read.text


@pytest.mark.parametrize(
    "closes", [[100.0, 100.0, 50.0, 0.0, 0.0], [100.0] * 3 + [float("nan")] * 3, [float("nan")] * 5]
)
def test_ruin_and_missing_prices_still_make_a_page(closes: list[float]) -> None:
    """An account that loses all, coins that vanish, a coin without any price."""
    account = Account(coin(*closes), "100", "0")
    if closes[0] == 100.0:
        account.buy("BTC/USDT", 1, "0.9")
    result = account.result()
    read = Reader(page(result, measure(result, [], np.random.default_rng(1))))
    assert not read.open
    assert "What this does not tell" in read.text


def test_trades_csv_sums_to_the_profit(tmp_path: Path) -> None:
    """Closed and open trips and the rests that trips could not sell are together what the account earned."""
    result, statistics = traded()
    write_trades(result, statistics, tmp_path / "trades.csv")
    with (tmp_path / "trades.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    states = [line["state"] for line in lines]
    assert states.count("closed") == statistics.round_trips.count
    assert states.count("open") == statistics.round_trips.open == 1
    profit = sum(float(line["profit"]) for line in lines)
    assert profit == pytest.approx(result.equity[-1] - result.capital, abs=1e-6)


def test_what_a_trip_leaves_over_is_a_line_of_its_own(tmp_path: Path) -> None:
    """Ten coins bought, 9.9 sold at once, the price doubles: the rest's gain is no trip's, but it is the account's."""
    account = (
        Account(coin(100.0, 100.0, 100.0, 100.0, 200.0), "2000").buy("BTC/USDT", 1, "10").sell("BTC/USDT", 2, "9.9")
    )
    result = account.result()
    write_trades(result, measure(result, [], np.random.default_rng(1)), tmp_path / "trades.csv")
    with (tmp_path / "trades.csv").open(newline="") as file:
        closed, rest = csv.DictReader(file)
    assert (closed["state"], rest["state"], rest["symbol"]) == ("closed", "rest", "BTC/USDT")
    assert float(rest["profit"]) == pytest.approx(0.1 * (200.0 - 100.1))
    assert float(closed["profit"]) + float(rest["profit"]) == pytest.approx(result.equity[-1] - 2000.0)


def test_fills_csv_has_every_fill_exactly_and_why(tmp_path: Path) -> None:
    """The decimals of the ledger, the reason of the order, and no cell that a spreadsheet would compute."""
    result, statistics = traded()
    orders = (replace(result.orders[0], reason='=HYPERLINK("x")'), *result.orders[1:])
    write_trades(replace(result, orders=orders), statistics, tmp_path / "trades.csv")
    with (tmp_path / "fills.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(result.fills)
    assert [line["quantity"] for line in lines] == [format(fill.quantity, "f") for fill in result.fills]
    assert [line["price"] for line in lines] == [format(fill.price, "f") for fill in result.fills]
    assert lines[0]["reason"] == '\'=HYPERLINK("x")'
    assert lines[1]["reason"] == "sell 35"
    assert lines[0]["time"].endswith("Z")


def test_a_file_that_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """A folder that is missing, a folder in the file's place: exit code 74, a sentence, no half file."""
    _, statistics = traded()
    (tmp_path / "results.json").mkdir()
    for path in (tmp_path / "missing" / "results.json", tmp_path / "results.json"):
        with pytest.raises(ReportUnwritable, match="cannot write .*results.json: .*: name a folder") as caught:
            write_results(statistics, path)
        assert caught.value.exit_code == 74
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
