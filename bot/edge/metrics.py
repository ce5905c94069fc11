"""What Prometheus reads: every name, unit and label of the bot in one place.

Names   `lacuna_` + what + base unit (seconds, ratio of 1), counters end in _total, as Prometheus asks.
        Money is in the quote asset, which is a label of lacuna_build_info. process_* and python_* are the
        client library's own.
Labels  from small fixed sets. What others may choose freely (a refused frame's reason) is capped.
"""

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, generate_latest

from bot.core.market import Floats
from bot.core.risk import Level

STATES = tuple(level.name for level in Level)
OUTCOMES = ("complete", "partial", "late", "missed")
FORECASTS = ("answered", "skipped", "late", "failed")
HOURS = ("answered", "failed")
FATES = ("ordered", "vetoed", "left")
REASONS_MAX = 32
OTHER = "other"

LAG = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 60.0)
DECISION = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0)
INFERENCE = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0)
SYNC = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0)


class Metrics:
    """One registry; each method is something that happened or a state that is now."""

    def __init__(self, version: str, mode: str, exchange: str, quote: str) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        prometheus_client.ProcessCollector(registry=registry)
        prometheus_client.GCCollector(registry=registry)
        about = {"version": version, "mode": mode, "exchange": exchange, "quote": quote}
        Gauge("lacuna_build_info", "What runs here, always 1.", about, registry=registry).labels(**about).set(1)
        self._market_metrics(registry)
        self._volatility_metrics(registry)
        self._order_metrics(registry)
        self._machine_metrics(registry)

    def _market_metrics(self, registry: CollectorRegistry) -> None:
        self._lag = Histogram(
            "lacuna_candle_lag_seconds", "Close of a candle to its arrival.", buckets=LAG, registry=registry
        )
        self._completeness = Gauge(
            "lacuna_slice_completeness_ratio", "Share of symbols present in the last slice.", registry=registry
        )
        self._slices = Counter("lacuna_slices_total", "Slices by how they closed.", ["outcome"], registry=registry)
        for outcome in OUTCOMES:
            self._slices.labels(outcome)
        self._decision = Histogram(
            "lacuna_decision_seconds", "Closing event to orders handed over.", buckets=DECISION, registry=registry
        )
        self._inference = Histogram(
            "lacuna_inference_seconds", "One forecast of the model.", buckets=INFERENCE, registry=registry
        )
        self._model = Gauge(
            "lacuna_model_info", "The model that infers, always 1.", ["name", "architecture"], registry=registry
        )
        self._recent = Gauge(
            "lacuna_recent_inference_seconds", "Of the last inferences.", ["percentile"], registry=registry
        )
        self._divergence = Gauge(
            "lacuna_divergence_ratio", "The largest divergence of the last decided slice, in size.", registry=registry
        )
        self._fates = Counter(
            "lacuna_divergences_total",
            "The strongest divergences of every decided slice by what came of them.",
            ["fate"],
            registry=registry,
        )
        for fate in FATES:
            self._fates.labels(fate)
        self._connections = Gauge("lacuna_feed_connections", "Connections that deliver candles.", registry=registry)
        self._reconnects = Counter("lacuna_feed_reconnects_total", "Connections lost and made anew.", registry=registry)
        self._frames = Counter("lacuna_frames_total", "Frames received.", ["kind"], registry=registry)
        self._bad_frames = Counter("lacuna_bad_frames_total", "Frames refused.", ["reason"], registry=registry)
        self._refused = Counter(
            "lacuna_refused_candles_total", "Candles of REST refused.", ["reason"], registry=registry
        )
        self._forecasts = Counter(
            "lacuna_forecasts_total", "Questions to the model by what came of them.", ["outcome"], registry=registry
        )
        for outcome in FORECASTS:
            self._forecasts.labels(outcome)
        self._reasons: dict[Counter, set[str]] = {self._bad_frames: set(), self._refused: set()}

    def _volatility_metrics(self, registry: CollectorRegistry) -> None:
        self._volatility_model = Gauge(
            "lacuna_volatility_model_info",
            "The model that forecasts volatility, always 1.",
            ["name", "architecture"],
            registry=registry,
        )
        self._volatility = Gauge(
            "lacuna_volatility_forecast_ratio",
            "Forecast volatility of the running hour, of the price.",
            ["symbol"],
            registry=registry,
        )
        self._realised = Gauge(
            "lacuna_volatility_realised_ratio",
            "Garman-Klass volatility of the newest complete hour, of the price.",
            ["symbol"],
            registry=registry,
        )
        self._qlike = Gauge(
            "lacuna_volatility_qlike",
            "Mean QLIKE of the last 7 days' hours: the model, and the panel HAR beside it.",
            ["by"],
            registry=registry,
        )
        self._coverage = Gauge(
            "lacuna_volatility_coverage_ratio",
            "Share of the last 7 days' hours inside of their 80 % intervals.",
            registry=registry,
        )
        self._hours = Counter(
            "lacuna_volatility_forecasts_total",
            "Hours to be forecast by what came of them.",
            ["outcome"],
            registry=registry,
        )
        for outcome in HOURS:
            self._hours.labels(outcome)
        self._fallbacks = Counter(
            "lacuna_volatility_fallbacks_total", "Coins' hours that a simpler rule answered for.", registry=registry
        )
        self._clamped = Counter(
            "lacuna_volatility_clamped_total", "Coins' hours outside of what fitting saw.", registry=registry
        )

    def _order_metrics(self, registry: CollectorRegistry) -> None:
        self._orders = Counter(
            "lacuna_orders_total", "Orders that came to a state.", ["side", "state"], registry=registry
        )
        self._fills = Counter("lacuna_fills_total", "Trades of our orders.", ["side"], registry=registry)
        self._equity = Gauge("lacuna_equity", "Cash and positions at the last marks.", registry=registry)
        self._cash = Gauge("lacuna_cash", "Free and reserved cash.", registry=registry)
        self._exposure = Gauge("lacuna_exposure_ratio", "Positions as a share of equity.", registry=registry)
        self._drawdown = Gauge("lacuna_drawdown_ratio", "Loss from the highest equity.", registry=registry)
        self._risk = Enum("lacuna_risk_state", "The risk manager's state.", states=STATES, registry=registry)

    def _machine_metrics(self, registry: CollectorRegistry) -> None:
        self._faults = Counter("lacuna_faults_total", "Fault episodes by number.", ["fault"], registry=registry)
        self._open_faults = Gauge("lacuna_open_faults", "Fault episodes that last.", registry=registry)
        self._queues = Gauge("lacuna_queue_depth", "Items that wait.", ["queue"], registry=registry)
        self._sync = Histogram(
            "lacuna_journal_sync_seconds", "An intent's wait for the disk.", buckets=SYNC, registry=registry
        )
        self._rows = Counter("lacuna_journal_rows_total", "Events written to the journal.", registry=registry)
        self._dropped = Counter(
            "lacuna_dropped_total", "What gave way to newer or weightier things.", ["what"], registry=registry
        )

    # -- the market

    def candle_closed(self, lag_seconds: float) -> None:
        self._lag.observe(lag_seconds)

    def slice_closed(self, outcome: str, completeness: float) -> None:
        """A slice closed: `outcome` is one of OUTCOMES, `completeness` the share of symbols present."""
        self._slices.labels(outcome).inc()
        self._completeness.set(completeness)

    def decided(self, seconds: float) -> None:
        self._decision.observe(seconds)

    def inferred(self, seconds: float) -> None:
        self._inference.observe(seconds)

    def model(self, name: str, architecture: str) -> None:
        self._model.labels(name, architecture).set(1)

    def inference_recently(self, p50: float, p99: float) -> None:
        """Seconds: the median and the 99th percentile of the last inferences."""
        self._recent.labels("50").set(p50)
        self._recent.labels("99").set(p99)

    def divergence(self, largest: float) -> None:
        """The largest divergence's size in the slice decided last, as a fraction."""
        self._divergence.set(largest)

    def fate(self, fate: str) -> None:
        """What came of one of the strongest divergences: one of FATES."""
        self._fates.labels(fate).inc()

    def feed_connections(self, count: int) -> None:
        self._connections.set(count)

    def feed_reconnected(self, count: int = 1) -> None:
        self._reconnects.inc(count)

    def frames(self, kind: str, count: int = 1) -> None:
        self._frames.labels(kind).inc(count)

    def bad_frames(self, reason: str, count: int = 1) -> None:
        self._count_reason(self._bad_frames, reason, count)

    def refused_candles(self, reason: str, count: int = 1) -> None:
        self._count_reason(self._refused, reason, count)

    def _count_reason(self, counter: Counter, reason: str, count: int) -> None:
        """At most REASONS_MAX reasons have a counter of their own; the rest is "other"."""
        known = self._reasons[counter]
        if reason not in known and len(known) >= REASONS_MAX:
            reason = OTHER
        known.add(reason)
        counter.labels(reason).inc(count)

    def forecasts(self, outcome: str, count: int = 1) -> None:
        """Questions to the model: `outcome` is one of FORECASTS; skipped ones gave way to a newer,
        late ones were overtaken while they were answered, or over their budget.
        """
        self._forecasts.labels(outcome).inc(count)

    def volatility_model(self, name: str, architecture: str) -> None:
        self._volatility_model.labels(name, architecture).set(1)

    def volatility(self, symbols: tuple[str, ...], forecast: Floats, realised: Floats) -> None:
        """Of the running hour and of the one before it, as fractions [N]; NaN where not known."""
        for symbol, ahead, happened in zip(symbols, forecast.tolist(), realised.tolist(), strict=True):
            self._volatility.labels(symbol).set(ahead)
            self._realised.labels(symbol).set(happened)

    def volatility_score(self, qlike: float, simple: float, coverage: float) -> None:
        """Of the last hours: mean QLIKE of the model and of the panel HAR, and the intervals' coverage; NaN before any."""
        self._qlike.labels("model").set(qlike)
        self._qlike.labels("har").set(simple)
        self._coverage.set(coverage)

    def volatility_hours(self, hours: int, failed: int, fallbacks: int, clamped: int) -> None:
        """So many more hours were forecast, or failed to be; so many of their coins by a fallback, or clamped."""
        self._hours.labels("answered").inc(hours)
        self._hours.labels("failed").inc(failed)
        self._fallbacks.inc(fallbacks)
        self._clamped.inc(clamped)

    # -- orders and money

    def order(self, side: str, state: str) -> None:
        self._orders.labels(side, state).inc()

    def fill(self, side: str) -> None:
        self._fills.labels(side).inc()

    def account(self, equity: float, cash: float, exposure: float, drawdown: float) -> None:
        """Money in the quote asset; exposure and drawdown as shares of equity."""
        self._equity.set(equity)
        self._cash.set(cash)
        self._exposure.set(exposure)
        self._drawdown.set(drawdown)

    def risk(self, state: str) -> None:
        """One of STATES."""
        self._risk.state(state)

    # -- the machine

    def fault(self, fault: str) -> None:
        """An episode began, or a single fault happened."""
        self._faults.labels(fault).inc()

    def open_faults(self, count: int) -> None:
        self._open_faults.set(count)

    def queue(self, name: str, depth: int) -> None:
        self._queues.labels(name).set(depth)

    def synced(self, seconds: float) -> None:
        self._sync.observe(seconds)

    def journal_rows(self, count: int = 1) -> None:
        self._rows.inc(count)

    def dropped(self, what: str, count: int = 1) -> None:
        self._dropped.labels(what).inc(count)

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self._registry)
