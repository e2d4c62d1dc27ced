"""From a real outbox to receivers that fail, are late, or die."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from services.events import deliveries, serving
from services.events.counters import Counters
from services.events.deliveries import BACK_OFF_MAX_S, Delivery, back_off
from services.events.receivers import NotTaken
from services.events.serving import unix_ms
from services.storage.events import UNREACHED, Event, Keeping, Kept, Outbox
from services.storage.sqlite_storage import SqliteStorage
from tests.fleet.processes import wait_until


class Scripted:
    """Takes what it is told to take."""

    most = 4

    def __init__(self, name: str = "webhook") -> None:
        self.name = name
        self.got: list[tuple[int, list[int]]] = []  # (attempt, numbers)
        self.faults: list[NotTaken | Exception] = []
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False

    def deliver(self, events: Sequence[Kept], attempt: int) -> None:
        assert self.gate.wait(20)
        self.got.append((attempt, [event.number for event in events]))
        if self.faults:
            raise self.faults.pop(0)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outbox]:
    monkeypatch.setattr(deliveries, "BACK_OFF_S", 0.01)
    monkeypatch.setattr(deliveries, "IDLE_S", 0.01)
    monkeypatch.setattr(deliveries, "RENEW_S", 0.05)
    with SqliteStorage(tmp_path / "push.db", keeping=Keeping(1000)) as storage:
        yield storage.outbox


def put(outbox: Outbox, *numbers: int) -> None:
    outbox.put([Event(f"id-{number}", UNREACHED, "a", {}) for number in numbers], unix_ms())


def delivery(outbox: Outbox, receiver: Scripted, owner: str = "here", names: Sequence[str] = ()) -> Delivery:
    counters = Counters(names or [receiver.name])
    made = Delivery(outbox, receiver, names or [receiver.name], owner, counters, unix_ms)
    made.start()
    return made


def test_all_arrives_in_order_and_goes(outbox: Outbox) -> None:
    receiver = Scripted()
    put(outbox, *range(10))
    one = delivery(outbox, receiver)
    wait_until(lambda: outbox.totals().waiting == 0, "all is delivered")
    put(outbox, 10)
    wait_until(lambda: outbox.totals().waiting == 0, "one more")
    one.stop(5)
    assert receiver.closed
    assert receiver.got == [(1, [1, 2, 3, 4]), (1, [5, 6, 7, 8]), (1, [9, 10]), (1, [11])]
    put(outbox, 11)
    again = Scripted()
    two = delivery(outbox, again, "there")  # the lease was given back
    wait_until(lambda: again.got == [(1, [12])], "it goes on")
    two.stop(5)


def test_same_batch_again_until_it_is_taken(outbox: Outbox) -> None:
    receiver = Scripted()
    receiver.faults = [NotTaken("status 503"), NotTaken("no answer", late=True), OSError("a bug"), NotTaken("x", 0.05)]
    put(outbox, 1, 2)
    one = delivery(outbox, receiver)
    wait_until(lambda: len(receiver.got) > 1, "a second try")
    put(outbox, 3)
    wait_until(lambda: outbox.totals().waiting == 0, "all is delivered")
    one.stop(5)
    assert receiver.got[:3] == [(1, [1, 2]), (2, [1, 2]), (3, [1, 2])]
    taken = [number for _, numbers in receiver.got[4:] for number in numbers]
    assert list(dict.fromkeys(taken)) == [1, 2, 3]


def test_each_receiver_has_its_own_pace(outbox: Outbox) -> None:
    slow, quick = Scripted("webhook"), Scripted("kafka")
    slow.gate.clear()
    names = ["webhook", "kafka"]
    put(outbox, *range(8))
    both = [delivery(outbox, one, names=names) for one in (slow, quick)]
    wait_until(lambda: len(quick.got) == 2, "the quick one has all")
    assert outbox.totals().waiting == 8
    slow.gate.set()
    wait_until(lambda: outbox.totals().waiting == 0, "the slow one too")
    for one in both:
        one.stop(5)


def test_two_hosts_do_not_deliver_at_once(outbox: Outbox) -> None:
    first, second = Scripted(), Scripted()
    first.gate.clear()
    put(outbox, *range(3))
    one = delivery(outbox, first, "here")
    wait_until(lambda: one._holds, "one has it")
    two = delivery(outbox, second, "there")
    for _ in range(4):
        one.renew()
    first.gate.set()
    wait_until(lambda: outbox.totals().waiting == 0, "all is delivered")
    assert second.got == []
    one.stop(5)
    put(outbox, 3)
    wait_until(lambda: second.got == [(1, [4])], "the other one goes on")
    two.stop(5)


class Takeover:
    """`first` hangs with a batch when `second` comes. The clock of leases goes on by `pass_lease` only.

    Neither renews by itself.
    """

    def __init__(self, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outbox, self.first, self.second = outbox, Scripted(), Scripted()
        self.two: Delivery | None = None
        self.now, self.asked, self.reads = unix_ms(), 0, 0  # asked, reads: of the outbox by the first
        self._set, self._take, self._read = monkeypatch.setattr, outbox.take, outbox.read
        monkeypatch.setattr(deliveries, "RENEW_S", 3600.0)
        monkeypatch.setattr(outbox, "take", self._counted_take)
        monkeypatch.setattr(outbox, "read", self._counted_read)
        self.first.gate.clear()
        put(outbox, 1, 2)
        self.one = self._start(self.first, "here")
        wait_until(lambda: self.reads, "the first one has the batch")

    def _counted_take(self, consumer: str, owner: str, lease_ms: int, now: int) -> int | None:
        self.asked += owner == "here"
        return self._take(consumer, owner, lease_ms, now)

    def _counted_read(self, after: int, most: int) -> list[Kept]:
        self.reads += threading.current_thread() is self.one._thread
        return self._read(after, most)

    def _start(self, receiver: Scripted, owner: str) -> Delivery:
        made = Delivery(self.outbox, receiver, ["webhook"], owner, Counters(["webhook"]), lambda: self.now)
        if owner == "here":
            self.one = made
        made.start()
        return made

    def pass_lease(self, part: float) -> None:
        self.now += round(deliveries.LEASE_MS * part)

    def renew(self) -> None:
        """As the looking thread does, when it is due."""
        self._set(deliveries, "RENEW_S", 0.0)
        self.one.renew()
        self._set(deliveries, "RENEW_S", 3600.0)

    def take_over(self) -> None:
        two = self.two = self._start(self.second, "there")
        wait_until(lambda: two._holds, "the second one has it")

    def first_gives_up(self) -> None:
        """The first one's post ends; it goes on with nothing, and asks whether it may serve."""
        asked, reads = self.asked, self.reads
        self.first.gate.set()
        wait_until(lambda: self.asked > asked or len(self.first.got) > 1, "the first one asks again")
        assert self.first.got == [(1, [1, 2])]
        assert self.reads == reads

    def end(self) -> None:
        self.one.stop(5)
        if self.two is not None:
            self.two.stop(5)


@pytest.fixture
def takeover(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Takeover]:
    made = Takeover(outbox, monkeypatch)
    yield made
    for receiver in (made.first, made.second):
        receiver.gate.set()
    made.end()


def test_a_hanging_receiver_is_kept_by_renewals(takeover: Takeover) -> None:
    takeover.pass_lease(0.9)
    takeover.renew()
    takeover.pass_lease(0.9)
    assert takeover.outbox.take("webhook", "there", deliveries.LEASE_MS, takeover.now) is None
    takeover.pass_lease(0.2)
    takeover.take_over()


def test_a_batch_is_not_tried_again_by_whom_the_lease_has_left(takeover: Takeover) -> None:
    takeover.pass_lease(1.1)
    takeover.take_over()
    wait_until(lambda: takeover.second.got == [(1, [1, 2])], "the second one delivers")
    takeover.renew()
    takeover.first.faults = [NotTaken("status 503")]
    takeover.first_gives_up()


def test_a_batch_that_others_have_taken_over_is_the_last(takeover: Takeover) -> None:
    takeover.pass_lease(1.1)
    takeover.second.gate.clear()
    takeover.take_over()
    put(takeover.outbox, 3)
    takeover.first_gives_up()  # its confirmation is refused
    takeover.second.gate.set()
    wait_until(lambda: takeover.outbox.totals().waiting == 0, "the second one delivers")
    assert takeover.second.got[0] == (1, [1, 2])


def test_a_fault_in_a_renewal_ends_no_renewals(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serving, "_LOOK_S", 0.01)
    one = Delivery(outbox, Scripted(), ["webhook"], "here", Counters(["webhook"]), unix_ms)
    renewed: list[int] = []

    def renew() -> None:
        renewed.append(1)
        if len(renewed) == 1:
            raise RuntimeError("a bug")

    monkeypatch.setattr(one, "renew", renew)
    ended = threading.Event()
    looker = threading.Thread(target=serving._look, args=(outbox, Counters(["webhook"]), [one], ended))
    looker.start()
    try:
        wait_until(lambda: len(renewed) > 1, "it goes on")
    finally:
        ended.set()
        looker.join()
    assert "internal error" in caplog.text


def test_back_off_doubles_up_to_its_end() -> None:
    longest = [back_off(attempt, lambda: 1.0) for attempt in range(1, 12)]
    assert longest[:4] == [0.5, 1, 2, 4]
    assert longest[-1] == BACK_OFF_MAX_S
    assert back_off(3, lambda: 0.0) == 1
