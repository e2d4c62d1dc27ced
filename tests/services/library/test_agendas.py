"""Order of calls: one after the other in their lane, side by side otherwise."""

from hypothesis import given
from hypothesis import strategies as st

from services.library.agendas import Agenda, Job, Work
from services.library.calls import ClientCall
from services.library.topics import Entry
from shared.calls import Topic

ONE = Entry(Topic(9, 16), False, lambda call: b"")
OTHER = Entry(Topic(9, 17), False, lambda call: b"")
BATCH = Entry(Topic(0, 64), True, None, lambda calls: [], most=3)


def job(number: int, key: str | None = None, link: int = 0) -> Job:
    head = {"signal": 9, "sub_signal": 16} | ({} if key is None else {"key": key})
    return Job(link, 1, number, ClientCall(head, b""), 5.0)


def numbers(work: Work | None) -> list[int]:
    assert work is not None
    return [each.number for each in work.jobs]


def test_a_key_has_one_call_at_work():
    agenda = Agenda()
    for number in range(3):
        agenda.put(ONE, job(number, "a"))
    first = agenda.take()
    assert numbers(first) == [0]
    assert agenda.take() is None
    agenda.done(first)
    assert numbers(agenda.take()) == [1]
    assert not agenda.is_empty


def test_other_keys_and_topics_go_on_meanwhile():
    agenda = Agenda()
    agenda.put(ONE, job(0, "a"))
    agenda.put(ONE, job(1, "b"))
    agenda.put(OTHER, job(2, "a"))
    assert [numbers(agenda.take()) for _ in range(3)] == [[0], [1], [2]]


def test_calls_without_a_key_are_in_no_order():
    agenda = Agenda()
    agenda.put(ONE, job(0))
    agenda.put(ONE, job(1))
    assert agenda.ready == 2
    assert [numbers(agenda.take()), numbers(agenda.take())] == [[0], [1]]


def test_a_batch_takes_what_waits_whatever_its_keys():
    agenda = Agenda()
    for number in range(5):
        agenda.put(BATCH, job(number, str(number)))
    first = agenda.take()
    assert numbers(first) == [0, 1, 2]
    assert agenda.take() is None
    agenda.done(first)
    second = agenda.take()
    assert numbers(second) == [3, 4]
    agenda.done(second)
    assert agenda.is_empty


def test_a_busy_lane_does_not_hold_up_those_behind_it():
    agenda = Agenda()
    agenda.put(ONE, job(0, "a"))
    work = agenda.take()
    agenda.put(ONE, job(1, "a"))
    agenda.put(ONE, job(2, "b"))
    assert numbers(agenda.take()) == [2]
    agenda.done(work)
    assert numbers(agenda.take()) == [1]


def test_what_came_over_a_lost_link_is_dropped_if_it_has_not_begun():
    agenda = Agenda()
    for number, link in enumerate((0, 1, 0, 1)):
        agenda.put(ONE, job(number, "a", link))
    agenda.put(ONE, job(4, "b", 0))
    work = agenda.take()
    assert numbers(work) == [0]
    assert agenda.drop(0) == 2
    assert agenda.take() is None
    agenda.done(work)
    second = agenda.take()
    assert numbers(second) == [1]
    agenda.done(second)
    agenda.done(agenda.take())
    assert agenda.take() is None
    assert agenda.is_empty


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=40), st.randoms())
def test_every_call_is_taken_once_and_in_the_order_of_its_key(keys, chance):
    agenda, at_work, seen = Agenda(), [], []
    waiting = [job(number, key) for number, key in enumerate(keys)]
    while waiting or at_work or not agenda.is_empty:
        if waiting and chance.random() < 0.5:
            agenda.put(ONE, waiting.pop(0))
        elif at_work and chance.random() < 0.5:
            agenda.done(at_work.pop(chance.randrange(len(at_work))))
        elif work := agenda.take():
            busy = [each.lane for each in at_work]
            assert work.lane not in busy
            at_work.append(work)
            seen += work.jobs
    assert sorted(each.number for each in seen) == list(range(len(keys)))
    for key in "abc":
        own = [each.number for each in seen if each.call.key == key]
        assert own == sorted(own)
