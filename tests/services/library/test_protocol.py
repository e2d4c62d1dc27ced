"""A service's decisions, with literal messages and a made-up clock."""

from typing import Any

import ujson
from hypothesis import given
from hypothesis import strategies as st

from services.library.asks import Ask
from services.library.calls import Returned
from services.library.policies import Policy
from services.library.protocol import Phase, Protocol, ask_head
from services.library.topics import Entry, Topics
from shared.calls import CALL1, TOLD1, Topic, encode_answer, encode_call

SERVING = [b"SERVING1", b'{"version":"x","position":0,"heartbeat_ms":1000,"timeout_ms":5000}']
OK = Returned(0, b"done")


def call(number: int, key: str | None = "a", timeout_ms: int = 5000, sub_signal: int = 16, **more: Any) -> list[bytes]:
    head = {"signal": 9, "sub_signal": sub_signal, "timeout_ms": timeout_ms, **more}
    return encode_call(CALL1, number, head if key is None else {**head, "key": key}, b"body")


def returned(number: int, code: int = 0, body: bytes = b"done") -> list[bytes]:
    return encode_answer(b"RETURN1", number, code, body)


class Service:
    """A protocol that serves at one router, or two."""

    def __init__(self, routers: int = 1, **policy: Any) -> None:
        topics = Topics()
        topics.add(Entry(Topic(9, 16), True, lambda call: b"done"))
        endpoints = [f"ipc://{number}" for number in range(routers)]
        self.protocol = Protocol("echo", "abc", topics, endpoints, Policy(**policy))
        self.greetings = [self.open(number, 0.0) for number in range(routers)]

    def open(self, number: int, now: float) -> list[list[bytes]]:
        """What a link says first."""
        assert number in self.protocol.links_to_open(now)
        self.protocol.connection_opened(number, now)
        sent = self.sent(now)
        self.receive(number, SERVING, now)
        return [frames for link, frames in sent if link == number]

    def receive(self, number: int, frames: list[bytes], now: float = 0.0) -> None:
        self.protocol.receive_message(number, frames, now)

    def sent(self, now: float = 0.0) -> list[tuple[int, list[bytes]]]:
        return self.protocol.messages_to_send(now)

    def work_off(self, now: float = 0.0) -> list[int]:
        """Answers all that it may take; the numbers of these calls."""
        done = []
        while work := self.protocol.take(now):
            done += [job.number for job in work.jobs]
            self.protocol.finish(work, [OK] * len(work.jobs))
        return done


def test_it_says_what_it_serves():
    service = Service()
    (serve,) = service.greetings[0]
    assert serve[0] == b"SERVE1"
    assert ujson.loads(serve[1]) == {
        "name": "echo",
        "instance": "abc",
        "topics": [{"signal": 9, "sub_signal": 16, "idempotent": True}],
        "window": 256,
    }
    assert service.protocol.is_serving
    assert service.protocol.take_events() == ["serving 1 topics at ipc://0"]


def test_a_call_is_answered_by_its_number():
    service = Service()
    service.receive(0, call(7))
    assert service.work_off() == [7]
    assert service.sent() == [(0, returned(7))]
    assert service.protocol.statistics.answered == 1


def test_a_topic_that_it_does_not_answer_is_not_implemented():
    service = Service()
    service.receive(0, call(7, sub_signal=17))
    assert service.sent() == [(0, returned(7, 0xF0, b""))]


def test_a_handler_that_failed_gives_nobody_knows():
    service = Service(body_max_bytes=10)
    service.receive(0, call(1))
    service.receive(0, call(2, "b"))
    for answer in (None, Returned(0, bytes(11))):
        work = service.protocol.take(0.0)
        service.protocol.finish(work, [answer])
    assert service.sent() == [(0, returned(1, 0xF3, b"")), (0, returned(2, 0xF3, b""))]
    assert service.protocol.statistics.failed == 2


def test_what_waited_too_long_is_not_begun():
    service = Service()
    service.receive(0, call(1, timeout_ms=100))
    service.receive(0, call(2))
    assert service.work_off(now=0.2) == [2]
    assert service.sent(0.2) == [(0, returned(1, 0xF1, b"")), (0, returned(2))]
    assert service.protocol.statistics.expired == 1


def test_an_answer_that_the_router_would_not_take():
    service = Service()
    service.receive(0, [b"SERVING1", b'{"heartbeat_ms":1000,"timeout_ms":5000,"body_limit_bytes":3}'])
    service.receive(0, call(1))
    assert service.work_off() == [1]
    assert service.sent() == [(0, returned(1, 0xF3, b""))]
    assert "of 4 bytes is too large" in service.protocol.take_events()[-1]


def test_what_the_router_refuses_is_logged():
    service = Service()
    service.receive(0, [b"FAIL1", b"", b'{"code":"malformed","message":"no"}'])
    assert service.protocol.take_events()[-1] == "refused by the router at ipc://0: malformed: no"


def test_who_are_you_is_answered():
    service = Service()
    service.receive(0, [b"WHO1"])
    assert [frames[0] for _, frames in service.sent()] == [b"SERVE1"]


def test_calls_of_a_lost_router_are_dropped_and_their_answers_too():
    service = Service(routers=2)
    for number, link in enumerate((0, 0, 1)):
        service.receive(link, call(number))
    work = service.protocol.take(0.0)
    service.protocol.connection_lost(0, 0.5, "the connection ended")
    service.protocol.finish(work, [OK])
    assert service.work_off(0.5) == [2]
    assert service.sent(0.5)[-1] == (1, returned(2))
    assert service.protocol.statistics.lost == 2
    assert service.protocol.take_events()[-1] == "lost the router at ipc://0: the connection ended"


def test_an_answer_does_not_go_over_the_next_connection():
    service = Service()
    service.receive(0, call(7))
    work = service.protocol.take(0.0)
    service.protocol.connection_lost(0, 0.0, "ended")
    service.open(0, 1.0)
    service.protocol.finish(work, [OK])
    assert service.sent(1.0) == []


def test_a_silent_router_is_lost_and_tried_again():
    service = Service()
    service.protocol.figures = lambda: {"kept": 3}
    ((number, (kind, body)),) = service.sent(4.9)
    assert (number, kind, ujson.loads(body)["figures"]) == (0, b"BEAT1", {"kept": 3})
    assert ujson.loads(body)["statistics"]["calls"] == 0
    service.sent(5.0)
    assert not service.protocol.is_serving
    assert service.protocol.links_to_open(5.1) == [0]


def test_garbage_counts_and_does_no_harm():
    service = Service()
    for frames in ([b""], [b"CALL1"], [b"CALL1", b"", b"", b""], [b"SERVING1", b"7"], [b"TOLD1", b"x", b"", b""]):
        service.receive(0, frames)
    assert service.protocol.statistics.strays == 5
    assert service.sent() == []


@given(
    st.lists(st.binary(max_size=20), min_size=1, max_size=5), st.sampled_from([b"CALL1", b"TOLD1", b"SERVING1", b"X"])
)
def test_random_bytes_raise_nothing(rest, command):
    Service().receive(0, [command, *rest])


# --- its own calls


def ask(service: Service, told: list[Any], body: bytes = b"who", again: bool = False) -> None:
    head = ask_head(Topic(0, 2), "u", 2000, {"uid": "u"})
    service.protocol.ask(Ask(head, body, 2.0, told.append, again))


def pass_on(service: Service) -> None:
    for each, answer in service.protocol.take_told():
        each.told(answer)


def test_a_question_has_its_answer():
    service, told = Service(), []
    ask(service, told)
    ((link, frames),) = service.sent()
    assert (link, frames[0], frames[3]) == (0, b"ASK1", b"who")
    assert ujson.loads(frames[2]) == {"uid": "u", "signal": 0, "sub_signal": 2, "timeout_ms": 2000, "key": "u"}
    service.receive(0, [TOLD1, frames[1], b"\x00", b"him"])
    pass_on(service)
    assert told == [Returned(0, b"him")]
    service.receive(0, [TOLD1, frames[1], b"\x00", b"him"])
    assert service.protocol.statistics.strays == 1


def test_questions_wait_for_a_router_and_go_on_with_the_next():
    service, told = Service(routers=2), []
    service.protocol.connection_lost(0, 0.0, "ended")
    ask(service, told)
    assert [link for link, _ in service.sent()] == [1]
    service.protocol.connection_lost(1, 0.0, "ended")
    pass_on(service)
    assert told == [Returned(0xF3)]
    ask(service, told)
    assert service.sent() == []
    service.open(1, 1.0)
    assert [frames[0] for _, frames in service.sent(1.0)] == [b"ASK1"]


def test_questions_that_may_be_asked_twice_go_by_another_router():
    service, told = Service(routers=2), []
    for body, again in ((b"1", True), (b"2", False), (b"3", True)):
        ask(service, told, body, again)
    assert [(link, frames[3]) for link, frames in service.sent()] == [(0, b"1"), (0, b"2"), (0, b"3")]
    ask(service, told, b"4")
    service.protocol.connection_lost(0, 0.0, "ended")
    assert [(link, frames[3]) for link, frames in service.sent()] == [(1, b"1"), (1, b"3"), (1, b"4")]
    pass_on(service)
    assert told == [Returned(0xF3)]


def test_a_question_that_nobody_answers_times_out():
    service, told = Service(), []
    ask(service, told)
    service.sent(0.0)
    assert service.protocol.deadline() <= 0.25
    service.receive(0, [b"BEAT1"], 1.9)
    service.sent(2.0)
    pass_on(service)
    assert told == [Returned(0xF1)]


def test_questions_are_bounded():
    service, told = Service(asks_max=1), []
    ask(service, told)
    ask(service, told)
    pass_on(service)
    assert told == [Returned(0xF4)]


def test_everybody_who_serves_is_told():
    service = Service(routers=2)
    assert service.protocol.say([b"REGROUP1", b"{}"]) == 2
    assert service.sent() == [(0, [b"REGROUP1", b"{}"]), (1, [b"REGROUP1", b"{}"])]


def test_it_knows_when_routers_have_read_what_was_said():
    service = Service(routers=3)
    service.protocol.connection_lost(2, 0.0, "ended")
    first, second = service.protocol.mark(), service.protocol.mark()
    assert kinds(service) == [b"HELLO1"] * 4
    assert not service.protocol.is_heard(first)
    service.receive(0, [b"HELLO1", b"{}"])
    assert not service.protocol.is_heard(first)
    service.receive(1, [b"HELLO1", b"{}"])
    assert service.protocol.is_heard(first)
    assert not service.protocol.is_heard(second)
    service.receive(0, [b"HELLO1", b"{}"])
    service.protocol.connection_lost(1, 0.0, "ended")
    assert service.protocol.is_heard(second)
    service.receive(0, [b"HELLO1", b"{}"])  # nobody has asked
    third = service.protocol.mark()
    assert not service.protocol.is_heard(third)
    service.protocol.close()
    assert service.protocol.is_heard(third)


# --- the end


def kinds(service: Service, now: float = 0.0) -> list[bytes]:
    return [frames[0] for _, frames in service.sent(now)]


def test_it_leaves_when_all_is_answered_and_has_arrived():
    service = Service()
    service.receive(0, call(1))
    service.protocol.leave()
    assert kinds(service) == [b"LEAVE1", b"HELLO1"]
    service.receive(0, call(2, "b"))  # was on its way
    service.receive(0, [b"HELLO1", b"{}"])
    assert kinds(service) == []
    assert service.work_off() == [1, 2]
    assert kinds(service) == [b"RETURN1", b"RETURN1", b"HELLO1"]
    assert service.protocol.phase is Phase.FLUSHING
    service.receive(0, [b"HELLO1", b"{}"])
    assert kinds(service) == []
    assert service.protocol.phase is Phase.LEFT


def test_it_leaves_though_a_router_is_lost_meanwhile():
    service = Service(routers=2)
    service.protocol.connection_lost(1, 0.0, "ended")
    service.protocol.leave()
    service.sent()
    assert service.protocol.links_to_open(10.0) == []
    service.protocol.connection_lost(0, 0.0, "ended")
    service.sent()
    assert service.protocol.phase is Phase.LEFT


def test_who_are_you_is_not_answered_by_one_that_leaves():
    service = Service()
    service.protocol.leave()
    service.sent()
    service.receive(0, [b"WHO1"])
    assert kinds(service) == []


def test_the_end_leaves_no_question_open():
    service, told = Service(), []
    ask(service, told)
    service.protocol.close()
    pass_on(service)
    assert told == [Returned(0xF3)]
