"""What holds for every test: no property has a deadline, since the machine may be busy, and networks use one thread each."""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests are several already; read when torch is imported

settings.register_profile("lacuna", deadline=None)
settings.load_profile("lacuna")
