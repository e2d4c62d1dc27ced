"""services/status/figures.py."""

import gevent
import pytest

from services.status.figures import Figures
from shared.errors import SenderError


def test_watchers_at_the_same_time_share_one_question() -> None:
    asked = []

    def ask() -> dict[str, int]:
        asked.append(1)
        gevent.sleep(0)
        return {"number": len(asked)}

    figures = Figures(ask)
    watchers = gevent.joinall([gevent.spawn(figures.latest) for _ in range(10)])
    assert [watcher.value for watcher in watchers] == [{"number": 1}] * 10


def test_failure_is_not_kept() -> None:
    answers: list[SenderError | dict[str, int]] = [SenderError("timed_out", "no answer"), {"number": 2}]

    def ask() -> dict[str, int]:
        answer = answers.pop(0)
        if isinstance(answer, SenderError):
            raise answer
        return answer

    figures = Figures(ask)
    with pytest.raises(SenderError):
        figures.latest()
    assert figures.latest() == {"number": 2}
