"""Lines about pushes with a request id."""

import logging

import pytest

from gateway.held_pushes import HeldPush
from gateway.push_logs import BLAMED_MAX, PushLogs
from shared import bus
from shared.origins import Origin
from shared.outcomes import Outcome
from shared.rings import Epoch

PREFIX = bytes(range(16))


def batch_of(*segments):
    """(origin or None, tokens) of each segment; every payload is b"secret"."""
    index = [bus.ENTRY.pack(len(token), 6, at) for _, tokens in segments for at, token in enumerate(tokens)]
    data = [token + b"secret" for _, tokens in segments for token in tokens]
    made = [bus.Segment(len(tokens), bus.ORIGIN if origin else 0, PREFIX, 4, 0) for origin, tokens in segments]
    origins = [origin for origin, _ in segments if origin]
    return bus.decode_batch(bus.encode_batch(Epoch(1, 1), 1, made, index, data, (), origins))


def test_only_pushes_with_a_request_id_have_lines(caplog):
    batch = batch_of((None, [b"a", b"b"]), (Origin("web/7"), [b"c", b"d"]), (None, [b"e"]))
    with caplog.at_level(logging.DEBUG):
        PushLogs().batch(batch, bytes([8, 8, 0, 8, 8]))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("DEBUG", f"push request_id=web/7 outcome=SENT token=c id={PREFIX.hex()}-0"),
        ("INFO", f"push request_id=web/7 outcome=REFUSED token=d id={PREFIX.hex()}-1"),
    ]
    assert "secret" not in caplog.text


@pytest.mark.parametrize("outcome", [*Outcome, bus.HELD, bus.KEPT, bus.STALE])
def test_what_is_out_of_the_ordinary_is_shown_by_default(outcome, caplog):
    unusual = {"EXPIRED", "OVERLOADED", "TOO_LARGE", "UNAVAILABLE", "REFUSED", "UNKNOWN"}
    with caplog.at_level(logging.INFO):
        PushLogs().batch(batch_of((Origin("x"), [b"a"])), bytes([outcome]))
    assert bool(caplog.records) == (isinstance(outcome, Outcome) and outcome.name in unusual)


def test_a_late_outcome(caplog):
    push = HeldPush(0, 1, 0, bus.Segment(1, bus.ORIGIN, PREFIX, 4, 0), 3, b"", None, Origin("web/7"))
    with caplog.at_level(logging.DEBUG):
        PushLogs().late(push, Outcome.EXPIRED)
        PushLogs().late(push._replace(origin=None), Outcome.EXPIRED)
    assert caplog.messages == [f"push request_id=web/7 outcome=EXPIRED id={PREFIX.hex()}-3"]


def test_a_stored_push_that_is_sent(caplog):
    with caplog.at_level(logging.DEBUG):
        PushLogs().replayed("web/7", PREFIX, 3, b"alice")
    assert caplog.messages == [f"push request_id=web/7 outcome=replayed token=alice id={PREFIX.hex()}-3"]
    assert caplog.records[0].levelname == "DEBUG"


def test_a_push_to_many(caplog):
    logs = PushLogs()
    fan_out = bus.FanOut(Epoch(1, 1), 9, bus.Segment(1, bus.ORIGIN, PREFIX, 4, 0), b"x", None, Origin("web/7"))
    logs.fan_out(1, fan_out)
    with caplog.at_level(logging.DEBUG):
        logs.counts(0, 9, {"matched": 2})
        logs.counts(1, 9, {"matched": 2, "sent": 2, "refused": 0})
        logs.counts(1, 9, {"matched": 2})
    assert caplog.messages == ["push to many request_id=web/7 matched=2 sent=2"]


def test_who_has_filled_a_buffer_is_kept_of_so_many_clients(caplog):
    logs = PushLogs()
    for number in range(BLAMED_MAX + 5):
        logs.batch(batch_of((Origin(f"r{number}"), [b"t%d" % number])), bytes([Outcome.OVERLOADED]))
    logs.batch(batch_of((Origin("again"), [b"t9"])), bytes([Outcome.OVERLOADED]))
    assert len(logs.blamed) == BLAMED_MAX
    assert (logs.blamed[b"t9"], b"t4" in logs.blamed, logs.blamed[b"t5"]) == ("again", False, "r5")
