"""Groups, in every storage."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from services.storage.interfaces import Members, Storage
from shared.errors import NoGroupError
from tests.services.storage.odd_texts import ODD_TEXTS

MANY = 100_000


def members(storage: Storage, name: str = "g") -> tuple[list[str], list[str]]:
    tokens, uids = storage.groups.members(name)
    return sorted(tokens), sorted(uids)


def test_nothing_is_there_at_first(storage: Storage) -> None:
    assert not storage.groups.exists("g")
    assert storage.groups.owner("g") is None
    assert storage.groups.members("g") == Members([], [])
    assert storage.groups.of("t1", "u1") == []
    assert storage.groups.leave("g", ["t1"], ["u1"]) == 0
    assert not storage.groups.dismiss("g")


def test_group_is_made_once(storage: Storage) -> None:
    assert storage.groups.create("g", "u1")
    assert not storage.groups.create("g", "u2")
    assert storage.groups.exists("g")
    assert storage.groups.owner("g") == "u1"


def test_group_made_at_once_is_made_once(storage: Storage) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: storage.groups.create("g", f"u{i}"), range(32)))
    assert answers.count(True) == 1


@pytest.mark.parametrize("tokens", [["t1"], []])
def test_nobody_joins_a_group_that_there_is_not(storage: Storage, tokens: list[str]) -> None:
    with pytest.raises(NoGroupError):
        storage.groups.join("g", tokens, [])


def test_members_join_and_leave(storage: Storage) -> None:
    storage.groups.create("g", "u1")
    assert storage.groups.join("g", ["t1", "t2"], ["u1"]) == 3
    assert storage.groups.join("g", ["t2", "t3"], ["u1"]) == 1
    assert members(storage) == (["t1", "t2", "t3"], ["u1"])
    assert storage.groups.leave("g", ["t1", "t9"], ["u1", "u9"]) == 2
    assert members(storage) == (["t2", "t3"], [])


def test_token_and_uid_of_one_text_are_two_members(storage: Storage) -> None:
    storage.groups.create("g", "u1")
    assert storage.groups.join("g", ["x"], ["x"]) == 2
    assert storage.groups.leave("g", ["x"], []) == 1
    assert members(storage) == ([], ["x"])
    assert storage.groups.of("x", None) == []
    assert storage.groups.of(None, "x") == ["g"]


def test_groups_of_token_and_uid(storage: Storage) -> None:
    for name in ("a", "b", "c", "d"):
        storage.groups.create(name, "u1")
    storage.groups.join("a", ["t1"], [])
    storage.groups.join("b", [], ["u1"])
    storage.groups.join("c", ["t1"], ["u1"])
    assert sorted(storage.groups.of("t1", "u1")) == ["a", "b", "c"]
    assert sorted(storage.groups.of("t1", None)) == ["a", "c"]
    assert sorted(storage.groups.of(None, "u1")) == ["b", "c"]
    assert storage.groups.of(None, None) == []
    storage.groups.leave("c", ["t1"], ["u1"])
    assert sorted(storage.groups.of("t1", "u1")) == ["a", "b"]


def test_dismissed_group_has_no_members_when_it_is_made_again(storage: Storage) -> None:
    storage.groups.create("g", "u1")
    storage.groups.join("g", ["t1"], ["u1"])
    steps = storage.groups.dismiss("g")
    assert steps is not None
    assert not storage.groups.exists("g")
    assert members(storage) == ([], [])
    assert storage.groups.of("t1", "u1") == []
    assert storage.groups.create("g", "u2")
    assert members(storage) == ([], [])
    assert storage.groups.of("t1", "u1") == []
    assert storage.groups.join("g", ["t1"], []) == 1
    assert len(list(steps)) >= 1
    assert storage.groups.of("t1", "u1") == ["g"]
    assert members(storage) == (["t1"], [])
    assert storage.groups.dismiss("g")
    assert storage.groups.dismiss("g") is None


def test_group_of_many(storage: Storage) -> None:
    storage.groups.create("g", "u1")
    assert storage.groups.join("g", (f"t{i}" for i in range(MANY)), ["u1"]) == MANY + 1
    assert len(storage.groups.members("g").tokens) == len(set(storage.groups.members("g").tokens)) == MANY
    assert storage.groups.leave("g", (f"t{i}" for i in range(0, MANY, 10)), []) == MANY // 10
    assert storage.groups.of("t11", None) == ["g"]
    assert storage.groups.of("t10", None) == []
    assert storage.groups.dismiss("g")
    assert storage.groups.of("t11", None) == []


def test_group_dismissed_while_many_join(storage: Storage) -> None:
    storage.groups.create("g", "u1")

    def tokens():  # type: ignore[no-untyped-def]
        for number in range(10_000):
            if number == 5_000:
                storage.groups.dismiss("g")
            yield f"t{number}"

    with pytest.raises(NoGroupError):
        storage.groups.join("g", tokens(), [])
    storage.groups.create("g", "u1")
    assert members(storage) == ([], [])
    assert storage.groups.of("t1", None) == []


@pytest.mark.parametrize("odd", ODD_TEXTS, ids=ascii)
def test_group_of_any_text(storage: Storage, odd: str) -> None:
    assert storage.groups.create(odd, odd)
    assert storage.groups.join(odd, [odd], [odd]) == 2
    assert members(storage, odd) == ([odd], [odd])
    assert storage.groups.of(odd, odd) == [odd]
    assert storage.groups.leave(odd, [odd], []) == 1
    assert storage.groups.dismiss(odd)
