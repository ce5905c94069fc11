"""The report: one HTML file that needs nothing else, in the order a trader reads.

Closed  a content security policy forbids the page every load; plotly's own script, from the installed package, and ours
        are inside. Without JavaScript all figures are there and only the charts are missing.
Text    symbols, settings, reasons and names are foreign: they become text of elements or JSON, never markup or code.
"""

from pathlib import Path

from plotly.offline import get_plotlyjs

from backtest.report import curves, sections, tables
from backtest.report.frame import framed
from backtest.report.saving import save
from backtest.report.script import SCRIPT
from backtest.report.wording import counted, text
from backtest.result import Result
from backtest.statistics import Statistics

CENTS_FROM = 100.0  # an account below this is counted in whole coins: its sums need more than two decimals


def write_report(result: Result, statistics: Statistics, path: Path) -> None:
    """Writes the page, whole or not at all. Raises ReportUnwritable."""
    save(path, page(result, statistics))


def page(result: Result, statistics: Statistics) -> str:
    """The page's HTML."""
    quote = result.panel.symbols[0].partition("/")[2] if result.panel.symbols else ""
    digits = 2 if result.capital >= CENTS_FROM else 6
    symbols = curves.drawn_coins(statistics)
    data = {
        "quote": quote,
        "digits": digits,
        "first_ms": statistics.first_ms,
        "last_ms": statistics.last_ms + result.panel.interval_ms,
        "account": curves.account(result, statistics),
        "prices": curves.prices(result, symbols),
    }
    parts = (
        sections.outcome(statistics, quote, digits),
        _account(result),
        sections.trading(statistics, quote, digits),
        sections.luck(statistics),
        tables.months(statistics),
        tables.coins(statistics, quote, digits),
        _prices(statistics, symbols),
        tables.costs(statistics, quote, digits),
        tables.settings(statistics),
        tables.untold(),
    )
    behind = f"""<noscript><p class="note">The two charts need JavaScript; every figure is here without it.</p></noscript>
<script type="application/json" id="data">{curves.as_json(data)}</script>
<script>{get_plotlyjs()}</script>
<script>{SCRIPT}</script>
"""
    header = sections.heading(statistics, result.panel.interval_ms)
    return framed(statistics.name, header, parts, "lacuna backtest", behind=behind)


def _account(result: Result) -> str:
    whole = bool((result.equity > 0.0).all())
    off = "" if whole else ' disabled title="equity was not always above zero"'
    slices = len(result.panel)
    thinned = (
        f" Of {slices:,} slices the highest and the lowest in each of {curves.BUCKETS:,} stretches are drawn."
        if slices > 2 * curves.BUCKETS
        else ""
    )
    return (
        '<section class="wide"><h2>Equity, drawdown and exposure</h2><div class="tools" role="group" aria-label="Scale of equity">'
        '<button type="button" data-scale="linear" aria-pressed="true">linear</button>'
        f'<button type="button" data-scale="log" aria-pressed="false"{off}>logarithmic</button></div>'
        '<figure aria-label="Equity of the strategy and of buy and hold, drawdown and exposure over time">'
        '<div id="account" class="chart"></div></figure>'
        f'<p class="note">Marked at every slice\'s close. Drawdown is the share below the highest value so far, exposure the'
        f" share of equity in positions.{thinned}</p></section>"
    )


def _prices(statistics: Statistics, symbols: list[str]) -> str:
    if not symbols:
        return '<section class="wide"><h2>Trades on the price</h2><p class="soft">Nothing was traded.</p></section>'
    traded = sum(coin.fills > 0 for coin in statistics.coins)
    chosen = (
        f"the {len(symbols)} traded for most of {traded}" if traded > len(symbols) else counted(traded, "traded coin")
    )
    options = "".join(f"<option>{text(symbol)}</option>" for symbol in symbols)
    return (
        '<section class="wide"><h2>Trades on the price</h2><div class="tools"><label for="coin">Coin</label>'
        f'<select id="coin">{options}</select><span id="drawn" class="soft"></span></div>'
        '<figure aria-label="Closes of the chosen coin with the buys and sells on them">'
        '<div id="price" class="chart"></div></figure>'
        f'<p class="note">To choose from: {chosen}, by value traded. Where there is more than a screen can show, the highest and'
        f" the lowest close in each of {curves.BUCKETS:,} stretches are drawn, and of the buys, and of the sells, those of"
        f" {curves.MARKS}; trades.csv and fills.csv have every one.</p></section>"
    )
