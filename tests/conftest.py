"""What every test shares: Hypothesis without time limits per example, because the machine may be busy."""

import signal

from hypothesis import settings

settings.register_profile("project", deadline=None, database=None)
settings.load_profile("project")

# A shell starts what runs in its background with SIGINT ignored, and a child would inherit that: tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)
