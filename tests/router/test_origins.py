"""The request id and trace context of a push, on the way to its worker."""

import logging

import pytest

from router import push_logs
from router.journeys import HOPS_MAX, Arrival, Hop, Journey
from router.push_logs import PushLogs
from shared import bus
from shared.origins import Origin
from shared.outcomes import Outcome
from tests.router.driven_core import DrivenCore

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def core_with(**says: object) -> DrivenCore:
    driven = DrivenCore()
    driven.join("h/0", stores=True, targets=True, **says)
    return driven


def test_they_go_to_a_worker_with_the_pushes_that_have_them():
    driven = core_with(origins=True)
    driven.core.from_sender(b"s1", [b"PUSH1", b"1", b'{"request_id":"web/7"}', b"a", b"x", b"b", b"y"], driven.now)
    driven.core.from_sender(b"s1", [b"PUSH1", b"2", b"", b"c", b"z"], driven.now)
    options = f'{{"ttl":60,"traceparent":"{TRACEPARENT}"}}'.encode()
    driven.core.from_sender(b"s1", [b"PUSH1", b"3", options, b"d", b"w"], driven.now)
    driven.turn()
    (sent,) = driven.sent()
    assert [segment.flags for segment in sent.batch.segments] == [bus.ORIGIN, 0, bus.ORIGIN | bus.OPTIONS]
    assert sent.batch.origins == [Origin("web/7"), Origin("", TRACEPARENT)]
    assert [terms.ttl for terms in sent.batch.terms] == [60]


@pytest.mark.parametrize("options", [{}, {"ttl": 60}])
def test_a_worker_that_does_not_know_them_gets_none(options):
    driven = core_with()
    driven.push(b"1", b"a", request_id="web/7", **options)
    (frames,) = driven.messages(bus.PUSHES1)
    assert len(frames) == (6 if options else 5)
    (sent,) = driven.sent()
    assert [segment.flags for segment in sent.batch.segments] == [bus.OPTIONS if options else 0]
    driven.outcomes(sent)
    assert driven.answer()[:3] == [b"DONE1", b"1", b"\0"]


@pytest.mark.parametrize("to", ["all", "group"])
def test_a_fan_out_has_it_for_workers_that_know_it(to):
    driven = core_with(origins=True)
    driven.join("h/1", targets=True)
    driven.push(b"1", b"" if to == "all" else b"news", to=to, request_id="web/7")
    origins = {name: bus.decode_fan_out(frames).origin for name, frames in driven.to_workers if frames[0] == bus.ALL1}
    assert origins == {"h/0": Origin("web/7"), "h/1": None}


def test_a_copy_with_another_request_id_is_a_copy():
    driven = core_with(origins=True)
    driven.hello(b"news")
    driven.push(b"1", b"a", id="x", request_id="web/7")
    driven.push(b"2", b"a", id="x", request_id="web/8")
    (sent,) = driven.sent()
    driven.outcomes(sent)
    assert [answer[1] for answer in driven.answers()] == [b"1", b"2"]


def test_what_has_become_of_a_push_is_told_with_its_way():
    driven = core_with(origins=True)
    driven.hello(b"news")
    driven.push(b"1", b"a", b"b", request_id="web/7")
    driven.push(b"2", b"c")
    driven.now += 0.25
    (sent,) = driven.sent()[:1]
    driven.outcomes(sent, bytes([Outcome.SENT, Outcome.REFUSED]), (1_000_000, 1_000_300))
    (arrival,) = driven.arrivals
    assert (arrival.journey.origin, arrival.journey.kind, arrival.journey.sender) == (Origin("web/7"), "token", "news")
    assert arrival.counts() == {"SENT": 1, "REFUSED": 1}
    assert not arrival.is_usual
    assert arrival.journey.hops == [Hop("h/0", 2, 100.0, 100.25, 1_000_000, 1_000_300)]


def test_requests_that_are_turned_down_and_their_repeats_are_told():
    driven = core_with(origins=True)
    driven.hello(b"news")
    driven.push(b"1", b"a", id="x", request_id="web/7")
    driven.push(b"2", b"a", id="x", request_id="web/8")
    driven.outcomes(driven.sent()[0])
    driven.push(b"3", b"a", id="x", request_id="web/9")
    driven.push(b"4", b"b", id="x", request_id="web/10")
    driven.push(b"5", b"b", collapse="c", request_id="web/11")
    driven.push(b"6", b"b", nonsense=1, request_id="web/12")
    told = {each.journey.origin.request_id: (each.fault, each.repeat) for each in driven.arrivals}
    assert told == {
        "web/7": ("", ""),
        "web/8": ("", "waits with the first"),
        "web/9": ("", "answered as before"),
        "web/10": ("id_reused", ""),
        "web/11": ("bad_options", ""),
    }


def test_a_push_that_nobody_answers_in_time_is_told():
    driven = core_with(origins=True)
    driven.push(b"1", b"a", request_id="web/7", timeout_ms=100)
    driven.advance(0.2)
    assert [arrival.counts() for arrival in driven.arrivals] == [{"UNKNOWN": 1}]


def test_the_way_of_one_request_is_bounded():
    journey = Journey(Origin("x"), "all", None, 0.0)
    for number in range(HOPS_MAX + 9):
        journey.pass_worker(Hop(f"h/{number}", 1, 0.0, 0.0, 0, 0))
    assert len(journey.hops) == HOPS_MAX


def test_lines(caplog, monkeypatch):
    journey = Journey(Origin("web/7", TRACEPARENT), "token", b"news\n", 100.0)
    journey.pass_worker(Hop("h/0", 1, 0.0, 0.0, 0, 0))
    logs = PushLogs(lines_per_s=3)
    now = [7.0]
    monkeypatch.setattr(push_logs.time, "monotonic", lambda: now[0])
    with caplog.at_level(logging.DEBUG):
        logs.note(Arrival(journey, 100.0025, bytes([0, 0])))
        logs.note(Arrival(journey, 100.1, bytes([0, 8])))
        logs.note(Arrival(journey, 100.1, b"", fault="overloaded"))
        logs.note(Arrival(journey, 100.1, b"\0"))
        now[0] = 8.0
        logs.note(Arrival(journey, 100.1, b"\0"))
    assert [(record.levelname, record.getMessage()) for record in caplog.records][:4] == [
        ("DEBUG", 'push request_id=web/7 sender="news\\x0a" to=token SENT=2 workers=h/0 ms=2.5'),
        ("INFO", 'push request_id=web/7 sender="news\\x0a" to=token SENT=1 REFUSED=1 workers=h/0 ms=100.0'),
        ("INFO", 'push request_id=web/7 sender="news\\x0a" to=token fault=overloaded workers=h/0 ms=100.0'),
        ("INFO", "1 lines about pushes were left out"),
    ]
    assert len(caplog.records) == 5
