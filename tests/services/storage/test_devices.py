"""Devices, in every storage."""

import pytest

from services.storage.interfaces import Device, Storage
from services.storage.presences import Ended, Presence
from tests.services.storage.odd_texts import ODD_TEXTS

NOW = 1_800_000_000.5


def test_nothing_is_there_at_first(storage: Storage) -> None:
    assert storage.devices.of("u1") == []
    assert storage.devices.uid_of("t1") is None
    assert not storage.devices.remove("u1", "t1")
    assert storage.devices.all_tokens("", 10, NOW) == []


def test_device_is_added_once_and_seen_again(storage: Storage) -> None:
    storage.devices.add("u1", "t1", "v2", NOW)
    storage.devices.add("u1", "t1", "websocket", NOW + 5)
    assert storage.devices.of("u1") == [Device("t1", "websocket", NOW, NOW + 5)]
    assert storage.devices.uid_of("t1") == "u1"


def test_device_is_one_users(storage: Storage) -> None:
    storage.devices.add("u1", "t1", "v2", NOW)
    storage.devices.add("u1", "t2", "v2", NOW)
    storage.devices.add("u2", "t1", "v1", NOW + 5)
    assert storage.devices.of("u1") == [Device("t2", "v2", NOW, NOW)]
    assert storage.devices.of("u2") == [Device("t1", "v1", NOW + 5, NOW + 5)]
    assert storage.devices.uid_of("t1") == "u2"


def test_only_its_user_can_remove_it(storage: Storage) -> None:
    storage.devices.add("u1", "t1", "v2", NOW)
    assert not storage.devices.remove("u2", "t1")
    assert storage.devices.remove("u1", "t1")
    assert not storage.devices.remove("u1", "t1")
    assert storage.devices.of("u1") == []
    assert storage.devices.all_tokens("", 10, NOW) == []


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_all_tokens_come_once(storage: Storage, most: int) -> None:
    tokens = {f"t{i}" for i in range(100)} | set(ODD_TEXTS)
    for token in tokens:
        storage.devices.add("u1", token, "v2", NOW)
    found: list[str] = []
    while page := storage.devices.all_tokens(found[-1] if found else "", most, NOW):
        assert len(page) <= most
        found += page
    assert sorted(found) == sorted(tokens)


def test_all_tokens_go_on_where_the_last_one_has_gone(storage: Storage) -> None:
    for number in range(50):
        storage.devices.add("u1", f"t{number}", "v2", NOW)
    found: list[str] = []
    while page := storage.devices.all_tokens(found[-1] if found else "", 3, NOW):
        found += page
        storage.devices.remove("u1", page[-1])
    assert len(found) == len(set(found)) == 50


@pytest.mark.parametrize("odd", ODD_TEXTS, ids=ascii)
def test_device_of_any_text(storage: Storage, odd: str) -> None:
    storage.devices.add(odd, odd, odd, NOW)
    assert storage.devices.of(odd) == [Device(odd, odd, NOW, NOW)]
    assert storage.devices.uid_of(odd) == odd
    assert storage.devices.all_tokens("", 10, NOW) == [odd]
    assert storage.devices.remove(odd, odd)


def test_tokens_without_a_user_are_known_for_a_while(storage: Storage) -> None:
    storage.devices.add("u1", "t1", "v2", NOW)
    for token in ("t0", "t1", "t2"):
        storage.devices.meet(token, NOW + 100, NOW)
    storage.devices.meet("t2", NOW + 120, NOW + 20)  # soon again: nothing is written
    storage.devices.meet("t0", NOW + 160, NOW + 60)
    assert sorted(storage.devices.all_tokens("", 10, NOW + 99)) == ["t0", "t1", "t2"]
    assert sorted(storage.devices.all_tokens("", 10, NOW + 130)) == ["t0", "t1"]
    assert storage.devices.uid_of("t0") is None
    storage.devices.remove("u1", "t1")
    for _ in range(2):
        assert storage.devices.all_tokens("", 10, NOW + 200) == []
    storage.devices.meet("t0", NOW + 300, NOW + 200)
    assert storage.devices.all_tokens("", 10, NOW + 200) == ["t0"]


@pytest.mark.parametrize("most", [1, 7])
def test_both_kinds_come_in_one_order(storage: Storage, most: int) -> None:
    for number in range(20):
        storage.devices.meet(f"t{number}", NOW + 100, NOW)
        if number % 2:
            storage.devices.add("u1", f"t{number}", "v2", NOW)
    found: list[str] = []
    while page := storage.devices.all_tokens(found[-1] if found else "", most, NOW):
        assert len(page) <= most
        found += page
    assert sorted(found) == sorted(f"t{number}" for number in range(20))


def test_who_is_connected_is_known_too_and_comes_once(storage: Storage) -> None:
    here = [Presence(f"t{number}", None, "here/0", "v2", "127.0.0.1:1", 5, "here/0", 0) for number in range(3)]
    storage.devices.add("u1", "t1", "v2", NOW)
    storage.presences.report("here/0", "x.1", 1, 60_000, 1000, begin=True)
    storage.presences.come(here, "x.1", 1000)
    assert sorted(storage.devices.all_tokens("", 10, NOW)) == ["t0", "t1", "t2"]
    storage.devices.meet("t2", NOW + 100, NOW)
    storage.presences.gone([Ended(presence, "peer_closed") for presence in here], 1001)
    assert sorted(storage.devices.all_tokens("", 10, NOW)) == ["t1", "t2"]
    assert storage.devices.all_tokens("", 10, NOW + 100) == ["t1"]


def test_token_of_no_device_any_more_stays_known_while_it_was_met(storage: Storage) -> None:
    storage.devices.add("u1", "t1", "v2", NOW)
    storage.devices.meet("t1", NOW + 100, NOW)
    storage.devices.remove("u1", "t1")
    assert storage.devices.all_tokens("", 10, NOW) == ["t1"]
