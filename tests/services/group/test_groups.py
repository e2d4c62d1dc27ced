"""The topics of the group service, on a real storage in a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from services.group.groups import GroupTopics
from services.library import ClientCall, Refusal
from services.storage.interfaces import Storage
from services.storage.opening import open_storage
from shared.errors import StorageUnavailable
from shared.settings import load

NOW = 1_795_000_000.0


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with open_storage(load({"PUSH_DATA_DIR": str(tmp_path)})) as opened:
        yield opened


@pytest.fixture
def topics(storage: Storage) -> GroupTopics:
    return GroupTopics(storage)


def ask(answer: Any, **fields: Any) -> Any:
    """The map that answers, or the status that refuses."""
    try:
        return msgpack.unpackb(answer(ClientCall({"signal": 0, "sub_signal": 6}, msgpack.packb(fields))))
    except Refusal as refused:
        return msgpack.unpackb(refused.body)["status"]


def test_a_group_of_100_000_is_gone_before_its_members_are_removed(storage: Storage):
    left: list[Iterator[None]] = []
    names = [f"t{number}" for number in range(100_000)]
    topics = GroupTopics(storage, tidy=left.append)
    ask(topics.groups, op="create", group="g", tokens=names)
    assert ask(topics.groups, op="dismiss", group="g") == {"members": 100_000}
    (steps,) = left
    next(steps)  # and not one before
    assert ask(topics.members, group="g")["exists"] is False
    assert storage.groups.of("t99999", None) == []
    ask(topics.groups, op="create", group="g", tokens=["t1"])
    assert len(list(steps)) == 100
    assert ask(topics.members, group="g")["tokens"] == ["t1"]


def test_a_group_is_made_filled_listed_and_dismissed(topics: GroupTopics):
    assert ask(topics.groups, op="create", group="g", by="u", uids=["u"]) == {"joined": 1}
    assert ask(topics.groups, op="create", group="g", by="v") == 409
    assert ask(topics.groups, op="join", group="g", tokens=["a", "b"]) == {"joined": 2}
    assert ask(topics.groups, op="join", group="g", tokens=["b", "c"]) == {"joined": 1}
    assert ask(topics.groups, op="leave", group="g", tokens=["a", "x"]) == {"left": 1}
    assert ask(topics.groups, op="list", group="g") == {"owner": "u", "tokens": ["b", "c"], "uids": ["u"]}
    assert ask(topics.groups, op="of", token="b", uid="u") == {"groups": ["g"]}
    assert ask(topics.groups, op="dismiss", group="g", by="u") == {"members": 3}
    assert ask(topics.groups, op="list", group="g") == 404
    assert ask(topics.groups, op="of", token="b") == {"groups": []}


def test_workers_are_told_of_what_is_stored(storage: Storage):
    told: list[tuple[str, list[str], list[str], bool, set[str]]] = []

    def regroup(group: str, tokens: list[str], uids: list[str], joined: bool) -> None:
        told.append((group, tokens, uids, joined, set(storage.groups.members(group).tokens)))

    topics = GroupTopics(storage, regroup)
    ask(topics.groups, op="create", group="g", by="u", tokens=["a"], uids=["u"])
    ask(topics.groups, op="join", group="g", tokens=["a", "b"])  # one is told anew: it may have been missed
    ask(topics.groups, op="leave", group="g", tokens=["a"])
    assert ask(topics.groups, op="join", group="none", tokens=["a"]) == 404
    assert ask(topics.groups, op="dismiss", group="g", by="other") == 403
    ask(topics.groups, op="dismiss", group="g")
    assert told == [
        ("g", ["a"], ["u"], True, {"a"}),
        ("g", ["a", "b"], [], True, {"a", "b"}),
        ("g", ["a"], [], False, {"b"}),
        ("g", ["b"], ["u"], False, set()),
    ]


def test_whose_group_it_is(topics: GroupTopics):
    ask(topics.groups, op="create", group="g", by="owner")
    assert ask(topics.groups, op="join", group="g", by="guest", tokens=["other"]) == 403
    assert ask(topics.groups, op="join", group="g", by="guest", uids=["guest"]) == {"joined": 1}
    assert ask(topics.groups, op="dismiss", group="g", by="guest") == 403
    assert ask(topics.groups, op="leave", group="g", by="guest", uids=["guest"]) == {"left": 1}
    assert ask(topics.groups, op="join", group="g", by="owner", tokens=["other"]) == {"joined": 1}
    assert ask(topics.groups, op="leave", group="g", by="guest", tokens=["other"]) == 403
    assert ask(topics.groups, op="dismiss", group="g") == {"members": 1}


@pytest.mark.parametrize("op", ["dismiss", "join", "leave", "list"])
def test_no_such_group(topics: GroupTopics, op: str):
    assert ask(topics.groups, op=op, group="none", tokens=["a"]) == (404 if op != "leave" else {"left": 0})


def test_no_such_operation(topics: GroupTopics):
    assert ask(topics.groups, op="rename", group="g") == 400
    assert ask(topics.groups, group="g") == 400


def test_pages_are_of_one_moment(topics: GroupTopics):
    ask(topics.groups, op="create", group="g", tokens=[f"t{number}" for number in range(6)])
    first = ask(topics.members, group="g", after="", most=2)
    assert (first["tokens"], first["more"]) == (["t0", "t1"], True)
    ask(topics.groups, op="join", group="g", tokens=["t1a"])
    ask(topics.groups, op="leave", group="g", tokens=["t3"])
    second = ask(topics.members, group="g", after="t1", most=2)
    assert (second["tokens"], second["more"]) == (["t2", "t3"], True)
    assert ask(topics.members, group="g", after="", most=10)["tokens"] == ["t0", "t1", "t1a", "t2", "t4", "t5"]
    ask(topics.groups, op="dismiss", group="g")
    last = ask(topics.members, group="g", after="t3", most=2)
    assert (last["tokens"], last["more"], last["exists"]) == ([], False, False)


def test_members_are_all_tokens_once(topics: GroupTopics, storage: Storage):
    storage.devices.add("u", "phone", "v2", NOW)
    storage.devices.add("u", "browser", "websocket", NOW)
    ask(topics.groups, op="create", group="g", tokens=["phone", "other"], uids=["u", "away"])
    members = ask(topics.members, group="g")
    assert sorted(members["tokens"]) == ["browser", "other", "phone"]
    assert sorted(members["uids"]) == ["away", "u"]
    assert members["exists"] is True
    assert ask(topics.members, group="none") == {"tokens": [], "uids": [], "exists": False, "more": False}


def test_members_come_in_pages(topics: GroupTopics):
    tokens = [f"t{number}" for number in range(10)]
    ask(topics.groups, op="create", group="g", tokens=tokens)
    pages, after, more = [], "", True
    while more:
        page = ask(topics.members, group="g", after=after, most=4)
        pages.append(page["tokens"])
        after, more = page["tokens"][-1], page["more"]
    assert pages == [tokens[:4], tokens[4:8], tokens[8:]]
    assert ask(topics.members, group="g", after="z", most=4)["tokens"] == []


def test_groups_of_many_clients_in_order(topics: GroupTopics):
    ask(topics.groups, op="create", group="g", tokens=["a"], uids=["u"])
    ask(topics.groups, op="create", group="h", tokens=["a"])
    answer = ask(topics.groups_of, clients=[["a", None], ["b", "u"], ["b", None]])
    assert [sorted(groups) for groups in answer["groups"]] == [["g", "h"], ["g"], []]
    assert ask(topics.groups_of, clients=["a"]) == 400
    assert ask(topics.groups_of) == 400


def test_a_storage_that_is_away():
    class Away:
        def create(self, *_: object) -> bool:
            raise StorageUnavailable("gone")

    class Storing:
        groups = Away()

    assert ask(GroupTopics(Storing()).groups, op="create", group="g") == 503  # type: ignore[arg-type]
