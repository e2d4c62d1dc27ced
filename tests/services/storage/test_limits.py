"""Limits and codes, in every storage."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from services.storage.interfaces import Storage
from tests.services.storage.odd_texts import ODD_TEXTS

NOW = 1_800_000_000.5


def test_tries_are_counted_within_their_window(storage: Storage) -> None:
    assert [storage.limits.tries("k", 60, NOW + each) for each in (0, 0.5, 59.5, 60, 61, 120)] == [1, 2, 3, 1, 2, 1]
    assert storage.limits.tries("other", 60, NOW) == 1


def test_tries_at_once_are_all_counted(storage: Storage) -> None:
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: storage.limits.tries("k", 60, NOW), range(64)))
    assert sorted(counts) == list(range(1, 65))


def test_window_survives_a_small_step_back_of_the_clock_and_ends_by_a_great_one(storage: Storage) -> None:
    assert storage.limits.tries("k", 60, NOW) == 1
    assert storage.limits.tries("k", 60, NOW - 30) == 2
    assert storage.limits.tries("k", 60, NOW - 3600) == 1
    assert storage.limits.tries("k", 60, NOW - 3590) == 2


def test_code_is_good_until_it_expires(storage: Storage) -> None:
    assert storage.codes.get("k", NOW) is None
    storage.codes.put("k", "556677", NOW + 60, NOW)
    assert storage.codes.get("k", NOW + 59.5) == "556677"
    assert storage.codes.get("k", NOW + 60) is None


def test_later_code_takes_the_place_of_the_earlier(storage: Storage) -> None:
    storage.codes.put("k", "1", NOW + 60, NOW)
    storage.codes.put("k", "2", NOW + 90, NOW)
    storage.codes.put("other", "3", NOW + 60, NOW)
    assert storage.codes.get("k", NOW + 60) == "2"


def test_code_is_used_up_once(storage: Storage) -> None:
    storage.codes.put("k", "1", NOW + 60, NOW)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: storage.codes.delete("k"), range(16)))
    assert answers.count(True) == 1
    assert storage.codes.get("k", NOW) is None


@pytest.mark.parametrize("odd", ODD_TEXTS, ids=ascii)
def test_keys_of_any_text(storage: Storage, odd: str) -> None:
    storage.codes.put(odd, odd, NOW + 60, NOW)
    assert storage.codes.get(odd, NOW) == odd
    assert [storage.limits.tries(odd, 60, NOW) for _ in range(2)] == [1, 2]
