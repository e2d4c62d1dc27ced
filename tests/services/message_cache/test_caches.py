import logging

import msgpack
import pytest

from services.library import ClientCall, Refusal
from services.message_cache.caches import Cache
from services.message_cache.counters import Counters
from services.storage.messages import Bounds, number_at
from services.storage.messages_sqlite import open_sqlite
from shared.cached_messages import (
    Clear,
    Cleared,
    Copy,
    Dropped,
    Failed,
    Full,
    Message,
    Messages,
    Read,
    Store,
    Stored,
    decode_results,
    encode_operations,
)
from shared.errors import StorageError

NOW = 1_700_000_000
FIRST = number_at(NOW * 1000)


def call(*operations):
    return ClientCall({"signal": 0, "sub_signal": 64}, encode_operations(operations))


def store(number, ttl=60):
    return Store(b"alice", b"key of a message " + bytes([number]), 3, 0, (NOW + ttl) * 1000, None, "", b"hi")


class Engine:
    """Does as another, and remembers what came together; fails when told to."""

    def __init__(self, store):
        self.store, self.batches, self.fault = store, [], None

    def apply(self, operations, now_ms):
        self.batches.append(len(operations))
        return [Failed(self.fault)] * len(operations) if self.fault else self.store.apply(operations, now_ms)

    def totals(self):
        if self.fault:
            raise StorageError(self.fault)
        return self.store.totals()

    def sweep(self, now_ms, most):
        if self.fault:
            raise StorageError(self.fault)
        return self.store.sweep(now_ms, most)


@pytest.fixture
def engine(tmp_path):
    return Engine(open_sqlite(tmp_path / "messages.db", "memory", Bounds(messages=600)))


def test_all_calls_that_wait_are_one_transaction(engine):
    cache = Cache(engine, lambda: NOW)
    answers = cache.answer([call(store(1), store(2)), call(), call(store(1), Read(b"alice", 0, 1, 10))])
    assert engine.batches == [4]
    assert [decode_results(answer) for answer in answers] == [
        [Stored(FIRST, 0), Stored(FIRST + 1, 0)],
        [],
        [Copy(FIRST), Messages([Message(FIRST, *store(1)[1:5], b"hi")], FIRST + 1, True)],
    ]


def test_a_call_that_makes_no_sense_is_refused_and_harms_no_other(engine):
    cache = Cache(engine, lambda: NOW)
    odd = ClientCall({}, b"\xc1")
    refused, answer = cache.answer([odd, call(store(1))])
    assert isinstance(refused, Refusal)
    assert msgpack.unpackb(refused.body)["status"] == 400
    assert decode_results(answer) == [Stored(FIRST, 0)]
    assert isinstance(cache.answer([odd])[0], Refusal)
    assert cache.counters["refused"] == 2
    assert engine.batches == [1]


def test_the_sweep_goes_on_until_nothing_is_due(engine):
    now = NOW
    cache = Cache(engine, lambda: now)
    for first in range(0, 1200, 200):
        token = b"t%d" % first
        cache.answer([call(*[store(i)._replace(token=token) for i in range(200)])])
    cache.sweep()
    assert cache.counters["expired"] == 0
    now += 61
    cache.sweep()
    assert cache.counters["expired"] == 1200


def test_failures_are_answered_counted_and_told_once_in_a_while(engine, caplog):
    cache = Cache(engine, lambda: NOW)
    engine.fault = "disk full"
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            (answer,) = cache.answer([call(store(1), Clear(b"alice"))])
            assert decode_results(answer) == [Failed("disk full")] * 2
            cache.sweep()
    assert cache.counters["failed"] == 6
    assert [record.message for record in caplog.records] == ["operations fail: disk full"]


def test_what_is_counted():
    counters = Counters()
    message = Message(1, bytes(18), 3, 0, 5, b"")
    counters.add(
        [
            Stored(1, 2),
            Stored(2, 0, 1),
            Copy(1),
            Full(),
            Messages([message] * 3, 3, False),
            Dropped(4),
            Cleared(5),
            Failed(""),
        ]
    )
    assert counters.told() == (
        "acknowledged 4, cleared 5, collapsed 1, copies 1, dropped_for_newer 2, failed 1, refused_full 1, replayed 3,"
        " stored 2, transactions 1"
    )


def test_what_is_kept_is_counted(engine):
    cache = Cache(engine, lambda: NOW)
    cache.answer([call(store(1), store(2))])
    assert (cache.counters["messages"], cache.counters["bytes"]) == (0, 0)
    cache.count()
    assert (cache.counters["messages"], cache.counters["bytes"]) == (2, 260)
    engine.fault = "gone"
    cache.count()
    assert cache.counters["messages"] == 2
