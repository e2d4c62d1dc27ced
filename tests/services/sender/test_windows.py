import pytest

from services.sender.in_flight import Batch, Inquiry, Request
from services.sender.windows import Window


def send(window: Window, *requests: Request, now: float = 0.0) -> None:
    for request in requests:
        window.send(request, now)


def drain(window: Window, now: float) -> list[Request]:
    found = []
    while (request := window.next_again(now)) is not None:
        found.append(request)
    return found


def make(count: int) -> list[Request]:
    return [Request(number, 5.0) for number in range(1, count + 1)]


def test_room():
    window = Window(2)
    a, b, _ = make(3)
    send(window, a)
    assert window.has_room()
    send(window, b)
    assert not window.has_room()
    assert window.take_answered(a.request_id, Request) is a
    assert window.has_room()
    assert list(window) == [b]


def test_answers_to_nothing_raise():
    window = Window(2)
    (a,) = make(1)
    send(window, a)
    with pytest.raises(KeyError):
        window.take_answered(b"9.0", Request)
    for kind in (Batch, Inquiry):
        with pytest.raises(KeyError):
            window.take_answered(a.request_id, kind)
    assert list(window) == [a]


def test_lost_ones_go_again_in_the_order_of_sending():
    window = Window(9)
    a, b, c = make(3)
    send(window, c, a, b)
    window.lose()
    assert drain(window, 0.0) == [c, a, b]


def test_resting_ones_come_when_due_and_behind_lost_ones():
    window = Window(9)
    a, b, c = make(3)
    send(window, c)
    window.rest(a, due=5.0)
    window.rest(b, due=4.0)
    window.lose()
    assert drain(window, 4.5) == [c, b]
    assert window.next_deadline(4.5) == 5.0
    assert drain(window, 5.0) == [a]
    assert len(window) == 0


def test_holds_until_all_behind_the_refused_one_are_turned_away():
    window = Window(9)
    a, b, c, d = make(4)
    send(window, a, b, c, d)
    for refused in (b, c):
        window.hold(window.take_answered(refused.request_id, Request), until=1.0)
    assert not window.may_send(2.0), "d is still under way"
    window.hold(window.take_answered(d.request_id, Request), until=9.0)
    assert not window.may_send(0.9)
    assert window.may_send(1.0)
    assert drain(window, 1.0) == [b, c, d]


def test_a_dropped_refused_request_needs_another_hello():
    window = Window(9)
    a, b = make(2)
    send(window, a, b)
    window.hold(window.take_answered(a.request_id, Request), until=1.0)
    assert not window.drop(b)
    assert window.drop(a)
    assert len(window) == 0
    assert window.may_send(0.0)


def test_next_deadline_is_never_past():
    window = Window(1)
    a, b = make(2)
    window.rest(a, due=1.0)
    window.hold(b, until=2.0)
    assert [window.next_deadline(now) for now in (0.0, 1.0, 2.0)] == [1.0, 2.0, float("inf")]
