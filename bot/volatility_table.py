"""The scores of a volatility model for people, as text."""

import math
from collections.abc import Iterator

from bot.edge.candles import utc
from bot.volatility_research import Quality
from models.evaluate_volatility import Evaluation, Score

HEADS = ("QLIKE", "RMSE %", "MAE %", "R2", "MAPE", "direction", "steps")
NOTE = """QLIKE: v/f - ln(v/f) - 1 on variances, the less the better; RMSE and MAE in percent of the price, an hour's volatility;
direction: whether the next hour is wilder than this one; steps: the sign of the forecast's step from hour to hour;
QLIKE is of the forecast's root mean variance, RMSE, MAE and R2 of its mean, MAPE and direction of its median"""


def table(found: Quality) -> str:
    """The model and the baselines of the coin in full; every coin where there are several."""
    return "\n".join((*_coin(found), *(_coins(found) if len(found.coins) > 1 else ()), "", NOTE))


def _coin(found: Quality) -> Iterator[str]:
    one = found.coins[found.symbol]
    yield (
        f"{one.symbol}: {one.hours:,} hours never fitted on, {utc(one.start_ms)} to {utc(one.stop_ms)} UTC,"
        f" {found.seconds:.1f} s; * the model"
    )
    yield ""
    yield f"{'':20}" + "".join(f"{head:>10}" for head in HEADS)
    ranked = sorted(one.baselines.items(), key=lambda named: named[1].qlike)
    for name, score in ((f"{found.architecture} *", one.model), *ranked):
        yield f"{name:20}{_figures(score)}"
    yield ""
    test = one.dm
    yield (
        f"Diebold-Mariano against {test.against}, the best baseline: {test.statistic:.2f} (p {test.p:.2g}) on QLIKE,"
        f" {test.squared_statistic:.2f} (p {test.squared_p:.2g}) on squares; below 0 the model is better"
    )
    held = ", ".join(f"{float(name):.0%} intervals hold {share:.1%}" for name, share in sorted(one.coverage.items()))
    yield f"{held}; {_fates(one)}"
    line = one.mincer_zarnowitz
    if math.isnan(line.slope):  # all forecasts were one value
        return
    yield (
        f"Mincer-Zarnowitz: actual = {100 * line.intercept:.4f} % + {line.slope:.3f} x forecast"
        f" (errors {100 * line.intercept_error:.4f} %, {line.slope_error:.3f}), R2 {line.r2:.4f}"
    )


def _coins(found: Quality) -> Iterator[str]:
    yield ""
    yield f"{'':16}{'hours':>7}{'QLIKE':>9}  {'best baseline':22}{'saved':>7}{'p':>9}{'R2':>8}{'direction':>11}{'in 80 %':>9}"
    for symbol, one in found.coins.items():
        best = one.baselines[one.dm.against].qlike
        yield (
            f"{symbol:16}{one.hours:>7,}{one.model.qlike:>9.4f}  {f'{one.dm.against} {best:.4f}':22}"
            f"{1 - one.model.qlike / best:>7.1%}{one.dm.p:>9.2g}{one.model.r2:>8.4f}{one.model.direction:>11.3f}"
            f"{one.coverage['0.8']:>9.1%}" + (f"  {_fates(one)}" if one.fallbacks or one.clamped else "")
        )


def _figures(one: Score) -> str:
    errors = f"{one.qlike:>10.4f}{100 * one.rmse:>10.4f}{100 * one.mae:>10.4f}{one.r2:>10.4f}"
    return f"{errors}{one.mape:>10.1%}{one.direction:>10.3f}{one.direction_differences:>10.3f}"


def _fates(one: Evaluation) -> str:
    return f"fallback in {one.fallbacks:,} hours, clamped in {one.clamped:,}"
