"""What every slice leaves behind, decided or not: its point of the equity curve, its line, its count; and checkpoints."""

from pathlib import Path

import pytest

from bot.core.commands import Submit
from bot.core.events import History, Reconciled, Stopping
from bot.core.market import MINUTE_MS
from bot.edge.store import Store
from tests.simulation.lives import audited
from tests.simulation.restless import restless
from tests.simulation.world import World

SLICES = 6


async def test_slices_that_are_never_decided_leave_their_points_and_checkpoints(tmp_path: Path) -> None:
    """Every slice is recorded as missed, none decided: the curve, the metrics and the checkpoints come all the same."""
    settings = {"risk": {"stale_after_ms": 1}, "storage": {"checkpoint_slices": 2}}
    async with World(tmp_path, settings=settings) as world:
        await world.slices(SLICES)
        daemon = world.daemon
        assert daemon.pump.counts.decisions == 0
        lines = list(daemon.recent_slices)
        times = [open_ms for open_ms, _ in daemon.equity_curve]
        said = daemon.metrics.text().decode()
        await world.stop()
    assert times == list(range(times[0], times[0] + len(times) * MINUTE_MS, MINUTE_MS))
    assert len(times) >= SLICES
    assert {(line["outcome"], line["decision_s"]) for line in lines} == {("missed", None)}
    assert "lacuna_equity 10000.0" in said
    with Store(tmp_path) as store:
        assert len(store.newest("equity", 100)) >= SLICES
    assert len([row for row in world.rows() if isinstance(row.event, Reconciled)]) >= 1 + SLICES // 2
    assert audited(tmp_path) == []


async def test_what_the_parts_count_is_in_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forecasts by what came of them, and frames by kind: all from a real run."""
    monkeypatch.setattr("bot.daemon.MEASURE_S", 0.05)
    async with World(tmp_path) as world:
        await world.decisions(2)
        asked = world.daemon.forecaster.answered if world.daemon.forecaster else 0
        await world.until(lambda: _value(world, 'lacuna_forecasts_total{outcome="answered"}') >= asked > 0)
        assert _value(world, 'lacuna_frames_total{kind="Quote"}') > 0
        assert _value(world, 'lacuna_forecasts_total{outcome="failed"}') == 0
        await world.stop()


def _value(world: World, name: str) -> float:
    """What Prometheus would read; 0 where there is nothing yet."""
    lines = world.daemon.metrics.text().decode().splitlines()
    return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), 0.0)


async def test_trading_in_every_slice_starves_no_checkpoint(tmp_path: Path) -> None:
    """A checkpoint that is due at a decision with orders comes as soon as their fate is known, and changes nothing."""
    async with restless(tmp_path, settings={"storage": {"checkpoint_slices": 1}}) as world:
        await world.until(lambda: world.daemon.ready.is_set() and world.daemon.pump.counts.slices >= SLICES)
        await world.stop()
    rows = world.rows()
    ordered = {command.order.open_ms for row in rows for command in row.commands if isinstance(command, Submit)}
    assert len(ordered) >= SLICES // 2
    assert len([row for row in rows if isinstance(row.event, Reconciled)]) >= SLICES
    stopping = next(at for at, row in enumerate(rows) if isinstance(row.event, Stopping))
    last = [type(row.event).__name__ for row in rows[stopping:] if isinstance(row.event, (Reconciled, History))]
    assert last == ["Reconciled", "History"], "the last checkpoint alone, behind everything"
    assert [type(row.event).__name__ for row in rows[-2:]] == last
    assert audited(tmp_path) == []
