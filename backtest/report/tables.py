"""The parts of the page that are tables: months, coins, costs, settings; and what no backtest tells. Each is HTML."""

from collections.abc import Iterator

from backtest.report.wording import (
    MONTHS,
    NONE,
    cell,
    figure,
    gained,
    length,
    number,
    percent,
    signed,
    text,
    tint,
)
from backtest.statistics import Coin, Costs, Month, Statistics

HEAT = 0.10  # a month that moved this much is coloured in full
COLOUR_MAX = 42  # per cent of colour in a cell: more of it would cost the figures their contrast
FEES = (0.0, 0.0002, 0.0005, 0.001)


def months(statistics: Statistics) -> str:
    """A row a year: the strategy's month, coloured, and buy and hold's under it."""
    years: dict[int, dict[int, tuple[int, Month]]] = {}
    for at, month in enumerate(statistics.months):
        years.setdefault(month.year, {})[month.month] = (at, month)
    head = "".join(f'<th scope="col" class="number">{name}</th>' for name in (*MONTHS, "Year"))
    rows = "".join(_year(year, found) for year, found in years.items())
    return (
        '<section class="wide"><h2>Months</h2>'
        '<div class="scroll" tabindex="0" role="region" aria-label="Monthly returns"><table class="months"><thead><tr>'
        f'<th scope="col">UTC</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        '<p class="note">The strategy\'s return, and under it that of buy and hold. The first and the last month may be parts'
        " of one; a year is its months compounded.</p></section>"
    )


def _year(year: int, found: dict[int, tuple[int, Month]]) -> str:
    cells = "".join(_month(*found[number]) if number in found else "<td></td>" for number in range(1, 13))
    mine = _compounded([month.total_return for _, month in found.values()])
    held = _compounded([month.hold_return for _, month in found.values()])
    whole = f'<td class="number whole{tint(mine)}">{gained(mine, 1)}<small>{gained(held, 1)}</small></td>'
    return f'<tr><th scope="row">{year}</th>{cells}{whole}</tr>'


def _month(at: int, month: Month) -> str:
    mine = figure(f"months.{at}.total_return", month.total_return, gained(month.total_return, 1))
    held = figure(f"months.{at}.hold_return", month.hold_return, gained(month.hold_return, 1))
    return f'<td class="number"{_heat(month.total_return)}>{mine}<small>{held}</small></td>'


def _heat(value: float | None) -> str:
    if not value:
        return ""
    colour = "--good" if value > 0.0 else "--bad"
    strength = COLOUR_MAX * min(abs(value) / HEAT, 1.0) ** 0.5  # the root: small months differ too
    return f' style="background:color-mix(in srgb, var({colour}) {strength:.0f}%, transparent)"'


def _compounded(returns: list[float | None]) -> float | None:
    whole = 1.0
    for one in returns:
        if one is None:
            return None
        whole *= 1.0 + one
    return whole - 1.0


def coins(statistics: Statistics, quote: str, digits: int) -> str:
    """A row a coin; the heads sort."""
    heads = (
        "Coin",
        f"Profit, {quote}",
        "Fills",
        "Trips",
        "Won",
        "Mean holding",
        f"Fees, {quote}",
        f"Slippage, {quote}",
        f"Traded, {quote}",
        "Held itself",
    )
    head = "".join(
        f'<th scope="col"{"" if at == 0 else _NUMBER}><button type="button">{text(name)}</button></th>'
        for at, name in enumerate(heads)
    )
    rows = "".join(_coin(at, coin, digits) for at, coin in enumerate(statistics.coins))
    return (
        '<section class="wide"><h2>Coins</h2>'
        '<div class="scroll tall" tabindex="0" role="region" aria-label="Coins"><table id="coins" class="sortable"><thead><tr>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        '<p class="note">Profit is realised and marked, after fees: together the account\'s. "Held itself" is the coin\'s own'
        " move from its first to its last close. A head sorts its column.</p></section>"
    )


_NUMBER = ' class="number"'


def _coin(at: int, coin: Coin, digits: int) -> str:
    key = f"coins.{at}"
    traded = coin.fills > 0
    cells = (
        cell(f"{key}.profit", coin.profit if traded else None, signed(coin.profit, digits), tint(coin.profit)),
        cell(f"{key}.fills", coin.fills, f"{coin.fills:,}"),
        cell(f"{key}.trips", coin.trips, f"{coin.trips:,}"),
        cell(f"{key}.win_rate", coin.win_rate, percent(coin.win_rate, 1)),
        cell(f"{key}.holding_ms", coin.holding_ms, length(coin.holding_ms)),
        cell(f"{key}.fees", coin.fees if traded else None, number(coin.fees, digits)),
        cell(f"{key}.slippage", coin.slippage if traded else None, signed(coin.slippage, digits)),
        cell(f"{key}.traded", coin.traded if traded else None, number(coin.traded, digits)),
        cell(f"{key}.hold_return", coin.hold_return, gained(coin.hold_return), tint(coin.hold_return)),
    )
    return f'<tr><th scope="row">{text(coin.symbol)}</th>{"".join(cells)}</tr>'


def costs(statistics: Statistics, quote: str, digits: int) -> str:
    """What was earned before fees, what they took, and the fee a side that would have taken all of it."""
    spent, capital = statistics.costs, statistics.capital
    if spent.break_even_fee is None:
        return (
            '<section class="wide"><h2>Costs</h2><p class="soft">Nothing was traded, so nothing was paid.</p></section>'
        )
    profit = statistics.performance.final_equity - capital
    ledger = (
        ("Before fees", signed(profit + spent.fees, digits), gained((profit + spent.fees) / capital)),
        ("Fees", number(-spent.fees, digits), gained(-spent.fees / capital)),
        ("After fees", signed(profit, digits), gained(profit / capital)),
    )
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td class="number">{money}</td><td class="number">{share}</td></tr>'
        for name, money, share in ledger
    )
    at_fees = "".join(
        f'<tr><th scope="row">{_fee(fee, spent)}</th><td class="number">{signed(money, digits)}</td>'
        f'<td class="number{tint(money)}">{gained(money / capital)}</td></tr>'
        for fee, money in _at_fees(spent, profit)
    )
    head = f'<th scope="col" class="number">{text(quote)}</th><th scope="col" class="number">of the capital</th>'
    return (
        f'<section class="wide"><h2>Costs</h2><div class="told">{_break_even(spent, spent.break_even_fee, quote, digits)}</div><div class="pair">'
        f'<table><thead><tr><th scope="col">Profit</th>{head}</tr></thead><tbody>{rows}</tbody></table>'
        f'<table><thead><tr><th scope="col">Had the fee a side been</th>{head}</tr></thead><tbody>{at_fees}</tbody></table>'
        "</div></section>"
    )


def _break_even(spent: Costs, fee: float, quote: str, digits: int) -> str:
    paid = figure("fee", spent.fee, percent(spent.fee, 4))
    even = figure("break_even_fee", fee, percent(fee, 4))
    told = f"These fills break even at a fee of <b>{even}</b> a side; the replay paid {paid}."
    if fee < 0.0:
        told = f"These fills lose money <b>even without a fee</b>: the fee to break even is {even} a side; the replay paid {paid}."
    fees = figure("fees", spent.fees, number(spent.fees, digits))
    slippage = figure("slippage", spent.slippage, number(spent.slippage, digits))
    traded = figure("traded", spent.traded, number(spent.traded, digits))
    return (
        f"<p>{told}</p><p>{traded} {text(quote)} were traded for {fees} of fees and {slippage} of"
        " slippage: what fills were worse than the close their decision saw (below zero: better). Slippage is in the prices,"
        " and so in the profit before fees. Other fees would have left other sums to trade with: an approximation.</p>"
    )


def _fee(fee: float, spent: Costs) -> str:
    return f"{percent(fee, 3)}{', as replayed' if fee == spent.fee else ''}"


def _at_fees(spent: Costs, profit: float) -> Iterator[tuple[float, float]]:
    for fee in sorted({*FEES, spent.fee}):
        yield fee, profit + spent.fees - fee * spent.traded


def settings(statistics: Statistics) -> str:
    """The settings in force, one a line, and the digest of all orders and fills."""
    rows = "".join(
        f'<tr><th scope="row">{text(key)}</th><td class="text">{text(value)}</td></tr>'
        for key, value in _flat("", statistics.settings)
    )
    return (
        '<section><h2>Settings in force</h2><div class="scroll tall" tabindex="0" role="region" aria-label="Settings">'
        '<table class="settings"><thead><tr><th scope="col">Setting</th><th scope="col">Value</th></tr></thead>'
        f'<tbody>{rows}</tbody></table></div><p class="note">Digest of every order and fill:'
        f' <code id="digest">{text(statistics.digest)}</code>. The same settings on the same candles give the same digest.'
        "</p></section>"
    )


def _flat(prefix: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list | tuple):
        yield prefix, ", ".join(map(str, value)) or NONE
    else:
        yield prefix, NONE if value is None or value == {} else value


UNTOLD = (
    (
        "Fills are ideal.",
        (
            "An order decided at a close meets the open of the candle that runs when it arrives, moved by the spread and slippage"
            " set; it fills whole. The order book, the queue and what our own orders do to the price are not modelled: the larger"
            " the orders and the smaller the coin, the worse it is in truth."
        ),
    ),
    (
        "Within a candle nothing is known.",
        "Stops and equity are looked at once a slice, at closes; drawdowns between two closes are not seen.",
    ),
    (
        "The universe is today's choice.",
        (
            "Coins that were delisted, hacked or never listed are missing unless the candles have them: survivors flatter both the"
            " strategy and buy and hold."
        ),
    ),
    (
        "Exchanges fail.",
        "Outages, refusals, rate limits, halted coins, withdrawn funds and a stablecoin off its peg are not replayed.",
    ),
    (
        "Only trials on record are counted.",
        (
            "Whatever was tried elsewhere, or by eye, makes luck larger than the figures say; so does a model trained on these"
            " very candles."
        ),
    ),
    (
        "Positions open at the end",
        "count at their last known price, without the fee of selling them. Taxes and the cost of capital are in nothing here.",
    ),
    ("It is the past.", "Markets change, and what many know stops paying."),
)


def untold() -> str:
    """What a reader must not conclude."""
    items = "".join(f"<li><b>{text(title)}</b> {text(body)}</li>" for title, body in UNTOLD)
    return f'<section><h2>What this does not tell</h2><ul class="untold">{items}</ul></section>'
