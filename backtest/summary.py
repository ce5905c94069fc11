"""A backtest's figures in a few lines, for the terminal."""

from backtest.statistics import Statistics


def text_of(figures: Statistics) -> str:
    """The figures for people, beside what doing nothing clever would have earned."""
    earned, trips, costs, luck = figures.performance, figures.round_trips, figures.costs, figures.luck
    held, random, ended = figures.hold, figures.random_entries, figures.ended
    rows = [
        ("", "strategy", "hold", "random entries"),
        (
            "total return",
            _percent(earned.total_return),
            _percent(held.performance.total_return if held else None),
            f"{_percent(random.mean)} ({_percent(random.low)} to {_percent(random.high)})" if random else "-",
        ),
        ("sharpe, a year", _number(earned.sharpe), _number(held.performance.sharpe if held else None), ""),
        (
            "deepest fall",
            _percent(earned.drawdown.depth),
            _percent(held.performance.drawdown.depth if held else None),
            "",
        ),
        ("final equity", f"{earned.final_equity:,.2f}", f"{held.performance.final_equity:,.2f}" if held else "-", ""),
    ]
    lines = [f"{one:16}{two:>14}{three:>12}   {four}" for one, two, three, four in rows]
    if ended.symbols:
        share = "" if ended.share is None else f" ({_percent(ended.share)})"
        lines.append(
            f"{ended.worth:,.2f} of the final equity{share} stands in {', '.join(ended.symbols)}, without a candle"
            f" at the end: total return {_percent(ended.total_return_at_zero)} if worth nothing"
        )
    lines.append(
        f"{_count(figures.fills, 'fill')} of {_count(figures.orders, 'order')},"
        f" {_count(trips.count, 'round trip')}, {_percent(trips.win_rate)} won,"
        f" {costs.fees:,.2f} of fees, invested {_percent(figures.exposure)} of the time and money"
    )
    lines.append(
        f"deflated Sharpe ratio {_number(luck.deflated_sharpe)} after {_count(luck.trials, 'trial')} on this history;"
        f" it would break even at a fee of {_percent(costs.break_even_fee, 3)} a side"
    )
    speed = figures.candles / figures.seconds if figures.seconds else 0.0
    lines.append(f"{figures.slices:,} slices in {figures.seconds:.2f} s ({speed:,.0f} candles/s)")
    lines.append(figures.verdict)
    return "\n".join(lines)


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _percent(share: float | None, digits: int = 1) -> str:
    return "-" if share is None else f"{share * 100:.{digits}f}%"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
