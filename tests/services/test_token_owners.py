"""services/token_owners.py, with a message cache that says what the test wants."""

from collections.abc import Sequence
from typing import Any

import pytest

from services.library import PublishError, Returned
from services.token_owners import clearing, ended_login
from shared.cached_messages import Clear, Cleared, Failed, decode_operations, encode_results, topic_of
from shared.settings import load

CLEARED = encode_results([Cleared(3)])


class Cache:
    """Answers calls as Service.ask does."""

    def __init__(self, code: int, body: bytes = b"") -> None:
        self.answer, self.asked = Returned(code, body), []  # type: ignore[var-annotated]

    def ask(self, topic: Sequence[int], body: bytes, **options: Any) -> Returned:
        self.asked.append((topic, decode_operations(body), options["key"], options["idempotent"]))
        return self.answer


@pytest.mark.parametrize(
    ("services", "cache", "cleared"),
    [
        ("all", Cache(0, CLEARED), True),
        ("", Cache(0, CLEARED), True),
        ("all", Cache(0, encode_results([Failed("disk full")])), False),
        ("all", Cache(0, b"nonsense"), False),
        ("all", Cache(PublishError.TIMED_OUT), False),
        ("all", Cache(PublishError.QUEUE_FULL), False),
        ("login", Cache(PublishError.NOT_IMPLEMENTED), True),
        ("login,message-cache", Cache(PublishError.NOT_IMPLEMENTED), False),
    ],
)
def test_what_is_stored_for_a_token_is_cleared(services: str, cache: Cache, cleared: bool):
    settings = load({"PUSH_SERVICES": services, "PUSH_MESSAGE_CACHES": "5"})
    assert clearing(cache, settings)("phone") is cleared  # type: ignore[arg-type]
    topic = topic_of(b"phone", 5)
    assert cache.asked == [(topic, [Clear(b"phone")], str(topic.sub_signal), True)]


def test_marks_of_logins_differ():
    pairs = [("a", "b:c"), ("a:b", "c"), ("a", "b"), ("1:a", "b")]
    assert len({ended_login(*pair) for pair in pairs}) == len(pairs)
