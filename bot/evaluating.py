"""`lacuna evaluate`: what a model folder holds decides how it is scored, and which options have a meaning."""

from pathlib import Path
from typing import Any

from bot.config import BadConfiguration
from bot.timerange import TimeRange, parse
from models.checkpoint import config_of
from models.volatility_loading import ARCHITECTURES as FORECASTERS


def evaluate_any(
    folder: Path,
    candles: Path,
    steps: int | None,
    coin: str | None,
    timerange: str,
    report: Path | None,
    intersect: bool,
) -> tuple[dict[str, Any], str]:
    """The result of any model folder for programs, and for people. BadConfiguration for an option of another kind."""
    span = parse(timerange)
    if config_of(folder).architecture in FORECASTERS:
        for option, given in (("--steps", steps is not None), ("--intersect", intersect)):
            if given:
                text = f"{folder} forecasts volatility, and this is of models that infer returns: leave it out"
                raise BadConfiguration([f"{option}: {text}"])
        from bot.volatility_research import Asked, evaluate_folder
        from bot.volatility_table import table as volatility_table

        quality = evaluate_folder(Asked(folder, candles, coin, span, report))
        return quality.as_dict(), volatility_table(quality)
    if span != TimeRange():
        text = f"{folder} infers returns and is scored on the last 15 % of the candles: only volatility has a range"
        raise BadConfiguration([f"{span.option}: {text}, leave it out"])
    from bot.research import evaluate_model, table

    result = evaluate_model(folder, candles, steps, coin, report, intersect)
    return result, table(result)
