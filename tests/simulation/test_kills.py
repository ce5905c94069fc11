"""SIGKILL at any moment of a real run: nothing lost, nothing doubled (fault P3)."""

from pathlib import Path

import pytest

from benchmarks.kills import kill_again_and_again


@pytest.mark.slow
def test_the_books_are_right_after_every_death(tmp_path: Path) -> None:
    """Faults P3 to P7: a dozen kills at random moments of a trading run; the ledger is the sum of the fills."""
    found = kill_again_and_again(tmp_path, kills=12, speed=60.0, seed=7)
    assert found.problems == []
    assert found.identical
    assert found.orders > 0
