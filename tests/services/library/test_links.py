import pytest

from services.library.links import Link, State
from services.library.policies import Policy
from shared.calls import BEAT1

POLICY = Policy(backoff_s=1, backoff_max_s=3, timeout_s=5, heartbeat_s=1)


def opened() -> Link:
    link = Link("ipc://a", POLICY)
    link.open(0.0, [b"SERVE1"])
    link.outbox.clear()
    return link


def test_a_new_link_is_to_be_opened_at_once_and_greets():
    link = Link("ipc://a", POLICY)
    assert (link.state, link.deadline) == (State.OPENING, 0.0)
    link.open(0.0, [b"SERVE1"])
    assert (link.state, list(link.outbox), link.life) == (State.GREETING, [[b"SERVE1"]], 1)


def test_it_beats_as_the_router_says():
    link = opened()
    assert link.welcome(0.5, 2.0)
    assert not link.welcome(0.5, 2.0)
    assert link.deadline == 0.5
    for now in (0.5, 0.6, 1.0, 1.4):
        link.hear(now)
        assert link.look(now) is None
    assert list(link.outbox) == [[BEAT1], [BEAT1]]


@pytest.mark.parametrize("served", [True, False])
def test_a_silent_router_is_at_fault(served):
    link = opened()
    if served:
        link.welcome(1.0, 5.0)
    link.hear(1.0)
    assert link.look(5.9) is None
    assert link.look(6.0) == "silent for 5 s"


def test_pauses_grow_until_it_serves():
    link = opened()
    pauses, now = [], 0.0
    for _ in range(4):
        assert link.lose(now, "ended")
        pauses.append(link.deadline - now)
        now = link.deadline
        link.look(now)
        assert link.state is State.OPENING
        link.open(now, [b"SERVE1"])
    assert pauses == [1, 2, 3, 3]
    link.welcome(1.0, 5.0)
    link.lose(now, "ended")
    assert link.deadline - now == 1


def test_what_was_to_be_sent_goes_with_the_connection():
    link = opened()
    link.outbox.append([b"RETURN1"])
    link.echoes_awaited = 1
    assert link.lose(1.0, "ended")
    assert not link.lose(1.0, "ended again")
    assert (list(link.outbox), link.echoes_awaited, link.last_fault) == ([], 0, "ended")
    assert link.look(1.5) is None
    assert link.state is State.PAUSING


def test_a_closed_link_waits_for_nothing():
    link = opened()
    link.close()
    assert (link.state, link.deadline) == (State.CLOSED, float("inf"))
    assert link.look(100.0) is None
    assert not link.is_connected
