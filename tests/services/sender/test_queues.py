from hypothesis import given
from hypothesis import strategies as st

from services.sender.options import DEFAULT, OptionSet, encode_options
from services.sender.queues import PushQueue
from services.sender.tickets import Push

OTHER, ALL = encode_options({"timeout_ms": 1}), encode_options({"to": "all"})


def make(token: str, payload: str = "", deadline: float = 10.0, options: OptionSet = DEFAULT) -> Push:
    return Push(None, deadline, token.encode(), payload.encode(), options)


def filled(*pushes: Push, ordered: bool = True) -> PushQueue:
    queue = PushQueue(ordered)
    for push in pushes:
        queue.put(push)
    return queue


def test_takes_what_fits_first_in_first_out():
    a, b, c = make("a"), make("b"), make("c")
    queue = filled(a, b, c)
    assert queue.take(2, 100) == [a, b]
    assert queue.take(2, 100) == [c]
    assert queue.take(2, 100) == []
    assert not queue


def test_bytes_bound_a_batch_and_a_larger_push_goes_alone():
    a, large, b = make("a", "xx"), make("b", "x" * 50), make("c", "xx")
    queue = filled(a, large, b)
    assert [queue.take(9, 10) for _ in range(3)] == [[a], [large], [b]]


def test_pushes_with_other_options_begin_another_batch():
    a, b, c = make("a"), make("b", options=OTHER), make("c", options=OTHER)
    queue = filled(a, b, c)
    assert [queue.take(9, 100), queue.take(9, 100)] == [[a], [b, c]]


def test_a_push_to_all_goes_alone_and_holds_nobody_up():
    everybody, again, star = make("*", options=ALL), make("*", options=ALL), make("*")
    queue = filled(everybody, again, star)
    assert [queue.take(9, 100) for _ in range(3)] == [[everybody], [again], [star]]


def test_followers_wait_until_the_push_before_them_is_released():
    a1, a2, a3, b = make("a"), make("a"), make("a"), make("b")
    queue = filled(a1, a2, b, a3)
    assert queue.take(9, 100) == [a1, b]
    assert queue.take(9, 100) == []
    queue.release(b)
    assert queue.take(9, 100) == []
    queue.release(a1)
    a4 = make("a")
    queue.put(a4)
    assert queue.take(9, 100) == [a2], "a4 does not overtake a3"
    queue.release(a2)
    assert queue.take(9, 100) == [a3]


def test_unordered_ones_do_not_wait():
    a1, a2 = make("a"), make("a")
    assert filled(a1, a2, ordered=False).take(9, 100) == [a1, a2]


def test_expired_pushes_come_out_wherever_they_wait():
    taken, behind, waiting, late = make("a"), make("a", deadline=5), make("b", deadline=5), make("c", deadline=20)
    queue = filled(taken, behind)
    assert queue.take(9, 100) == [taken]
    queue.put(waiting)
    queue.put(late)
    assert queue.take_expired(4.9) == []
    assert set(queue.take_expired(5.0)) == {behind, waiting}
    queue.release(taken)
    assert queue.take(9, 100) == [late]


def test_an_expired_push_that_was_free_to_go_lets_the_next_one_go():
    first, second, third = make("a"), make("a", deadline=5), make("a", deadline=20)
    queue = filled(first, second, third)
    queue.take(9, 100)
    queue.release(first)
    assert queue.take_expired(6.0) == [second]
    assert queue.take(9, 100) == [third]


def test_take_all_leaves_nothing():
    pushes = [make("a"), make("a"), make("a"), make("b")]
    queue = filled(*pushes)
    (taken,) = queue.take(1, 100)
    queue.put(make("c"))
    assert len(queue.take_all()) == 4
    queue.release(taken)
    assert queue.take(9, 100) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([DEFAULT, OTHER]))), st.integers(1, 5), st.randoms())
def test_every_push_comes_once_in_order_per_token(pairs: list[tuple[str, OptionSet]], most: int, chance: object):
    pushes = [make(token, str(number), options=options) for number, (token, options) in enumerate(pairs)]
    queue, under_way, came = filled(*pushes), [], []
    while queue or under_way:
        batch = queue.take(most, 1000)
        assert len({push.target for push in [*batch, *under_way]}) == len(batch) + len(under_way)
        came += batch
        under_way += batch
        chance.shuffle(under_way)  # type: ignore[attr-defined]
        if under_way:
            queue.release(under_way.pop())
    assert len(came) == len(pushes)
    for token in "abc":
        assert [push for push in came if push.target == token.encode()] == [
            push for push in pushes if push.target == token.encode()
        ]
