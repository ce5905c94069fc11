"""What holds for every test: properties have no deadline, since the machine may be busy, and networks one thread each.

Properties are asked of the same examples in every run, so that what passes once passes again; others are sought with
`make test ARGS=--hypothesis-profile=search`.
"""

import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests are several already; read when torch is imported

settings.register_profile("lacuna", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile("lacuna")


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """How a test has set logging up ends with it: the order of tests changes nothing."""
    yield
    structlog.reset_defaults()
