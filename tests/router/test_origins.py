"""The request id and trace context of a push, on the way to its worker."""

import pytest

from shared import bus
from shared.origins import Origin
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
