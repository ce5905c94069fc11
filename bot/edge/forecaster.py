"""The forecaster: the models on one worker thread. Slices in order, the newest question wins, late answers are dropped.

Every slice is observed, in order, none twice. A question that waits is replaced by a newer one. An answer for an older
slice than the newest asked, or later than the budget, is counted and dropped (faults C1, C9); one that is no number, or
absurd, is refused (C6). A model that fails numerically ends in ForecastFailed; anything else is a bug: `watch` raises
it. A worker that takes no slices any more is one too, once PANELS_MAX wait (C2): nothing is dropped to hide it.

An answer is what the return model says of the slice, NaN where there is none, and the volatilities that stand at its
close, None where nothing forecasts them. Trouble with a volatility fails no answer: it is NaN there.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from bot.config import Forecaster as Settings
from bot.core.events import Forecast, Forecasted, ForecastFailed
from bot.core.market import Panel
from bot.edge.clock import Clock
from bot.edge.volatility_work import NUMERIC, Begun, VolatilityStatus, VolatilityWork
from models.model import BadModel, Inferred, Model

RETURN_MAX = 1.0
PANELS_MAX = 1_000
RECENT = 512  # inferences whose times are kept
JOIN_S = 1.0  # of the 8 s that a stop may take (fault P1)

Answer = Forecasted | ForecastFailed


class ForecasterStuck(RuntimeError):
    """The model has not come back for so long that no more slices can be kept for it."""

    exit_code = 70


class _Question(Struct, frozen=True):
    """A slice asked for, and when, in exchange seconds."""

    open_ms: int
    asked: float


class _Warmth(Struct, frozen=True, eq=False):
    """What volatility is forecast from anew."""

    begun: Begun
    slices: Panel


class _Cooling(Struct, frozen=True):
    """From here on volatility is not known."""


class Spent(Struct, frozen=True):
    """What inferences took, in seconds: the last one, and the median and the 99th percentile of the recent ones."""

    last: float
    p50: float
    p99: float


class Forecaster:
    """`deliver` is called on the event loop that made this. Counters are exact between two turns of the loop.

    Of `asked`, `answered` were delivered as forecasts, `failed` as failures; `skipped` gave way to a newer question
    unanswered, `late` were answered and dropped. `newest` is the forecast delivered last. `model` and `volatility` are
    for the same coins; one of them may be missing.
    """

    def __init__(
        self,
        model: Model | None,
        settings: Settings,
        clock: Clock,
        deliver: Callable[[Answer], None],
        volatility: VolatilityWork | None = None,
    ) -> None:
        self._model = model
        self._volatility = volatility
        self._settings = settings
        self._clock = clock
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Panel | _Warmth | _Cooling] = deque()
        self._question: _Question | None = None
        self._newest_ms = 0
        self._trouble = ""  # of slices absorbed since the last answer; the worker's alone, as is
        self._stands_ms = 0  # the newest slice that was observed
        self._closing = False
        self._something = threading.Condition()
        self._died: asyncio.Future[None] = self._loop.create_future()
        self.asked = self.answered = self.skipped = self.late = self.failed = 0
        self.newest: Forecast | None = None
        self._seconds: deque[float] = deque(maxlen=RECENT)
        self._thread = threading.Thread(target=self._work, name="forecaster", daemon=True)
        self._thread.start()

    def observe(self, panel: Panel) -> None:
        """Hands over the next slices; they are absorbed in order before the next answer. The panel is not copied."""
        with self._something:
            if len(self._waiting) >= PANELS_MAX:
                self._fail(ForecasterStuck(f"{PANELS_MAX} batches of slices wait for the model: it does not come back"))
                return
            self._waiting.append(panel)
            self._something.notify()

    def warm(self, begun: Begun, slices: Panel) -> None:
        """Has volatility forecast by these models from here on; the slices are the newest, up to those observed last.

        Until the first time nothing is known of it.
        """
        with self._something:
            self._waiting.append(_Warmth(begun, slices))
            self._something.notify()

    def cool(self) -> None:
        """Slices were missed: nothing is known of volatility until `warm`."""
        with self._something:
            self._waiting.append(_Cooling())
            self._something.notify()

    def infer(self, open_ms: int) -> None:
        """Asks for this slice; a question that still waits is forgotten."""
        self.asked += 1
        self._newest_ms = max(self._newest_ms, open_ms)
        with self._something:
            if self._question is not None:
                self.skipped += 1
            self._question = _Question(open_ms, self._clock.seconds())
            self._something.notify()

    @property
    def volatility(self) -> VolatilityStatus | None:
        """What is forecast of the next hour; None where nothing forecasts it."""
        return self._volatility.standing if self._volatility else None

    @property
    def spent(self) -> Spent | None:
        """What inferences took; None before the first."""
        if not self._seconds:
            return None
        p50, p99 = np.percentile(self._seconds, (50, 99))
        return Spent(self._seconds[-1], float(p50), float(p99))

    async def watch(self) -> None:
        """Waits as long as the worker lives; raises what ended it."""
        await asyncio.shield(self._died)

    def close(self) -> None:
        """Ends the worker after what it is doing; one that hangs is left behind, it ends with the process."""
        with self._something:
            self._closing = True
            self._something.notify()
        self._thread.join(timeout=JOIN_S)

    # -- on the worker thread

    def _work(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as why:  # noqa: BLE001  nothing is answered here: the daemon ends with it
            self._tell_loop(self._fail, why)

    def _turn(self) -> bool:
        """Absorbs what waits and answers the question, if there is one. False when it is time to end."""
        with self._something:
            while not (self._closing or self._waiting or self._question):
                self._something.wait()
            if self._closing:
                return False
            waiting, question = list(self._waiting), self._question
            self._waiting.clear()
            self._question = None
        began = self._clock.monotonic()
        for one in waiting:  # every one, whatever became of the one before
            self._absorb(one)
        if question is not None:
            answer = self._answer(question.open_ms, began)
            self._tell_loop(self._tell, question, answer, self._clock.monotonic() - began)
        return True

    def _absorb(self, one: Panel | _Warmth | _Cooling) -> None:
        if not isinstance(one, Panel):
            assert self._volatility is not None, "a volatility model came where there is none"
            if isinstance(one, _Warmth):
                self._volatility.warm(one.begun, one.slices)
            else:
                self._volatility.cool()
            return
        self._stands_ms = int(one.open_ms[-1]) if len(one) else self._stands_ms
        if self._model is not None:
            try:
                self._model.observe(one)
            except NUMERIC as why:
                self._trouble = f"{type(why).__name__}: {why}"
        if self._volatility is not None:
            self._volatility.observe(one)

    def _answer(self, open_ms: int, began: float) -> Answer:
        trouble, self._trouble = self._trouble, ""
        if trouble:
            return ForecastFailed(open_ms, trouble)
        try:
            inferred = self._inferred()
        except NUMERIC as why:
            return ForecastFailed(open_ms, f"{type(why).__name__}: {why}")
        refusal = refused(inferred, open_ms) if self._model else misplaced(inferred, open_ms)
        if refusal:
            return ForecastFailed(open_ms, refusal)
        work = self._volatility
        volatility = work.at(open_ms + work.interval_ms) if work else None
        forecast = Forecast(open_ms, inferred.returns, volatility, inferred.gain)
        return Forecasted(forecast, self._clock.monotonic() - began)

    def _inferred(self) -> Inferred:
        """What the return model says; of no return where there is none."""
        if self._model is not None:
            return self._model.infer()
        assert self._volatility is not None, "a forecaster without any model was asked"
        return Inferred(self._stands_ms, np.full(len(self._volatility.symbols), np.nan))

    def _tell_loop(self, call: Callable[..., None], *arguments: object) -> None:
        if not self._closing:
            self._loop.call_soon_threadsafe(call, *arguments)

    # -- on the event loop

    def _tell(self, question: _Question, answer: Answer, seconds: float) -> None:
        if self._closing:
            return
        self._seconds.append(seconds)
        over_budget = self._clock.seconds() - question.asked > self._settings.budget_s
        if question.open_ms < self._newest_ms or over_budget:
            self.late += 1
        elif isinstance(answer, ForecastFailed):
            self.failed += 1
            self._deliver(answer)
        else:
            self.answered += 1
            self.newest = answer.forecast
            self._deliver(answer)

    def _fail(self, why: BaseException) -> None:
        if not self._died.done():
            self._died.set_exception(why)


def misplaced(inferred: Inferred, open_ms: int) -> str:
    """Why this is of another slice; "" when it is not."""
    return "" if inferred.open_ms == open_ms else f"the model stands at slice {inferred.open_ms}"


def refused(inferred: Inferred, open_ms: int) -> str:
    """Why this cannot be used as a forecast of the slice (C6); "" when it can."""
    if why := misplaced(inferred, open_ms):
        return why
    known = inferred.returns[~np.isnan(inferred.returns)]
    if not len(known):
        return "nothing was inferred"
    largest = float(np.abs(known).max())
    if not largest <= RETURN_MAX:
        return f"an inferred return of {largest:g}"
    return "an infinite gain" if inferred.gain is not None and np.isinf(inferred.gain).any() else ""


def check_universe(model_symbols: Sequence[str], wanted: Sequence[str]) -> None:
    """BadModel unless both name the same coins, in whatever order (C7)."""
    missing = sorted(set(wanted) - set(model_symbols))
    extra = sorted(set(model_symbols) - set(wanted))
    if missing or extra:
        raise BadModel(
            f"the model is for another universe: it lacks {', '.join(missing) or 'nothing'},"
            f" it also has {', '.join(extra) or 'nothing'}"
        )
