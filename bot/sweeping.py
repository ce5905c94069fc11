"""What `lacuna sweep` does: settings, parameters and candles, checked before any work; then search, hold out, tell."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from backtest.forecasts import history_hash
from backtest.measure import judged, trial_of
from backtest.overfitting import Overfitting
from backtest.parameters import Parameter, check, deepest, parse_all, with_values
from backtest.result import Result
from backtest.run import TRIED
from backtest.simulate import Progress
from backtest.statistics import Statistics, as_dict
from backtest.study import StoredStudy
from backtest.sweep import Part, Tried, best_of, overfitting_of, parts_of, search, tried_of, verdict
from backtest.trials import Trials
from bot.backtesting import forecasts_of
from bot.config import BadConfiguration
from bot.edge.candles import utc
from bot.history import Asked, History, history_of
from bot.progress import progress_bar
from strategies import involved

ROWS_MIN = 100


class Search(Struct, frozen=True):
    """What is asked for: --param texts, trials in all, the share held out, how many of the best are replayed on it."""

    name: str | None
    parameters: tuple[str, ...]
    trials: int
    held_out: float
    best: int
    seed: int
    workers: int


class Judged(Struct, frozen=True, eq=False):
    """Settings on both parts; `tried` is None for the settings as they were."""

    tried: Tried | None
    searched: Statistics
    held_out: Statistics


def run_sweep(asked: Asked, wanted: Search, research: Path) -> tuple[dict[str, Any], str]:
    """Searches, replays the best on what was held out, judges; the figures for programs and for people."""
    parameters = parse_all(wanted.parameters)
    settings = asked.settings
    check(parameters, settings)
    history = history_of(replace(asked, settings=deepest(parameters, settings)))
    base = settings.model_dump(mode="json") | {"market": history.settings.market.model_dump(mode="json")}
    _check_parts(history, wanted.held_out)
    name = wanted.name or settings.strategy.name
    whole = history_hash(history.panel)
    what = _what(base, parameters, whole, history.tried, wanted)
    study = StoredStudy(research / "sweeps", name, what, parameters, wanted.workers, wanted.seed)
    try:
        forecasts = forecasts_of(history, whole, research)
        part = Part(history.panel, history.first, forecasts, whole)
        searched, held_out = parts_of(part, wanted.held_out, history.first, history_hash)
        ledger = Trials(research / "trials.sqlite")
        try:
            for one in (searched, held_out):
                ledger.describe(one.data, one.panel.rows(one.first, len(one.panel)))
            now_ms = int(time.time() * 1000)
            with progress_bar("sweep") as progress:
                search(study, base, searched, history.tried, wanted.trials, wanted.workers, ledger, now_ms, progress)
            tried = tried_of(study)
            best = best_of(tried, wanted.best)
            if not best:
                raise BadConfiguration(["--param: the settings allowed none of the trials: their values contradict"])
            bench = Bench(base, searched, held_out, history.tried, ledger, now_ms, wanted.seed)
            with progress_bar("held out") as progress:
                found = bench.judge([None, *best], progress)
        finally:
            ledger.close()
        asked_for = study.asked
    finally:
        study.close()
    result, text = _told(found, tried, asked_for, name, wanted, study.path)
    return result | {"remarks": history.remarks}, text


class Bench(Struct, frozen=True, eq=False):
    """Where settings are judged: both parts of the history, and the ledger that counts them."""

    base: dict[str, Any]
    searched: Part
    held_out: Part
    models: dict[str, object]
    ledger: Trials
    now_ms: int
    seed: int

    def judge(self, several: Sequence[Tried | None], progress: Progress) -> list[Judged]:
        """Each on both parts, None as the settings were. All have looked at the held-out part before one is judged."""
        settings = [with_values(self.base, one.values if one else {}) for one in several]
        after = []
        for at, one in enumerate(settings):
            progress(at, 2 * len(several))
            after.append(self.held_out.play(one, self.models))
            self.ledger.add(trial_of(after[-1], self.held_out.data, self.now_ms))
        found = []
        for at, (tried, one, result) in enumerate(zip(several, settings, after, strict=True), len(several)):
            progress(at, 2 * len(several))
            before = self._judged(self.searched.play(one, self.models), self.searched)
            found.append(Judged(tried, before, self._judged(result, self.held_out)))
        return found

    def _judged(self, result: Result, part: Part) -> Statistics:
        return judged(result, part.data, self.ledger, self.now_ms, np.random.default_rng(self.seed))


def _check_parts(history: History, held_out: float) -> None:
    decided = len(history.panel) - history.first
    after = round(decided * held_out)
    if min(after, decided - after) < ROWS_MIN:
        text = f"{decided - after} slices to search on and {after} held out, {ROWS_MIN} of each are the least"
        raise BadConfiguration([f"--validate {held_out:g}: {text}: ask for a longer range"])


def _what(
    base: dict[str, Any], parameters: tuple[Parameter, ...], data: str, models: dict[str, object], wanted: Search
) -> dict[str, Any]:
    """What makes one study another, as JSON has it."""
    family, sections = base["strategy"]["name"], base["strategies"]
    own = {"strategies": sections.get(family, {})}
    if others := involved(family, sections)[1:]:
        own["sized"] = {name: sections.get(name, {}) for name in others}
    what = {
        "settings": {section: base[section] for section in TRIED} | own,
        "param": list(parameters),
        "candles": data,
        **models,
        "validate": wanted.held_out,
        "seed": wanted.seed,
    }
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(what))
    return found


def _told(
    found: list[Judged], tried: list[Tried], asked: int, name: str, wanted: Search, path: Path
) -> tuple[dict[str, Any], str]:
    """The answer, for programs and for people."""
    unchanged, first = found[0], found[1]
    overfitting = overfitting_of(tried)
    sentence = verdict(asked, first.searched, first.held_out, unchanged.held_out, overfitting)
    result = {
        "study": name,
        "file": str(path),
        "seed": wanted.seed,
        "trials": asked,
        "refused": asked - len(tried),
        "validate": wanted.held_out,
        "searched_from_ms": first.searched.first_ms,
        "held_out_from_ms": first.held_out.first_ms,
        "held_out_trials": first.held_out.luck.trials,
        "best": [_figures(one) for one in found[1:]],
        "default": _figures(unchanged),
        "deflated_sharpe": first.searched.luck.deflated_sharpe,
        "overfitting": _overfitting(overfitting),
        "verdict": sentence,
    }
    luck, last_ms = first.searched.luck, first.held_out.last_ms
    risk = "-" if overfitting is None else f"{overfitting.probability:.1%}"
    deflated = f"deflated Sharpe ratio of the best {_number(luck.deflated_sharpe)} after {luck.trials} trials"
    between = f"searched from {utc(first.searched.first_ms)}, held out from {utc(first.held_out.first_ms)}"
    refused = f", {asked - len(tried)} of them not allowed by the settings" if asked > len(tried) else ""
    lines = [
        f"{asked} trials{refused}; {between} to {utc(last_ms)}",
        f"{'':>7}{'searched':>21}{'held out':>27}",
        f"{'trial':>7}{'sharpe':>9}{'return':>9}{'fills':>7}{'sharpe':>9}{'return':>9}{'hold':>9}{'fills':>7}  settings",
        *(_line(one) for one in found[1:]),
        _line(unchanged),
        f"{deflated}; probability of overfitting {risk}",
        f"on the held-out part the best: {first.held_out.verdict}",
        *_looked(first.held_out.luck.trials, len(found)),
        sentence,
    ]
    return result, "\n".join(lines)


def _looked(trials: int, now: int) -> list[str]:
    """A line where the held-out part is no longer unseen."""
    if trials <= now:
        return []
    return [f"other trials that looked at the held-out part before: {trials - now}; it is that much less unseen"]


def _figures(one: Judged) -> dict[str, object]:
    number = None if one.tried is None else one.tried.number
    values = {} if one.tried is None else one.tried.values
    return {
        "trial": number,
        "params": values,
        "sharpe": one.searched.luck.sharpe,
        "total_return": one.searched.performance.total_return,
        "fills": one.searched.fills,
        "held_out": as_dict(one.held_out),
    }


def _overfitting(found: Overfitting | None) -> dict[str, object] | None:
    if found is None:
        return None
    told: dict[str, object] = {
        "probability": found.probability,
        "loss": found.loss,
        "slope": found.slope,
        "trials": found.trials,
        "blocks": found.blocks,
        "choices": found.choices,
    }
    return told


def _line(one: Judged) -> str:
    """A row of the table."""
    after = one.held_out
    values = {} if one.tried is None else one.tried.values
    said = ", ".join(f"{key.rpartition('.')[2]}={_value(value)}" for key, value in values.items()) or "as they were"
    held = after.hold.performance.total_return if after.hold else None
    number = "-" if one.tried is None else str(one.tried.number)
    return (
        f"{number:>7}{_number(one.searched.luck.sharpe):>9}{one.searched.performance.total_return:>9.2%}"
        f"{one.searched.fills:>7}{_number(after.luck.sharpe):>9}{after.performance.total_return:>9.2%}"
        f"{'-' if held is None else f'{held:.2%}':>9}{after.fills:>7}  {said}"
    )


def _value(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
