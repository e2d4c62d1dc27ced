from functools import lru_cache

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ownership import OTHER_HOSTS, Ownership
from shared.bus_rings import RingNews
from shared.rings import NO_EPOCH, Epoch, owners_of_slots
from shared.tokens import slot_of

A, B, C = "h/0", "h/1", "h/2"


def ring(counter, live, leaving=()):
    return RingNews(Epoch(1, counter), {name: f"/{name}" for name in live}, {name: f"/{name}" for name in leaving})


def token_of(owner, live, besides=()):
    """A token that `owner` owns among `live`, and that others own in other sets: besides = [(live, owner)]."""
    wanted = [(owners_of_slots(list(names)), name) for names, name in [(live, owner), *besides]]
    tokens = (b"t%d" % number for number in range(100_000))
    return next(token for token in tokens if all(owners[slot_of(token)] == name for owners, name in wanted))


def test_before_any_ring():
    mine = Ownership(A)
    assert (mine.known, mine.epoch, mine.share, mine.owner(b"x")) == (False, NO_EPOCH, 0, None)
    assert mine.is_settled(b"x")


def test_alone_everything_is_mine_and_settled():
    mine = Ownership(A)
    assert mine.follow(ring(1, [A]))
    assert (mine.known, mine.share, mine.owner(b"x"), mine.awaited) == (True, 4096, A, frozenset())
    assert mine.is_settled(b"x")


def test_an_older_or_equal_ring_is_not_followed():
    mine = Ownership(A)
    mine.follow(ring(5, [A]))
    assert not mine.follow(ring(5, [A, B]))
    assert not mine.follow(ring(4, [A, B]))
    assert mine.live.keys() == {A}
    assert mine.follow(RingNews(Epoch(2, 0), {A: "", B: ""}, {}))


def test_slots_that_a_ring_brings_are_unsettled_until_every_other_worker_has_said_moved():
    mine = Ownership(A)
    mine.follow(ring(1, [A, B, C]))
    token = token_of(A, (A, B, C))
    assert mine.awaited == {B, C}
    assert not mine.is_settled(token)
    assert not mine.moved(B, Epoch(1, 1))
    assert not mine.is_settled(token)
    assert mine.moved(C, Epoch(1, 1))
    assert mine.is_settled(token)


def test_slots_that_were_settled_stay_so():
    mine = Ownership(A)
    mine.follow(ring(1, [A, B]))
    mine.moved(B, Epoch(1, 1))
    mine.follow(ring(2, [A], leaving=[B]))
    kept, brought = token_of(A, (A, B)), token_of(B, (A, B))
    assert mine.is_settled(kept)
    assert not mine.is_settled(brought)
    mine.moved(B, Epoch(1, 2))
    assert mine.is_settled(brought)


def test_moved_may_come_before_the_ring():
    mine = Ownership(A)
    mine.follow(ring(1, [A]))
    assert not mine.moved(B, Epoch(1, 2))  # it was not awaited
    assert mine.follow(ring(2, [A, B]))
    assert mine.awaited == frozenset()
    assert mine.is_settled(token_of(A, (A, B)))


def test_moved_of_an_older_ring_does_not_count():
    mine = Ownership(A)
    mine.follow(ring(2, [A, B]))
    assert not mine.moved(B, Epoch(1, 1))
    assert mine.awaited == {B}


def test_moved_of_a_newer_ring_counts_for_that_one_alone():
    # by that ring it has given to C what the present one would have brought here: not here is not nowhere
    token = token_of(A, [A, B], besides=[([A, B, C], C)])
    mine = Ownership(A)
    mine.follow(ring(2, [A, B]))
    assert not mine.moved(B, Epoch(1, 3))
    assert not mine.is_settled(token)
    mine.follow(ring(3, [A, B, C]))
    assert mine.awaited == {C}
    assert not mine.owns(token)


def test_moved_of_a_newer_ring_comes_before_the_older_ring():
    mine = Ownership(A)
    mine.moved(B, Epoch(1, 3))
    mine.follow(ring(2, [A, B]))
    assert mine.awaited == {B}
    mine.follow(ring(3, [A, B]))
    assert mine.awaited == frozenset()


def test_moved_in_the_wrong_order_does_not_go_back():
    mine = Ownership(A)
    mine.follow(ring(1, [A, B]))
    mine.moved(B, Epoch(1, 3))
    mine.moved(B, Epoch(1, 2))
    mine.follow(ring(3, [A, B]))
    assert mine.awaited == frozenset()


def test_a_worker_that_left_the_ring_is_awaited_no_more():
    mine = Ownership(A)
    mine.follow(ring(1, [A, B, C]))
    mine.moved(C, Epoch(1, 1))
    mine.follow(ring(2, [A, C]))
    assert mine.awaited == {C}
    assert mine.moved(C, Epoch(1, 2))


def test_all_is_settled_is_told_also_when_nothing_of_mine_was_unsettled():
    """Whoever waits for it (calls, held pushes of an older ring) must hear it."""
    mine = Ownership(A)
    mine.follow(ring(1, [A]))
    mine.follow(ring(2, [A, B]))  # takes slots, brings none
    assert mine.awaited == {B}
    assert mine.moved(B, Epoch(1, 2))


def test_settle_ends_the_waiting():
    mine = Ownership(A)
    mine.follow(ring(1, [A, B]))
    assert mine.settle()
    assert mine.awaited == frozenset()
    assert mine.is_settled(token_of(A, (A, B)))
    assert not mine.settle()


def test_workers_of_other_hosts_do_not_say_moved_and_are_given_a_moment():
    mine = Ownership(A)
    mine.follow(ring(1, [A, B, "g/0"], leaving=["g/1", "h/7"]))
    assert mine.awaited == {B, "h/7", OTHER_HOSTS}
    assert mine.others == [B]
    assert mine.peers == {B, "h/7"}
    token = token_of(A, (A, B, "g/0"))
    for peer in (B, "h/7"):
        assert not mine.moved(peer, Epoch(1, 1))
    assert not mine.is_settled(token)
    assert mine.moved(OTHER_HOSTS, Epoch(1, 1))
    assert mine.is_settled(token)


def test_the_host_in_a_name_counts_not_how_it_begins():
    mine = Ownership("h/0")
    assert [mine.is_near(name) for name in ("h/1", "hh/1", "a/h/1", "h/1/2", "")] == [True, False, False, False, False]


def test_what_a_worker_owns():
    mine = Ownership(A)
    assert not mine.owns(b"x")
    mine.follow(ring(1, [A, B]))
    assert mine.owns(token_of(A, (A, B)))
    assert not mine.owns(token_of(B, (A, B)))
    assert mine.news == ring(1, [A, B])


def test_nobody_is_live():
    mine = Ownership(A)
    mine.follow(ring(1, [A, B]))
    mine.follow(ring(2, [], leaving=[A]))
    assert (mine.owner(b"x"), mine.share) == (None, 0)
    assert mine.is_settled(b"x")


class Naive:
    """Follows every slot by itself."""

    def __init__(self, name):
        self.name, self.epoch, self.mine, self.unsettled = name, NO_EPOCH, set(), set()
        self.peers, self.said, self.done = set(), {}, set()

    def follow(self, news):
        if news.epoch <= self.epoch:
            return
        owners = owners_cached(tuple(sorted(news.live)))
        mine = {slot for slot in range(0, 4096, 64) if owners and owners[slot] == self.name}
        self.unsettled = {slot for slot in mine if slot not in self.mine or slot in self.unsettled}
        self.epoch, self.mine = news.epoch, mine
        self.peers = (set(news.live) | set(news.leaving)) - {self.name}
        self.said = {peer: epoch for peer, epoch in self.said.items() if peer in self.peers}
        self.done = {peer for peer, epoch in self.said.items() if epoch == self.epoch}
        self.look()

    def moved(self, peer, epoch):
        self.said[peer] = max(epoch, self.said.get(peer, NO_EPOCH))
        if epoch == self.epoch:
            self.done.add(peer)
        self.look()

    def look(self):
        if self.peers <= self.done:
            self.unsettled = set()


owners_cached = lru_cache(lambda live: owners_of_slots(list(live)))
TOKENS = {slot_of(b"t%d" % number): b"t%d" % number for number in range(60_000)}
subsets = st.sets(st.sampled_from([A, B, C]))
steps = st.lists(
    st.tuples(st.just("ring"), subsets, subsets)
    | st.tuples(st.just("moved"), st.sampled_from([B, C]), st.integers(-1, 1)),
    max_size=12,
)


@settings(max_examples=40)  # each ring takes milliseconds
@given(steps)
def test_settled_agrees_with_a_naive_model(steps):
    mine, naive, counter = Ownership(A), Naive(A), 0
    for step, first, second in steps:
        if step == "ring":
            counter += 1
            news = ring(counter, sorted(first), sorted(second - first))
            mine.follow(news)
            naive.follow(news)
        else:
            epoch = Epoch(1, max(counter + second, 1))
            mine.moved(first, epoch)
            naive.moved(first, epoch)
        for slot in range(0, 4096, 64):
            assert mine.is_settled(TOKENS[slot]) == (slot not in naive.unsettled), (slot, mine.awaited)


def test_a_host_that_comes_back_unsettles_every_slot():
    """It may have clients of this worker's tokens, which it will claim."""
    mine = Ownership("h/0")
    mine.follow(RingNews(Epoch(1, 1), {"h/0": "a"}, {}))
    token = b"anybody"
    assert mine.owns(token)
    assert mine.is_settled(token)
    far = {"h/0": "a", "g/0": "b"}
    mine.follow(RingNews(Epoch(1, 2), far, {}))
    for slot in range(2000):
        if mine.owns(b"t%d" % slot):
            assert not mine.is_settled(b"t%d" % slot)
    mine.moved(OTHER_HOSTS, Epoch(1, 2))
    assert mine.is_settled(token)
    mine.follow(RingNews(Epoch(1, 3), far | {"g/1": "c"}, {}))
    assert mine.is_settled(next(b"t%d" % slot for slot in range(2000) if mine.owns(b"t%d" % slot)))


def test_a_ring_that_did_not_come_here_unsettles_every_slot():
    """By that one, others may have had clients of these tokens, and have yet to claim them or give them back."""
    mine, both = Ownership("h/0"), {"h/0": "a", "g/0": "b"}
    mine.follow(RingNews(Epoch(1, 1), both, {}, NO_EPOCH))
    mine.moved(OTHER_HOSTS, Epoch(1, 1))
    owned = next(b"t%d" % slot for slot in range(2000) if mine.owns(b"t%d" % slot))
    mine.follow(RingNews(Epoch(1, 2), both, {"g/1": "c"}, Epoch(1, 1)))
    assert mine.is_settled(owned)
    mine.follow(RingNews(Epoch(1, 4), both, {}, Epoch(1, 3)))
    assert not mine.is_settled(owned)
    assert mine.news.follows == Epoch(1, 3)
