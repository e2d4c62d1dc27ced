"""Bridge and broker killed amid the records: the short run of chaos.kafka."""

import os

import pytest

from tests.kafka.jars import missing

pytestmark = [
    pytest.mark.skipif(bool(missing()) and not os.environ.get("CI"), reason=missing() or "-"),
    pytest.mark.timeout(600),  # Maven may have to fetch the broker first
]


def test_nothing_is_lost_or_overtaken() -> None:
    assert not missing()
    from chaos.kafka import run  # noqa: PLC0415  (without Java there may be no confluent-kafka either)

    result = run(6000, measured=False)
    assert not result.broken(), [(figure.name, figure.measured) for figure in result.figures]
