"""Workers come, go, die and come again; epochs follow."""

import pytest

from router.members import WorkerState
from shared import bus, bus_rings
from shared.rings import NO_EPOCH, Epoch
from tests.router.driven_core import STARTED_MS, DrivenCore


def bye(fleet: DrivenCore, worker: str, **body: object) -> None:
    fleet.say(worker, bus.encode_control(bus.BYE1, body))


def beat(fleet: DrivenCore, worker: str, epoch: object = None) -> None:
    known = list(fleet.rings(worker)[-1].epoch) if epoch is None and fleet.rings(worker) else epoch or [0, 0]
    fleet.say(worker, bus.encode_control(bus.BEAT1, {"epoch": known}))


def epoch(fleet: DrivenCore) -> Epoch:
    return fleet.core.parts.membership.epoch


def state(fleet: DrivenCore, worker: str) -> WorkerState:
    return fleet.core.parts.membership.workers[worker.encode()].state


def test_the_first_ring_comes_when_all_workers_are_there() -> None:
    fleet = DrivenCore(ring_settle_ms=60_000, workers=2)
    fleet.join("h/0")
    fleet.advance(1)
    assert fleet.rings("h/0") == []
    fleet.join("h/1")
    paths = {"h/0": "/run/h/0.sock", "h/1": "/run/h/1.sock"}
    assert fleet.rings("h/0") == fleet.rings("h/1") == [bus_rings.RingNews(Epoch(STARTED_MS, 1), paths, {}, NO_EPOCH)]


def test_or_when_the_router_has_waited_long_enough() -> None:
    fleet = DrivenCore(ring_settle_ms=1000, workers=3)
    fleet.join("h/0")
    fleet.join("h/1")
    fleet.advance(0.99)
    assert fleet.rings("h/0") == []
    fleet.advance(0.02)
    assert [news.epoch for news in fleet.rings("h/0")] == [(STARTED_MS, 1)]


def test_every_change_is_an_epoch_for_everybody() -> None:
    fleet = DrivenCore("h/0", "h/1")
    before = epoch(fleet)
    bye(fleet, "h/0", leaving=True)
    assert (epoch(fleet).counter, fleet.rings("h/0")[-1]) == (before.counter + 1, fleet.rings("h/1")[-1])
    assert fleet.rings("h/0")[-1].live.keys() == {"h/1"}
    assert fleet.rings("h/0")[-1].leaving == {"h/0": "/run/h/0.sock"}
    bye(fleet, "h/0", gone=True)
    assert (epoch(fleet).counter, fleet.rings("h/1")[-1].leaving) == (before.counter + 2, {})
    assert len(fleet.rings("h/0")) == len(fleet.rings("h/1"))
    assert fleet.core.counters["workers_lost"] == 0


def test_changes_of_one_turn_are_one_epoch() -> None:
    fleet = DrivenCore("h/0")
    before = epoch(fleet)
    for name in ("h/1", "h/2", "h/3"):
        body = {"worker": name, "incarnation": "a", "hand_over": "x"}
        fleet.core.from_worker(name.encode(), bus.encode_control(bus.READY1, body), fleet.now)
    fleet.turn()
    assert epoch(fleet).counter == before.counter + 1
    assert len(fleet.rings("h/3")) == 1


def test_leaving_twice_changes_nothing() -> None:
    fleet = DrivenCore("h/0", "h/1")
    bye(fleet, "h/0", leaving=True)
    before = epoch(fleet)
    bye(fleet, "h/0", leaving=True)
    assert epoch(fleet) == before


def test_a_worker_may_be_leaving_when_a_new_router_meets_it() -> None:
    fleet = DrivenCore("h/0")
    fleet.join("h/1", leaving=True)
    assert fleet.rings("h/0")[-1].live.keys() == {"h/0"}
    assert fleet.rings("h/0")[-1].leaving.keys() == {"h/1"}


def test_the_same_incarnation_again_only_gets_the_ring_again() -> None:
    fleet = DrivenCore("h/0", "h/1")
    before, told = epoch(fleet), len(fleet.rings("h/1"))
    fleet.join("h/0")
    assert epoch(fleet) == before
    assert fleet.rings("h/0")[-1].epoch == before
    assert len(fleet.rings("h/1")) == told


def test_another_incarnation_changes_nothing() -> None:
    fleet = DrivenCore("h/0", "h/1")
    owners, before, told = fleet.core.parts.membership.owners, epoch(fleet), len(fleet.rings("h/1"))
    for number in range(20):
        fleet.join("h/0", incarnation=f"b{number}")
        assert fleet.rings("h/0")[-1].epoch == before
    assert (epoch(fleet), len(fleet.rings("h/1"))) == (before, told)
    assert fleet.core.parts.membership.owners is owners
    assert fleet.core.counters["workers_restarting"] == 20
    assert fleet.core.counters["workers_lost"] == 0


def test_another_path_is_a_new_epoch_with_the_same_owners() -> None:
    fleet = DrivenCore("h/0", "h/1")
    owners, before = fleet.core.parts.membership.owners, epoch(fleet)
    fleet.join("h/0", incarnation="b", hand_over="/elsewhere")
    assert epoch(fleet).counter == before.counter + 1
    assert fleet.rings("h/1")[-1].live["h/0"] == "/elsewhere"
    assert fleet.core.parts.membership.owners == owners


def test_strangers_are_asked_who_they_are() -> None:
    fleet = DrivenCore("h/0")
    beat(fleet, "h/9")
    assert fleet.messages(bus.WHO1, "h/9") == [bus.encode_control(bus.WHO1, {})]
    assert b"h/9" not in fleet.core.parts.membership.workers


def test_nobody_is_asked_more_than_once_a_heartbeat() -> None:
    """After a pause dozens of messages come at once, and each WHO1 is answered with all claims."""
    fleet = DrivenCore("h/0", worker_heartbeat_ms=1000)
    for _ in range(10):
        beat(fleet, "h/9")
        beat(fleet, "h/0", epoch=[STARTED_MS + 9, 9])
    assert len(fleet.messages(bus.WHO1, "h/9")) == len(fleet.messages(bus.WHO1, "h/0")) == 1
    assert [bus.decode_control(frames) for frames in fleet.messages(bus.WHO1)] == [{}, {"known": True}]
    fleet.advance(1)
    beat(fleet, "h/9")
    assert len(fleet.messages(bus.WHO1, "h/9")) == 2
    fleet.cut.add(b"h/9")
    fleet.advance(1)
    beat(fleet, "h/9")  # its link has gone meanwhile
    fleet.cut.clear()
    beat(fleet, "h/9")
    assert len(fleet.messages(bus.WHO1, "h/9")) == 3


def run(fleet: DrivenCore, seconds: float, *beating: str) -> None:
    """Time passes; these workers say that they are there."""
    for _ in range(round(seconds / 0.5)):
        fleet.advance(0.5)
        for worker in beating:
            beat(fleet, worker)


def test_silence_is_probed_then_the_worker_is_awaited_then_it_is_lost() -> None:
    fleet = DrivenCore("h/0", "h/1", worker_heartbeat_ms=1000, worker_timeout_ms=5000, move_timeout_s=10)
    before = epoch(fleet)
    run(fleet, 4, "h/1")
    assert fleet.messages(bus.WHO1, "h/0")
    assert not fleet.messages(bus.WHO1, "h/1")
    assert state(fleet, "h/0") is WorkerState.LIVE
    run(fleet, 2, "h/1")
    assert state(fleet, "h/0") is WorkerState.RESTARTING
    assert fleet.rings("h/1")[-1].live.keys() == {"h/0", "h/1"}
    run(fleet, 4, "h/1")
    assert epoch(fleet) == before
    run(fleet, 1, "h/1")
    assert state(fleet, "h/0") is WorkerState.LOST
    assert fleet.rings("h/1")[-1].live.keys() == {"h/1"}
    assert fleet.rings("h/1")[-1].leaving.keys() == {"h/0"}
    assert fleet.core.counters["workers_lost"] == fleet.core.counters["workers_restarting"] == 1
    lost = epoch(fleet)
    run(fleet, 11, "h/1")
    assert b"h/0" not in fleet.core.parts.membership.workers
    assert epoch(fleet) == lost
    fleet.join("h/2")
    assert fleet.rings("h/1")[-1].leaving == {}


def test_a_silent_worker_whose_link_is_gone_is_away_at_the_first_probe() -> None:
    fleet = DrivenCore("h/0", "h/1")
    fleet.cut.add(b"h/0")
    run(fleet, 1, "h/1")
    assert state(fleet, "h/0") is WorkerState.RESTARTING
    assert fleet.rings("h/1")[-1].live.keys() == {"h/0", "h/1"}


def test_only_silent_workers_of_this_host_are_killed_and_only_if_it_is_known_which_process() -> None:
    fleet = DrivenCore()
    fleet.join("h/0", pid=7, started=77)
    fleet.join("h/1", pid=8)
    fleet.join("other/0", pid=9, started=99)
    fleet.join("h/2", pid=10, started=100)
    fleet.cut.add(b"h/2")
    fleet.advance(30)
    assert fleet.kills == [("h/0", 7, 77)]


def test_a_worker_that_was_away_is_asked_and_flows_again_in_the_same_epoch() -> None:
    fleet = DrivenCore("h/0", "h/1")
    before = epoch(fleet)
    run(fleet, 6, "h/1")
    fleet.cut.add(b"h/0")
    run(fleet, 2, "h/1")
    fleet.cut.clear()
    fleet.to_workers.clear()
    beat(fleet, "h/0")
    assert len(fleet.messages(bus.WHO1, "h/0")) == 1
    assert state(fleet, "h/0") is WorkerState.RESTARTING
    fleet.join("h/0")
    assert state(fleet, "h/0") is WorkerState.LIVE
    assert fleet.rings("h/0")[-1].epoch == epoch(fleet) == before


def test_a_lost_worker_may_come_again() -> None:
    fleet = DrivenCore("h/0")
    fleet.advance(11)
    assert fleet.rings("h/0")[-1].live.keys() == {"h/0"}
    assert epoch(fleet).counter == 2
    beat(fleet, "h/0")
    fleet.join("h/0")
    assert fleet.rings("h/0")[-1].epoch == epoch(fleet)
    assert epoch(fleet).counter == 3


def test_everybody_hears_once_a_heartbeat_that_the_router_lives() -> None:
    fleet = DrivenCore("h/0", position=2)
    said = {"router": 2, "members": True, "notes": True}
    assert fleet.messages(bus.ALIVE1, "h/0") == [bus.encode_control(bus.ALIVE1, said)]
    run(fleet, 5, "h/0")
    assert 5 <= len(fleet.messages(bus.ALIVE1, "h/0")) <= 7
    beat(fleet, "h/9")
    assert len(fleet.messages(bus.ALIVE1, "h/9")) == 1


def test_a_pause_of_the_router_is_not_held_against_workers() -> None:
    fleet = DrivenCore("h/0")
    fleet.advance(1)
    beat(fleet, "h/0")
    fleet.now += 60
    fleet.core.tick(fleet.now)
    fleet.turn()
    assert fleet.core.counters["workers_lost"] == 0
    assert fleet.core.counters["workers_restarting"] == 0
    fleet.advance(6)
    assert fleet.core.counters["workers_restarting"] == 1


def test_a_worker_that_missed_the_ring_is_told_again() -> None:
    fleet = DrivenCore("h/0")
    beat(fleet, "h/0", epoch=[0, 0])
    assert len(fleet.rings("h/0")) == 1
    fleet.advance(1.1)
    beat(fleet, "h/0", epoch=[0, 0])
    assert len(fleet.rings("h/0")) == 2
    beat(fleet, "h/0")
    assert len(fleet.rings("h/0")) == 2


def test_a_greater_epoch_is_continued() -> None:
    fleet = DrivenCore("h/0")
    beat(fleet, "h/0", epoch=[STARTED_MS + 5, 7])
    assert fleet.messages(bus.WHO1, "h/0")
    fleet.join("h/0")  # of a version that does not tell the ring that it follows
    assert epoch(fleet) == (STARTED_MS + 5, 8)
    assert fleet.rings("h/0")[-1].epoch == (STARTED_MS + 5, 8)


@pytest.mark.parametrize("said", ["12", [1], [1, 2, 3], [1, "2"], [1.5, 2], [-1, 0], [1 << 63, 0], [0, 1 << 31], {}, 7])
def test_an_epoch_that_is_none(said: object) -> None:
    fleet = DrivenCore("h/0")
    fleet.say("h/0", bus.encode_control(bus.BEAT1, {"epoch": said}))
    assert fleet.core.counters["bus_errors"] == 1
    assert epoch(fleet).started_ms == STARTED_MS


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"worker": "h/1", "incarnation": "a", "hand_over": "x"},
        {"worker": "h/0", "hand_over": "x"},
        {"worker": "h/0", "incarnation": 1, "hand_over": "x"},
        {"worker": "h/0", "incarnation": "a"},
        {"worker": "h/0", "incarnation": "a", "hand_over": "x", "pid": "1"},
        {"worker": "h/0", "incarnation": "a", "hand_over": "x", "started": -1},
        {"worker": "h/0", "incarnation": "a", "hand_over": "x", "claims": None},
        {"worker": "h/0", "incarnation": "a", "hand_over": "x", "ring": {}},
        {"worker": "h/0", "incarnation": "a", "hand_over": "x", "ring": {"epoch": [1, 1], "live": {"a": 1}}},
        {"worker": "\ud800", "incarnation": "a", "hand_over": "x"},
        {"worker": 1, "incarnation": "a", "hand_over": "x"},
    ],
)
def test_ready_that_is_not_whole(body: dict[str, object]) -> None:
    fleet = DrivenCore()
    fleet.say("h/0", bus.encode_control(bus.READY1, body))
    assert fleet.core.counters["bus_errors"] == 1
    assert not fleet.core.parts.membership.workers


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [b"READY9", b"{}"],
        [bus.READY1],
        [bus.READY1, b"["],
        [bus.READY1, b"[]"],
        [bus.BEAT1, b"\xff"],
        [bus.BYE1, b"{}"],
        [bus.OUTCOMES1],
        [bus.OUTCOMES1, b"1", b""],
        [bus.LATE1, bytes(8), b"123"],
        [bus.COUNTS1, bytes(8)],
        [bus.COUNTS1, bytes(8), b"[]"],
        [bus.REPLY1, b"", b"{}"],
        [bytes(9)] * 1000,
    ],
)
def test_bus_messages_that_do_not_decode_are_counted(frames: list[bytes]) -> None:
    fleet = DrivenCore("h/0")
    for _ in range(3):
        fleet.say("h/0", frames)
    assert fleet.core.counters["bus_errors"] == 3
    assert len([notice for notice in fleet.notices if "passed over" in notice]) == 1


def test_one_line_for_each_event() -> None:
    fleet = DrivenCore("h/0")
    bye(fleet, "h/0", leaving=True)
    bye(fleet, "h/0", gone=True)
    assert fleet.notices == [
        "worker h/0 joined",
        f"ring {STARTED_MS}.1 of 1 workers: h/0",
        "worker h/0 is leaving",
        f"ring {STARTED_MS}.2 of 0 workers: none",
        "worker h/0 left",
        f"ring {STARTED_MS}.3 of 0 workers: none",
    ]
