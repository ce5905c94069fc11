"""What `lacuna backtest`, `lookahead` and `parity` do: a history, checked before any work; then replay, judge, tell."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import to_builtins
from msgspec.structs import replace
from rich.console import Console

from backtest.forecasts import Forecasts, history_hash, kept_ahead, volatility_ahead, volatility_kept_ahead
from backtest.lookahead import Proof
from backtest.measure import judged
from backtest.run import play
from backtest.statistics import as_dict
from backtest.summary import text_of
from backtest.trials import Trials
from bot.building import strategy_of
from bot.config import BadConfiguration
from bot.core.market import Panel
from bot.history import MINUTE_MS, Asked, History, history_of
from bot.parity import compare
from bot.progress import progress_bar
from bot.reporting import check_report, write
from bot.warming import Volatility
from models.hourly import HourlyForecasts

FEE_MAX = 0.01


def fee_of(text: str) -> float:
    """A fee as a share of a trade's value: "0.001" and "0.1%" are the same. BadConfiguration above one percent."""
    number, percent, rest = text.strip().partition("%")
    try:
        fee = float(number) / (100 if percent else 1)
    except ValueError:
        fee = float("nan")
    if rest or not 0 <= fee <= FEE_MAX:
        found = f"{fee:.0%} of every trade" if fee > FEE_MAX else "no fee"
        raise BadConfiguration([f"--fee {text}: is {found}: write it as a share, 0.0005, or as a percentage, 0.05%"])
    return fee


def run_backtest(asked: Asked, report: Path | None, research: Path, seed: int) -> tuple[dict[str, Any], str]:
    """Replays, judges, writes the report; the figures for programs and for people."""
    check_report(report)
    history = history_of(asked)
    name = history_hash(history.panel)
    trials = Trials(research / "trials.sqlite")
    try:
        forecasts = forecasts_of(history, name, research)
        with progress_bar("replay") as progress:
            tried = history.tried
            result = play(history.settings, history.panel, history.first, forecasts, tried=tried, progress=progress)
        trials.describe(name, result.panel)
        figures = judged(result, name, trials, int(time.time() * 1000), np.random.default_rng(seed))
    finally:
        trials.close()
    if report is not None:
        write(result, figures, report)
    told = {"report": str(report) if report else None, "notes": result.notes, "remarks": history.remarks}
    return as_dict(figures) | told, text_of(figures)


def run_lookahead(asked: Asked, cuts: int, seed: int) -> tuple[dict[str, Any], str]:
    """The proof that nothing looks ahead, for programs and for people."""
    history = history_of(asked)
    settings, volatility = history.settings, history.volatility
    ahead = None if volatility is None else lambda panel: volatility_ahead(volatility.model, panel, volatility.before)
    proof = Proof(settings, history.panel, history.first, history.model, lambda: strategy_of(settings), ahead)
    with progress_bar("lookahead") as progress:
        found = proof.look(cuts, np.random.default_rng(seed), progress)
    lines = [f"{found.compared:,} forecasts, targets and orders compared at {found.cuts} cuts:"]
    lines.append("nothing looks ahead" if found.identical else found.first_difference)
    if found.restarted is not None:
        lines.append(
            f"a model started only as late as needed infers the same to a correlation of {found.restarted:.3f}"
        )
    return to_builtins(found) | {"remarks": history.remarks}, "\n".join(lines)


def run_parity(asked: Asked, speed: float) -> tuple[dict[str, Any], str]:
    """Both worlds on the same candles, for programs and for people."""
    history = history_of(asked)
    if history.panel.interval_ms != MINUTE_MS:
        raise BadConfiguration([f"--candles {asked.candles}: parity plays candles of 1m; give those"])
    hours = (len(history.panel) - history.first) / 60
    Console(stderr=True).print(f"the daemon trades {hours:.1f} hours at {speed:g} times real time ...", style="dim")
    volatility = None if history.volatility is None else history.volatility.model
    found = compare(history.settings, history.panel, history.first, history.model, speed, volatility)
    counted = f"{found.slices:,} slices, {found.forecasts:,} forecasts, {found.targets:,} decisions"
    said = "paper and backtest are identical" if found.identical else found.first_difference
    text = f"{counted}, {found.orders:,} orders, {found.fills:,} fills compared:\n{said}"
    return to_builtins(found) | {"remarks": history.remarks}, text


def forecasts_of(history: History, name: str, research: Path) -> Forecasts | None:
    """The models' forecasts for the whole history, made once and kept; None where nothing is forecast."""
    forecasts, folder = None, research / "forecasts"
    if history.model is not None:
        with progress_bar("forecasts") as told:
            forecasts = kept_ahead(history.model, history.model_hash, history.panel, name, folder, told)
    if history.volatility is None:
        return forecasts
    volatility = volatilities_of(history.volatility, history.panel, name, research)
    return replace(forecasts or Forecasts(None), volatility=volatility)


def volatilities_of(volatility: Volatility, panel: Panel, name: str, research: Path) -> HourlyForecasts:
    """The volatilities for a whole panel, whose hash is `name`, made once and kept."""
    model, before = volatility.model, volatility.before
    return volatility_kept_ahead(model, volatility.model_hash, panel, before, name, research / "forecasts")
