"""What holds for every test: no property has a deadline, since the machine may be busy."""

from hypothesis import settings

settings.register_profile("lacuna", deadline=None)
settings.load_profile("lacuna")
