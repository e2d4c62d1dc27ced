"""Devices, in every storage."""

import pytest

from services.storage.interfaces import Device, Storage
from tests.services.storage.odd_texts import ODD_TEXTS

NOW = 1_800_000_000.5


def test_nothing_is_there_at_first(storage: Storage) -> None:
    assert storage.devices.of("u1") == []
    assert storage.devices.uid_of("t1") is None
    assert not storage.devices.remove("u1", "t1")
    assert storage.devices.all_tokens("", 10) == []


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
    assert storage.devices.all_tokens("", 10) == []


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_all_tokens_come_once(storage: Storage, most: int) -> None:
    tokens = {f"t{i}" for i in range(100)} | set(ODD_TEXTS)
    for token in tokens:
        storage.devices.add("u1", token, "v2", NOW)
    found: list[str] = []
    while page := storage.devices.all_tokens(found[-1] if found else "", most):
        assert len(page) <= most
        found += page
    assert sorted(found) == sorted(tokens)


def test_all_tokens_go_on_where_the_last_one_has_gone(storage: Storage) -> None:
    for number in range(50):
        storage.devices.add("u1", f"t{number}", "v2", NOW)
    found: list[str] = []
    while page := storage.devices.all_tokens(found[-1] if found else "", 3):
        found += page
        storage.devices.remove("u1", page[-1])
    assert len(found) == len(set(found)) == 50


@pytest.mark.parametrize("odd", ODD_TEXTS, ids=ascii)
def test_device_of_any_text(storage: Storage, odd: str) -> None:
    storage.devices.add(odd, odd, odd, NOW)
    assert storage.devices.of(odd) == [Device(odd, odd, NOW, NOW)]
    assert storage.devices.uid_of(odd) == odd
    assert storage.devices.all_tokens("", 10) == [odd]
    assert storage.devices.remove(odd, odd)
