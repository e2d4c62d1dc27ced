"""What every test shares: Hypothesis without time limits per example, because the machine may be busy."""

from hypothesis import settings

settings.register_profile("project", deadline=None, database=None)
settings.load_profile("project")
