"""The quality report as one HTML page, its pictures inside and also beside it as PNG.

Closed  a content security policy forbids the page every load and every script. Symbols and names are foreign: all of it
        passes `wording.text`.
Colours a figure's own are those of the report's light side; pictures keep a white ground in the dark.
"""

from collections.abc import Iterable
from pathlib import Path

from backtest.report.frame import framed
from backtest.report.saving import save
from backtest.report.wording import counted, length, moment, number, percent, signed, text, tint
from bot.page_parts import STYLE, picture, save_pictures, section, table
from bot.quality_figures import figures
from models.comparison import Comparison
from models.edge import Average, Event
from models.evaluate import Evaluation, Scores
from models.scores import Summary

OWN_STYLE = (
    STYLE
    + """
#models tbody tr:first-child > *, #horizons tbody tr:first-child > * { font-weight: 600; }
.row { font-size: 13px; }
"""
)
CAPTIONS = {
    "scatter": "Inferred and actual returns of the same slice, evenly drawn from all that were scored.",
    "calibration": "Above, lag 0: where the line is steeper than the dashes the model infers too little. Below: what the"
    " gain fitted on the train range expects of the next slice, and what came.",
    "coins": "Every coin's correlation, the best inferred first; the upper bars are inference, the lower ones prediction.",
    "decay": "Mean over coins of the correlation of inferred − actual with the return over the slices ahead; bars are one"
    " standard error, from the spread between days.",
}
EVENT_HEADS = (
    "|divergence| above",
    "side",
    "slices ahead",
    "events",
    "days",
    "mean",
    "± error",
    "t",
    "on the market",
    "± error",
    "t",
)
MODEL_HEADS = (
    "",
    "lag 0",
    "median",
    "min",
    "max",
    "strong",
    "weak",
    "none",
    "lag 1",
    "strong",
    "weak",
    "none",
    "R²",
    "inferred",
)
COIN_HEADS = (
    "Coin",
    "points",
    "lag 0",
    "class",
    "lag 1",
    "class",
    "with next",
    "mean inferred, bp",
    "actual, bp",
    "divergence, bp",
    "gain",
)
ROW_HEADS = ("Open, UTC", "inferred, %", "actual, %", "divergence, %", "of |actual|", "direction")


def write_quality(found: Evaluation, path: Path) -> None:
    """Writes the page, and each picture as PATH's name with the picture's after it. Raises ReportUnwritable."""
    pictures = figures(found)
    save_pictures(pictures, path)
    save(path, page(found, pictures))


def page(found: Evaluation, pictures: dict[str, bytes]) -> str:
    """The page's HTML."""
    first, last = moment(found.start_ms), moment(found.stop_ms + found.interval_ms)
    about = f"{first} to {last} UTC · {counted(found.coins, 'coin')} · {counted(found.steps, 'slice')} of {length(found.interval_ms)}"
    parts = (
        _models(found),
        picture(pictures["scatter"], CAPTIONS["scatter"], wide=False),
        picture(pictures["calibration"], CAPTIONS["calibration"], wide=False),
        _horizons(found),
        picture(pictures["decay"], CAPTIONS["decay"]),
        _events(found.event_study),
        picture(pictures["coins"], CAPTIONS["coins"]),
        _coins(found),
        _comparison(found.comparison),
    )
    header = f'<h1>{text(found.architecture)}</h1><span id="about">{text(about)}</span>'
    return framed(found.architecture, header, parts, "lacuna evaluate · nothing scored here was fitted on", OWN_STYLE)


def _models(found: Evaluation) -> str:
    named: dict[str, Scores] = {f"{found.architecture}, this model": found, **found.baselines}
    note = (
        "All on the same rows. Lag 0: correlation of the inferred with the actual return of the same slice, mean over coins;"
        " lag 1: with the next slice's, which is prediction. Strong is above 0.1 in size, weak above 0.05. R²: error saved"
        " against inferring zero. Inferred: share of real returns that the model had an answer for."
    )
    rows = [(text(name), *_scores(scores)) for name, scores in named.items()]
    return section("Inference, beside the closed forms", table("models", MODEL_HEADS, rows), note)


def _scores(found: Scores) -> Iterable[str]:
    one, two = found.lag0, found.lag1
    figures_of = (one.mean, one.median, one.min, one.max)
    yield from (number(value, 4) for value in figures_of)
    yield from (str(count) for count in (one.strong, one.weak, one.none))
    yield number(two.mean, 4)
    yield from (str(count) for count in (two.strong, two.weak, two.none))
    yield number(found.r2, 4)
    yield percent(found.inferred, 1)


def _horizons(found: Evaluation) -> str:
    named: dict[str, Scores] = {f"{found.architecture}, this model": found, **found.baselines}
    heads = ("", *(f"{kind} {one.steps}" for kind in ("raw", "market-relative") for one in found.horizons))
    rows = [
        (
            text(name),
            *(_with_error(one.raw, one.raw_error) for one in scores.horizons),
            *(_with_error(one.relative, one.relative_error) for one in scores.horizons),
        )
        for name, scores in named.items()
    ]
    note = (
        "Correlation of the divergence (inferred − actual) with the return over so many slices ahead, mean over coins, with"
        " its standard error over days. Market-relative: less the equal-weight mean of all coins' returns. Above zero, coins"
        " that lag catch up."
    )
    return section("Does the divergence predict", table("horizons", heads, rows), note)


def _with_error(found: Summary, error: float | None) -> str:
    return f"{signed(found.mean, 3)}<small>{'± ' + number(error, 3) if error is not None else ''}</small>"


def _events(found: Iterable[Event]) -> str:
    rows = [
        (
            percent(one.threshold, 1),
            one.side,
            str(one.steps),
            f"{one.count:,}",
            str(one.days),
            *_average(one.raw),
            *_average(one.relative),
        )
        for one in found
        if one.count
    ]
    note = (
        "What followed a divergence beyond each threshold. Lagging: the coin moved less than the others imply (reversion"
        " buys it); leading: it moved more (continuation buys it). Errors are by day, since the events of one day are one"
        " piece of evidence: with few days, t is a hint. A round trip at 0.1 % a side costs 0.2 %. A line without events is"
        " left out."
    )
    return section("Event study", table("events", EVENT_HEADS, rows, tall=True), note)


def _average(found: Average | None) -> tuple[str, str, str]:
    if found is None:
        return "-", "-", "-"
    mean = f'<span class="{tint(found.mean).strip()}">{signed(100 * found.mean, 4)} %</span>'
    return mean, percent(found.error, 4), signed(found.t, 1)


def _coins(found: Evaluation) -> str:
    ranked = sorted(found.per_coin, key=lambda coin: -2.0 if coin.lag0 is None else coin.lag0, reverse=True)
    rows = [
        (
            text(coin.symbol),
            f"{coin.points:,}",
            number(coin.lag0, 4),
            coin.lag0_class,
            number(coin.lag1, 4),
            coin.lag1_class,
            signed(coin.divergence_next, 4),
            *(_basis_points(mean) for mean in (coin.mean_inferred, coin.mean_actual, coin.mean_divergence)),
            number(coin.gain, 4),
        )
        for coin in ranked
    ]
    note = (
        "With next: correlation of the divergence with the next slice's return. Gain: the expected next return per unit of"
        " divergence that the model brings from its training."
    )
    return section("Coins", table("coins", COIN_HEADS, rows, tall=True), note)


def _basis_points(value: float | None) -> str:
    return signed(None if value is None else 1e4 * value, 3)


def _comparison(found: Comparison) -> str:
    rows = [
        (
            moment(row.open_ms),
            *(signed(100 * value, 4) for value in (row.inferred, row.actual, row.divergence)),
            "∞" if row.divergence_percent == "infinite" else f"{signed(row.divergence_percent, 0)} %",
            row.direction,
        )
        for row in found.rows
    ]
    note = (
        f"The last {counted(len(rows), 'slice')} of the range in which it was there. Direction accuracy"
        f" {percent(found.direction_accuracy, 1)}, correlation {number(found.correlation, 4)}. Match: one sign; neutral: both"
        " below 0.1 % in size; opposite: the rest. ∞: the price did not move."
    )
    return section(f"{found.symbol}, slice by slice", table("rows", ROW_HEADS, rows, tall=True), note)
