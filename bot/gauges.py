"""Readings for the metrics that are states, not happenings: queues, connections, and what the parts count themselves."""

from collections import Counter

from bot.edge.faults import Faults
from bot.edge.feed import Feed
from bot.edge.forecaster import Forecaster
from bot.edge.journal import Journal
from bot.edge.metrics import FORECASTS, Metrics
from bot.edge.rest import Rest
from bot.edge.volatility_work import VolatilityStatus
from bot.fates import Fates

BAD = "bad: "


class Gauges:
    """`read_...` as often as you like: counters of the parts only grow, and what they grew by is added."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._seen: Counter[str] = Counter()

    def read_queues(self, pump_depth: int, journal: Journal, faults: Faults) -> None:
        self._metrics.queue("pump", pump_depth)
        self._metrics.queue("journal", journal.depth)
        self._metrics.dropped("equity", self._grown("equity", journal.dropped))
        self._metrics.open_faults(len(faults.open))

    def read_market_data(self, feed: Feed, rest: Rest) -> None:
        self._metrics.feed_connections(int(feed.connected))
        self._metrics.feed_reconnected(self._grown("reconnects", max(0, feed.connections - 1)))
        self._metrics.dropped("partials", self._grown("partials", feed.overwritten))
        for kind, total in feed.frames.items():
            count = self._grown(f"frame {kind}", total)
            if kind.startswith(BAD):
                self._metrics.bad_frames(kind.removeprefix(BAD), count)
            else:
                self._metrics.frames(kind, count)
        for reason, total in rest.refused.items():
            self._metrics.refused_candles(reason, self._grown(f"refused {reason}", total))

    def read_forecaster(self, forecaster: Forecaster, faults: Faults, now_ms: int) -> None:
        for outcome in FORECASTS:
            self._metrics.forecasts(outcome, self._grown(outcome, getattr(forecaster, outcome)))
        spent = forecaster.spent
        if spent:
            self._metrics.inference_recently(spent.p50, spent.p99)
        if forecaster.volatility:
            self._read_volatility(forecaster.volatility, faults, now_ms)

    def _read_volatility(self, standing: VolatilityStatus, faults: Faults, now_ms: int) -> None:
        """What is forecast of the running hour; an hour's forecast that has failed is a fault of its own (C6)."""
        if standing.open_ms:
            self._metrics.volatility(standing.symbols, standing.of_hour(now_ms), standing.realised)
            self._metrics.volatility_score(standing.score.qlike, standing.score.simple, standing.score.coverage)
        names = ("hours", "failed", "fallbacks", "clamped")
        grown = {name: self._grown(f"volatility {name}", getattr(standing, name)) for name in names}
        self._metrics.volatility_hours(**grown)
        if grown["failed"]:
            faults.count("C6", f"no forecast of an hour's volatility: {standing.trouble}")

    def count_fates(self, fates: Fates) -> None:
        """What came of the strongest divergences of a slice that was just decided."""
        for fate in fates.newest:
            self._metrics.fate("ordered" if fate.client_id else "vetoed" if fate.vetoed else "left")
        if fates.newest:
            self._metrics.divergence(abs(fates.newest[0].divergence))

    def _grown(self, what: str, total: int) -> int:
        """By how much a counter grew since it was last read."""
        grown = total - self._seen[what]
        self._seen[what] = total
        return grown
