"""The parts of the page in words and figures: what came of it, beside what, and how sure that is. Each is HTML.

Every figure is in a data element with its exact value and its key of results.json; text passes `wording.text`.
"""

from backtest.report.wording import (
    NONE,
    cell,
    counted,
    figure,
    gained,
    length,
    moment,
    number,
    percent,
    probability,
    signed,
    text,
    tint,
)
from backtest.statistics import Interval, Luck, Performance, RandomEntries, Statistics
from backtest.verdict import SURE

PERIODS = {"day": "daily", "hour": "hourly", "slice": "slice-by-slice"}


def heading(statistics: Statistics, interval_ms: int) -> str:
    """What was replayed."""
    first, last = moment(statistics.first_ms), moment(statistics.last_ms + interval_ms)
    facts = (
        f"{first} to {last} UTC",
        counted(len(statistics.coins), "coin"),
        f"{counted(statistics.slices, 'slice')} of {length(interval_ms)}",
        f"{counted(statistics.candles, 'candle')}",
        f"replayed in {number(statistics.seconds)} s",
    )
    return f"<h1>{text(statistics.name)}</h1><span id='about'>{text(' · '.join(facts))}</span>"


def outcome(statistics: Statistics, quote: str, digits: int) -> str:
    """The verdict, and the headline figures beside buy and hold's and random entries'."""
    held = statistics.hold
    beside = f"Buy and hold of {counted(held.coins, 'coin')}" if held else "Buy and hold"
    entries = statistics.random_entries
    chance = f"Random entries, {counted(entries.draws, 'draw')}" if entries else "Random entries"
    mine = _column("", statistics.performance, digits)
    other = _column("hold.", held.performance, digits) if held else [f'<td class="number">{NONE}</td>'] * len(mine)
    random = [f'<td class="number">{NONE}</td>'] * len(mine)
    random[:2] = _random(entries, statistics.capital, digits)
    rows = "".join(
        f'<tr><th scope="row">{name}</th>{a}{b}{c}</tr>'
        for name, a, b, c in zip(_names(quote), mine, other, random, strict=True)
    )
    return (
        f'<section class="wide"><h2>Verdict</h2><p id="verdict">{text(statistics.verdict)}</p>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="Headline figures"><table class="beside">'
        f'<thead><tr><td></td><th scope="col" class="number">Strategy</th><th scope="col" class="number">{beside}</th>'
        f'<th scope="col" class="number">{chance}</th></tr></thead><tbody>{rows}</tbody></table></div>{_better(entries)}</section>'
    )


def _names(quote: str) -> tuple[str, ...]:
    return (
        f"Final equity, {text(quote)}",
        "Total return",
        "Return a year",
        "Volatility a year",
        "Sharpe ratio",
        "Sortino ratio",
        "Calmar ratio",
        "Deepest drawdown",
        "Longest below a peak",
        "Time below a peak",
    )


def _column(prefix: str, earned: Performance, digits: int) -> list[str]:
    fall = earned.drawdown
    return [
        cell(f"{prefix}final_equity", earned.final_equity, number(earned.final_equity, digits)),
        cell(f"{prefix}total_return", earned.total_return, gained(earned.total_return), tint(earned.total_return)),
        cell(f"{prefix}annual_return", earned.annual_return, gained(earned.annual_return), tint(earned.annual_return)),
        cell(f"{prefix}volatility", earned.volatility, percent(earned.volatility)),
        cell(f"{prefix}sharpe", earned.sharpe, number(earned.sharpe)),
        cell(f"{prefix}sortino", earned.sortino, number(earned.sortino)),
        cell(f"{prefix}calmar", earned.calmar, number(earned.calmar)),
        cell(f"{prefix}drawdown.depth", fall.depth, percent(fall.depth)),
        cell(f"{prefix}drawdown.longest_ms", fall.longest_ms, length(fall.longest_ms)),
        cell(f"{prefix}drawdown.underwater", fall.underwater, percent(fall.underwater, 1)),
    ]


def _random(entries: RandomEntries | None, capital: float, digits: int) -> list[str]:
    if entries is None:
        return [f'<td class="number">{NONE}</td>'] * 2
    mean = figure("random_entries.mean", entries.mean, gained(entries.mean))
    low = figure("random_entries.low", entries.low, gained(entries.low))
    high = figure("random_entries.high", entries.high, gained(entries.high))
    ended = number(capital * (1.0 + entries.mean), digits)
    return [
        f'<td class="number">{ended}</td>',
        f'<td class="number">{mean}<small>{low} to {high}</small></td>',
    ]


def _better(entries: RandomEntries | None) -> str:
    if entries is None:
        return ""
    share = figure("random_entries.better", entries.better, percent(entries.better, 1))
    return (
        f'<p class="note">Random entries: the same trips, coins, stakes and holding times at random times, at the same costs;'
        f" the mean, and 5 % to 95 % of the draws. {share} of them earned more than the strategy.</p>"
    )


def trading(statistics: Statistics, quote: str, digits: int) -> str:
    """How it traded, in a row of figures."""
    trips, costs = statistics.round_trips, statistics.costs
    still = f", {trips.open} open" if trips.open else ""
    tiles = (
        (figure("trips.count", trips.count, f"{trips.count:,}"), f"round trips{still}", ""),
        (figure("fills", statistics.fills, f"{statistics.fills:,}"), "fills", ""),
        (figure("trips.win_rate", trips.win_rate, percent(trips.win_rate, 1)), "of trips won", ""),
        (figure("trips.profit_factor", trips.profit_factor, number(trips.profit_factor)), "profit factor", ""),
        (figure("trips.gain", trips.gain, gained(trips.gain, 3)), "mean trip", tint(trips.gain)),
        (
            figure("trips.expectancy", trips.expectancy, signed(trips.expectancy, digits)),
            f"mean trip, {quote}",
            tint(trips.expectancy),
        ),
        (figure("trips.best", trips.best, signed(trips.best, digits)), f"best trip, {quote}", tint(trips.best)),
        (figure("trips.worst", trips.worst, signed(trips.worst, digits)), f"worst trip, {quote}", tint(trips.worst)),
        (figure("trips.holding_ms", trips.holding_ms, length(trips.holding_ms)), "mean holding", ""),
        (figure("exposure", statistics.exposure, percent(statistics.exposure, 1)), "mean exposure", ""),
        (
            figure("turnover_annual", costs.turnover_annual, number(costs.turnover_annual, 1)),
            "times turned over a year",
            "",
        ),
    )
    shown = "".join(
        f'<div class="figure"><b class="{kind.strip()}">{value}</b><span>{text(name)}</span></div>'
        for value, name, kind in tiles
    )
    return f'<section class="wide"><h2>Trading</h2><div id="figures">{shown}</div></section>'


def luck(statistics: Statistics) -> str:
    """What chance alone could have done: intervals as pictures, the two probabilities in words."""
    found = statistics.luck
    rows = "".join(
        _interval_row(*row)
        for row in (
            ("total_return", "Total return", statistics.performance.total_return, found.total_return, True),
            ("annual_return", "Return a year", statistics.performance.annual_return, found.annual_return, True),
            ("versus_hold", "Total return beyond holding", _beyond(statistics), found.versus_hold, True),
            ("sharpe_interval", f"Sharpe ratio, {PERIODS[found.basis]}", found.sharpe, found.sharpe_interval, False),
        )
    )
    told = "".join(f"<p>{sentence}</p>" for sentence in (_probable(found), _deflated(found), _drawn(found)))
    level = next((i.level for i in (found.total_return, found.sharpe_interval) if i), 0.9)
    return (
        f'<section class="wide"><h2>How much may be luck</h2><div class="told">{told}</div>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="Bootstrap intervals"><table>'
        f'<thead><tr><td></td><th scope="col" class="number">Measured</th><th scope="col" class="number">{percent(level, 0)} from</th>'
        f'<th scope="col" class="number">to</th><th scope="col" class="picture">Beside zero</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _beyond(statistics: Statistics) -> float | None:
    if statistics.hold is None:
        return None
    return statistics.performance.total_return - statistics.hold.performance.total_return


def _interval_row(key: str, name: str, value: float | None, interval: Interval | None, share: bool) -> str:
    show = gained if share else signed
    if interval is None:
        ends, picture = f'<td class="number">{NONE}</td>' * 2, ""
    else:
        ends = cell(f"luck.{key}.low", interval.low, show(interval.low))
        ends += cell(f"luck.{key}.high", interval.high, show(interval.high))
        picture = _picture(interval.low, interval.high, value)
    measured = f'<td class="number">{text(show(value))}</td>'
    return f'<tr><th scope="row">{text(name)}</th>{measured}{ends}<td class="picture">{picture}</td></tr>'


def _picture(low: float, high: float, value: float | None) -> str:
    """The interval as a bar, the measured figure on it, and where zero is; the ends say it in numbers beside."""
    known = [low, high, 0.0] + ([value] if value is not None else [])
    least, most = min(known), max(known)
    span = (most - least) or 1.0

    def place(at: float) -> str:
        return f"{4.0 + 92.0 * (at - least) / span:.2f}%"

    width = f"{92.0 * (high - low) / span:.2f}%"
    kind = "good" if low > 0.0 else "bad" if high < 0.0 else "soft"
    dot = f'<i class="dot" style="left:{place(value)}"></i>' if value is not None else ""
    return (
        f'<span class="bar" aria-hidden="true"><i class="zero" style="left:{place(0.0)}"></i>'
        f'<i class="range {kind}" style="left:{place(low)};width:{width}"></i>{dot}</span>'
    )


def _probable(found: Luck) -> str:
    basis = f"{found.observations:,} {PERIODS[found.basis]} returns"
    if found.probabilistic_sharpe is None:
        return f"From {basis} nothing can be said of the Sharpe ratio: there are too few, or they never moved."
    share = figure("luck.probabilistic_sharpe", found.probabilistic_sharpe, probability(found.probabilistic_sharpe))
    return (
        f"From {basis}: the true Sharpe ratio is above zero with a probability of <b>{share}</b>"
        " (probabilistic Sharpe ratio; skewness, fat tails and the length of the history allowed for)."
    )


def _deflated(found: Luck) -> str:
    trials = figure("luck.trials", found.trials, counted(found.trials, "trial"))
    if found.deflated_sharpe is None:
        return f"This strategy has had {trials} on this history; what the best of them owes to chance cannot be said."
    share = figure("luck.deflated_sharpe", found.deflated_sharpe, probability(found.deflated_sharpe))
    asked = f"The verdict asks for {percent(SURE, 0)}."
    if found.trials == 1:
        return (
            "It is the only trial of this strategy on record for this history, so nothing was picked among several, and"
            f" the deflated Sharpe ratio is <b>{share}</b>. {asked}"
        )
    chance = figure("luck.sharpe_by_chance", found.sharpe_by_chance, number(found.sharpe_by_chance))
    return (
        f"This strategy has had {trials} on this history. The best of so many worthless ones would show a ratio of about"
        f" {chance} by chance alone; the true ratio is above that with a probability of <b>{share}</b>"
        f" (deflated Sharpe ratio). {asked}"
    )


def _drawn(found: Luck) -> str:
    if found.block is None:
        return "There are too few returns to draw intervals from."
    return (
        f"Intervals are from {found.draws:,} stationary bootstrap draws, in blocks of {number(found.block, 1)}"
        f" {PERIODS[found.basis]} returns on average. One that holds zero is no evidence of a gain or a loss."
    )
