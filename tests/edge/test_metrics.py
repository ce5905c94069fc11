"""What Prometheus reads: well formed, conventional, bounded, and in step with what happened (invariant I30)."""

import shutil
import subprocess

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bot.edge.metrics import FATES, HOURS, OUTCOMES, REASONS_MAX, STATES, Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("0.1.0", "paper", "binance", "USDT")


def busy(metrics: Metrics) -> Metrics:
    """Everything has happened at least once."""
    metrics.candle_closed(0.3)
    metrics.slice_closed("complete", 1.0)
    metrics.decided(0.0004)
    metrics.inferred(0.002)
    metrics.feed_connections(1)
    metrics.feed_reconnected()
    metrics.frames("candle", 5)
    metrics.bad_frames("price")
    metrics.refused_candles("off-grid time", 2)
    metrics.forecasts("late", 3)
    metrics.model("models/mine", "gaussian")
    metrics.inference_recently(0.001, 0.004)
    metrics.divergence(0.012)
    metrics.fate("ordered")
    metrics.volatility_model("pretrained", "sph-net")
    metrics.volatility(("BTC/USDT", "NEW/USDT"), np.array([0.004, np.nan]), np.array([0.003, 0.01]))
    metrics.volatility_score(0.31, 0.33, 0.79)
    metrics.volatility_hours(hours=2, failed=1, fallbacks=3, clamped=4)
    metrics.order("buy", "filled")
    metrics.fill("buy")
    metrics.account(10_012.5, 4_000.0, 0.6, 0.01)
    metrics.risk("NO_ENTRIES")
    metrics.fault("F1")
    metrics.open_faults(1)
    metrics.queue("journal", 3)
    metrics.synced(0.0004)
    metrics.journal_rows(7)
    metrics.dropped("equity", 2)
    return metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and label values."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        (sample.name, tuple(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def test_what_happened_is_what_is_read(metrics: Metrics) -> None:
    """Each event moves its own metric by its own amount."""
    found = samples(busy(metrics))
    assert found["lacuna_candle_lag_seconds_sum", ()] == 0.3
    assert found["lacuna_slices_total", ("complete",)] == 1
    assert found["lacuna_decision_seconds_count", ()] == 1
    assert found["lacuna_frames_total", ("candle",)] == 5
    assert found["lacuna_refused_candles_total", ("off-grid time",)] == 2
    assert found["lacuna_forecasts_total", ("late",)] == 3
    assert found["lacuna_dropped_total", ("equity",)] == 2
    assert found["lacuna_forecasts_total", ("skipped",)] == 0
    assert found["lacuna_model_info", ("gaussian", "models/mine")] == 1
    assert found["lacuna_recent_inference_seconds", ("99",)] == 0.004
    assert found["lacuna_divergence_ratio", ()] == 0.012
    assert [found["lacuna_divergences_total", (fate,)] for fate in FATES] == [1, 0, 0]
    assert found["lacuna_orders_total", ("buy", "filled")] == 1
    assert found["lacuna_volatility_model_info", ("sph-net", "pretrained")] == 1
    assert found["lacuna_volatility_forecast_ratio", ("BTC/USDT",)] == 0.004
    assert np.isnan(found["lacuna_volatility_forecast_ratio", ("NEW/USDT",)])
    assert found["lacuna_volatility_realised_ratio", ("NEW/USDT",)] == 0.01
    assert [found["lacuna_volatility_qlike", (by,)] for by in ("model", "har")] == [0.31, 0.33]
    assert found["lacuna_volatility_coverage_ratio", ()] == 0.79
    assert [found["lacuna_volatility_forecasts_total", (outcome,)] for outcome in HOURS] == [2, 1]
    assert found["lacuna_volatility_fallbacks_total", ()] == 3 and found["lacuna_volatility_clamped_total", ()] == 4
    assert found["lacuna_equity", ()] == 10_012.5
    assert found["lacuna_exposure_ratio", ()] == 0.6
    assert {state: found["lacuna_risk_state", (state,)] for state in STATES} == {
        "RUNNING": 0,
        "NO_ENTRIES": 1,
        "REDUCE": 0,
        "HALTED": 0,
    }
    assert found["lacuna_faults_total", ("F1",)] == 1
    assert found["lacuna_queue_depth", ("journal",)] == 3
    assert found["lacuna_journal_rows_total", ()] == 7
    assert found["lacuna_build_info", ("binance", "paper", "USDT", "0.1.0")] == 1


def test_names_follow_the_conventions(metrics: Metrics) -> None:
    """Ours begin with lacuna_, counters alone end in _total, times are seconds, shares are ratios, all have a help."""
    for family in text_string_to_metric_families(busy(metrics).text().decode()):
        assert family.documentation
        assert family.name.startswith(("lacuna_", "process_", "python_")), family.name
        if family.type == "histogram":
            assert family.name.endswith("_seconds"), family.name
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample.name
            assert not sample.name.endswith(("_created", "_ms", "_bps", "_percent")), sample.name


def test_promtool_finds_nothing_to_say(metrics: Metrics) -> None:
    """Prometheus's own linter passes the whole text."""
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool comes with Prometheus, which is not installed")
    done = subprocess.run([promtool, "check", "metrics"], input=busy(metrics).text(), capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_outcomes_exist_before_they_happen(metrics: Metrics) -> None:
    """A rate over slices that were never late is 0, not missing."""
    found = samples(metrics)
    assert {outcome: found["lacuna_slices_total", (outcome,)] for outcome in OUTCOMES} == dict.fromkeys(OUTCOMES, 0)


def test_reasons_from_outside_cannot_grow_without_end(metrics: Metrics) -> None:
    """A thousand different bad frames make a bounded number of series and are all counted."""
    for number in range(1_000):
        metrics.bad_frames(f'reason "{number}"\n')
    counted = {key: value for key, value in samples(metrics).items() if key[0] == "lacuna_bad_frames_total"}
    assert len(counted) == REASONS_MAX + 1
    assert sum(counted.values()) == 1_000


def test_two_bots_in_one_process_do_not_share(metrics: Metrics) -> None:
    """Each has a registry of its own."""
    other = Metrics("0.1.0", "paper", "binance", "USDT")
    metrics.journal_rows(5)
    assert samples(other)["lacuna_journal_rows_total", ()] == 0


def test_an_unknown_state_is_our_bug(metrics: Metrics) -> None:
    """The risk states are a fixed set."""
    with pytest.raises(ValueError, match="not in"):
        metrics.risk("FINE")
