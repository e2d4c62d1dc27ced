"""What every test shares: Hypothesis without time limits per example, because the machine may be busy."""

import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

#: Characters of a failure that are repeated in the summary.
_SUMMARY_MAX = 200

settings.register_profile("project", deadline=None, database=None)
settings.load_profile("project")

# A shell starts what runs in its background with SIGINT ignored, and a child would inherit that: tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """On a CI machine pytest's summary repeats the whole of what an assertion says: of ours, one line."""
    report = yield
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        crash.message = crash.message.partition("\n")[0][:_SUMMARY_MAX]
    return report
