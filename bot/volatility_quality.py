"""The report on a volatility model as one HTML page, its pictures inside and also beside it as PNG.

Closed  a content security policy forbids the page every load and every script. Symbols and names are foreign: all of it
        passes `wording.text`.
"""

import math
from collections.abc import Iterable
from pathlib import Path

from backtest.report.frame import framed
from backtest.report.saving import save
from backtest.report.wording import counted, moment, number, percent, signed, text
from bot.page_parts import STYLE, picture, save_pictures, section, table
from bot.volatility_figures import figures
from bot.volatility_files import write_files
from bot.volatility_research import Quality
from models.evaluate_volatility import Evaluation, Score
from models.volatility_scores import Calibration

OWN_STYLE = (
    STYLE
    + """
#models tbody th { position: sticky; left: 0; background: var(--card); }
#coins :is(th, td):not(:first-child) { padding-left: 11px; }
"""
)
CAPTIONS = {
    "last-days": "The last 10 days of the test: the mean forecast made an hour before, its 80 % interval, and what came.",
    "scatter": "Every hour of the test. Above the dashes the hour was wilder than forecast.",
    "errors": "The errors of the mean forecast; the few beyond the picture's edges (0.7 % of hours) are not drawn.",
    "uncertainty": "Whether the model knows when it may be wrong: the wider its interval, the larger the error should be."
    " About one hour in five lies above the dashes.",
    "calibration": "Mincer and Zarnowitz: actual volatility over forecast. A forecast without bias has its points on the"
    " dashes.",
    "coverage": "Left: where the actual volatility fell within the forecast's distribution; level at 1 where calibrated,"
    " high in the middle where intervals are too wide. Right: the share of hours below each predicted quantile.",
    "attention": "How much each hour of the window counts in the network's pooling, mean over the last 10 days.",
    "attention-days": "The same, hour by hour over the last 10 days: a stripe that rises to the right is one hour"
    " that grows older and still stands out.",
}
MODEL_HEADS = ("", "QLIKE", "RMSE, %", "MAE, %", "MSE, bp²", "R²", "MAPE", "direction", "of steps")
COIN_HEADS = (
    "Coin",
    "hours",
    "QLIKE",
    "best baseline",
    "its QLIKE",
    "saved",
    "DM",
    "p",
    "p, squares",
    "RMSE, %",
    "R²",
    "direction",
    "in 80 %",
    "MZ slope",
    "fallback",
    "clamped",
)


def write_quality(found: Quality, path: Path) -> None:
    """Writes the page; beside it each picture, the forecasts of the test, and results.json. Raises ReportUnwritable."""
    pictures = figures(found)
    save_pictures(pictures, path)
    write_files(found, path)
    save(path, page(found, pictures))


def page(found: Quality, pictures: dict[str, bytes]) -> str:
    """The page's HTML. The four panels are apart here, for a narrow page; together they are the picture beside it."""
    one = found.coins[found.symbol]
    about = (
        f"{found.symbol} · {moment(one.start_ms)} to {moment(one.stop_ms)} UTC · {counted(one.hours, 'hour')} · fitted on"
        f" hours up to {moment(found.fitted_ms)}"
    )
    parts = (
        _models(found, one),
        *(picture(pictures[name], caption, wide=False) for name, caption in CAPTIONS.items() if name in pictures),
        _coins(found),
    )
    title = f"{found.architecture}, volatility of the next hour"
    header = f'<h1>{text(title)}</h1><span id="about">{text(about)}</span>'
    return framed(found.architecture, header, parts, "lacuna evaluate · nothing scored here was fitted on", OWN_STYLE)


def _models(found: Quality, one: Evaluation) -> str:
    ranked = sorted(one.baselines.items(), key=lambda named: named[1].qlike)
    rows = [
        (text(name), *_scores(score)) for name, score in ((f"{found.architecture}, this model", one.model), *ranked)
    ]
    rows[0] = tuple(f"<b>{cell}</b>" for cell in rows[0])
    split = "on the model's own split" if found.own_split else "on fewer hours than the model, see below"
    note = (
        f"All on the same hours; the baselines were fitted {split}. QLIKE: v/f − ln(v/f) − 1 on variances,"
        " the less the better. Direction: whether the next hour is wilder than this one; of steps: the sign of the"
        " forecast's step from hour to hour. One log model has three forecasts, each scored by its measures: the root of"
        " its mean variance by QLIKE; its mean by RMSE, MAE and R²; its median by MAPE and direction."
    )
    return section(
        f"{found.symbol}, beside the baselines",
        f'<p id="verdict">{text(_verdict(one))}</p>{table("models", MODEL_HEADS, rows)}{_told(found, one)}',
        note,
    )


def _verdict(one: Evaluation) -> str:
    test, best = one.dm, one.baselines[one.dm.against].qlike
    saved = 1.0 - one.model.qlike / best
    against = f"{percent(abs(saved), 1)} {'below' if saved > 0 else 'above'} {test.against}, the best baseline"
    certain = "beyond chance" if test.p < 0.01 else "hardly by chance" if test.p < 0.05 else "which may be chance"
    return f"QLIKE {number(one.model.qlike, 4)}, {against} at {number(best, 4)}: {certain} ({_p(test.p)})."


def _told(found: Quality, one: Evaluation) -> str:
    """What stands in no table."""
    test, line = one.dm, one.mincer_zarnowitz
    held = ", ".join(
        f"{percent(float(name), 0)} hold {percent(share, 1)}" for name, share in sorted(one.coverage.items())
    )
    against = (
        f"Diebold and Mariano against {test.against}, with the small-sample correction: {signed(test.statistic)}"
        f" ({_p(test.p)}) on QLIKE, {signed(test.squared_statistic)} ({_p(test.squared_p)}) on squared errors; below zero"
        " the model is better."
    )
    fitted = () if math.isnan(line.slope) else (_line(line),)  # all forecasts were one value
    fates = (
        f"A simpler rule answered in {counted(one.fallbacks, 'hour')}; {counted(one.clamped, 'forecast')} bounded by what"
        " fitting saw."
    )
    remarks = (f"{remark[:1].upper()}{remark[1:]}." for remark in found.remarks)
    lines = (against, *fitted, f"Of the predicted intervals {held}.", fates, *remarks)
    return f'<div class="note told">{"".join(f"<p>{text(line)}</p>" for line in lines)}</div>'


def _line(line: Calibration) -> str:
    return (
        f"Mincer and Zarnowitz: actual = {number(100 * line.intercept, 4)} % (± {number(100 * line.intercept_error, 4)})"
        f" + {number(line.slope, 3)} (± {number(line.slope_error, 3)}) × forecast, R² {number(line.r2, 4)}."
    )


def _scores(one: Score) -> Iterable[str]:
    yield number(one.qlike, 4)
    yield number(100 * one.rmse, 4)
    yield number(100 * one.mae, 4)
    yield number(1e8 * one.mse, 1)
    yield number(one.r2, 4)
    yield percent(one.mape, 1)
    yield percent(one.direction, 1)
    yield percent(one.direction_differences, 1)


def _coins(found: Quality) -> str:
    rows = [(text(symbol), *_coin(one)) for symbol, one in found.coins.items()]
    note = (
        "One model for all of them, each beside its own best baseline. Saved: how much lower the model's QLIKE is. DM: Diebold"
        " and Mariano's statistic on QLIKE, below zero the model is better. MZ slope: 1 without bias."
    )
    return section("Coins", table("coins", COIN_HEADS, rows, tall=True), note)


def _coin(one: Evaluation) -> Iterable[str]:
    best = one.baselines[one.dm.against].qlike
    yield f"{one.hours:,}"
    yield number(one.model.qlike, 4)
    yield text(one.dm.against)
    yield number(best, 4)
    yield f"{signed(100 * (1 - one.model.qlike / best), 1)} %"
    yield signed(one.dm.statistic)
    yield _short(one.dm.p)
    yield _short(one.dm.squared_p)
    yield number(100 * one.model.rmse, 4)
    yield number(one.model.r2, 4)
    yield percent(one.model.direction, 1)
    yield percent(one.coverage["0.8"], 1)
    yield number(one.mincer_zarnowitz.slope, 3)
    yield f"{one.fallbacks:,}"
    yield f"{one.clamped:,}"


def _p(p: float) -> str:
    return f"p {'below 0.0001' if p < 1e-4 else number(p, 4)}"


def _short(p: float) -> str:
    return "&lt;0.0001" if p < 1e-4 else number(p, 4)
