import pytest

from services.sender.links import Link, State
from services.sender.policies import Policy

INFINITY = float("inf")


def make(*endpoints: str) -> Link:
    return Link(endpoints or ("tcp://a",), Policy(backoff_s=1, backoff_max_s=3, hello_timeout_s=2))


def test_a_new_link_is_to_be_opened_at_once():
    link = make()
    assert link.state is State.OPENING
    assert link.deadline <= 0
    assert link.look_at_deadline(0.0) is None


def test_hello_is_due_once_for_each_greeting():
    link = make()
    assert not link.take_hello_due()
    link.greet(0.0)
    assert [link.take_hello_due(), link.take_hello_due()] == [True, False]
    link.welcome()
    link.greet(1.0)
    assert link.take_hello_due()


def test_hello_is_not_due_on_a_lost_connection():
    link = make()
    link.greet(0.0)
    link.lose(0.0, "ended")
    assert not link.take_hello_due()


def test_welcome_makes_it_ready():
    link = make()
    link.greet(0.0)
    link.welcome()
    assert link.is_ready
    assert link.deadline == INFINITY


@pytest.mark.parametrize(
    "prepare", [lambda link: None, lambda link: link.lose(0.0, "ended"), lambda link: link.close()]
)
def test_welcome_out_of_turn_changes_nothing(prepare):
    link = make()
    prepare(link)
    before = link.state
    link.welcome()
    assert link.state is before


def test_a_router_that_owes_its_answer_is_at_fault():
    link = make()
    link.greet(0.0)
    assert link.look_at_deadline(1.9) is None
    assert link.look_at_deadline(2.0) == "no answer to HELLO1 within 2 s"


def test_every_router_is_tried_at_once_then_in_rounds():
    link, now, tried = make("a", "b"), 0.0, []
    for _ in range(6):
        tried.append((link.endpoint, now))
        link.greet(now)
        assert link.lose(now, "refused")
        now = max(now, link.deadline)
        link.look_at_deadline(now)
        assert link.state is State.OPENING
        assert link.deadline <= now
    assert tried == [("a", 0), ("b", 0), ("a", 0), ("b", 1), ("a", 1), ("b", 3)]


def test_an_answered_request_makes_it_a_good_router():
    link = make()
    for _ in range(5):
        link.greet(0.0)
        link.welcome()
        link.praise()
        link.lose(7.0, "ended")
        assert link.deadline == 7.0


def test_there_is_nothing_to_lose_twice():
    link = make("a", "b")
    assert not link.lose(0.0, "ended")
    link.greet(0.0)
    assert link.lose(0.0, "first")
    assert not link.lose(0.0, "second")
    assert (link.endpoint, link.last_fault) == ("b", "first")


def test_closed_stays_closed():
    link = make()
    link.close()
    assert not link.lose(0.0, "ended")
    assert link.look_at_deadline(1e9) is None
    assert link.state is State.CLOSED
