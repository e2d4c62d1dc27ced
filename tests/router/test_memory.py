"""When the router's memory is too much."""

from router.memory import MemoryWatch, ResidentMemory, give_back

MIB = 1 << 20


def test_over_the_limit_once_then_it_is_seen_what_is_left() -> None:
    watch = MemoryWatch(100 * MIB, 0.0)
    assert watch.next_look == 1.0
    assert not watch.over(1.0, 100 * MIB)
    assert watch.over(2.0, 101 * MIB)
    assert watch.just_reopened
    assert not watch.over(3.0, 300 * MIB)
    assert watch.next_look == 4.0


def test_memory_that_is_not_the_endpoints_does_not_reopen_it_for_ever() -> None:
    watch = MemoryWatch(100 * MIB, 0.0)
    assert watch.over(1.0, 150 * MIB)
    assert [watch.over(second, 150 * MIB) for second in range(2, 20)] == [False] * 18
    assert watch.over(20.0, 180 * MIB)


def test_the_limit_holds_again_when_memory_was_given_back() -> None:
    watch = MemoryWatch(100 * MIB, 0.0)
    assert watch.over(1.0, 150 * MIB)
    assert not watch.over(2.0, 150 * MIB)
    assert not watch.over(3.0, 20 * MIB)
    assert watch.over(4.0, 101 * MIB)


def test_resident_bytes_grow_and_shrink_with_what_is_used() -> None:
    resident = ResidentMemory()
    before = resident.bytes()
    block = bytearray(64 * MIB)
    block[::4096] = bytes(len(block) // 4096)
    assert resident.bytes() > before + 60 * MIB
    del block
    give_back()
    assert resident.bytes() < before + 10 * MIB
