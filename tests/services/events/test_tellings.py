"""What routers tell, and what goes on to the stream."""

from pathlib import Path
from typing import Any

import msgpack
import pytest
import ujson

from services.events.counters import Counters
from services.events.serving import unix_ms
from services.events.streams import Stream
from services.events.tellings import Tellings
from services.library import ClientCall, Refusal, Returned
from services.storage.events import Keeping, Kept
from services.storage.sqlite_storage import SqliteStorage
from shared.errors import SenderError


def call(fields: Any) -> ClientCall:
    return ClientCall({}, msgpack.packb(fields))


def test_unreached_pushes_are_kept_each_once(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "push.db", keeping=Keeping(1000)) as storage:
        counters = Counters(["webhook"])
        tellings = Tellings(storage.outbox, counters, unix_ms)
        told = {"events": [["alice", "ab-0", 5], ["bob", "ab-1", 6]]}
        assert tellings.answer([call(told), call({"events": [["carol", "cd-0", 7, "more"]]}), call(told)]) == [b""] * 3
        kept = [ujson.loads(one.json()) for one in storage.outbox.read(0, 9)]
        assert [(one["id"], one["kind"], one["at"], one["stored"]) for one in kept] == [
            ("ab-0/unreached", "unreached", 5, False),
            ("ab-1/unreached", "unreached", 6, False),
            ("cd-0/unreached", "unreached", 7, False),
        ]
        assert counters.figures()["told"] == 5


def test_a_request_id_is_said_where_a_router_tells_one(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "push.db", keeping=Keeping(1000)) as storage:
        tellings = Tellings(storage.outbox, Counters([]), unix_ms)
        ends = [[], ["order-7"], [""], ["no request id"], [None], ["order-8", "of a later version"]]
        told = [["alice", f"ab-{number}", 5, *end] for number, end in enumerate(ends)]
        assert tellings.answer([call({"events": told})]) == [b""]
        kept = [ujson.loads(one.json()) for one in storage.outbox.read(0, 9)]
        assert [one.get("request_id", "none") for one in kept] == ["none", "order-7", "none", "none", "none", "order-8"]


@pytest.mark.parametrize(
    "fields", [{}, {"events": 7}, {"events": [["a"]]}, {"events": [["", "x", 1]]}, {"events": [["a", 7, 1]]}, [], 5]
)
def test_what_makes_no_sense_is_refused(fields: Any, tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "push.db", keeping=Keeping(1000)) as storage:
        tellings = Tellings(storage.outbox, Counters([]), unix_ms)
        refused, taken = tellings.answer([call(fields), call({"events": [["a", "b", 1]]})])
        assert isinstance(refused, Refusal)
        assert taken == b""


def test_other_kinds_go_to_the_stream_and_never_stay() -> None:
    asked: list[Any] = []

    def ask(topic: Any, body: bytes, **how: Any) -> Returned:
        asked.append(msgpack.unpackb(body))
        raise SenderError("closed", "it has ended")

    stream = Stream(ask)
    stream.deliver([Kept(1, "a", "connected", 5, '{"kind":"connected"}')], 1)
    assert asked == []
    stream.deliver([Kept(2, "a", "expired", 6, '{"kind":"expired"}')], 1)
    assert asked == [{"op": "tell", "events": ['{"kind":"expired","token_sequence":6,"number":2}']}]
