"""Lists of members that are read in pages."""

from services.group.snapshots import Snapshots


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_list_is_good_while_it_is_read():
    clock = Clock()
    snapshots = Snapshots(clock)
    assert snapshots.find("g") is None
    snapshots.keep("g", ["a", "b"])
    for _ in range(3):
        clock.now += 9
        snapshots.forget_old()
        assert snapshots.find("g") == ["a", "b"]
    clock.now += 11
    assert snapshots.find("g") is None
    snapshots.forget_old()
    assert not snapshots._by_group


def test_few_are_kept_those_that_were_used_last():
    snapshots = Snapshots(Clock())
    for number in range(4):
        snapshots.keep(f"g{number}", [str(number)])
    assert snapshots.find("g0") == ["0"]
    snapshots.keep("g4", ["4"])
    assert snapshots.find("g1") is None
    assert [snapshots.find(f"g{number}") for number in (0, 2, 3, 4)] == [["0"], ["2"], ["3"], ["4"]]
