"""The topics of the subscribe service, on a real storage in a file."""

import os
from pathlib import Path
from typing import Any

import msgpack
import pytest
import ujson

from services.library import ClientCall, Refusal
from services.storage.events import Keeping
from services.storage.interfaces import Session, Storage
from services.storage.sqlite_storage import SqliteStorage
from services.subscribe.policies import everybody
from services.subscribe.requests import SubscribeRequest
from services.subscribe.subscriptions import Subscriptions
from services.subscribe.tokens import TokenMaker, made_at
from services.token_owners import Clearing, ended_login
from shared.errors import StorageUnavailable

NOW = 1_795_000_000.0


def cannot(token: str) -> bool:
    return False


def subscriptions(
    storage: Any,
    anybody: bool = False,
    policy: Any = everybody,
    clear: Clearing = cannot,
    known_s: float = 0.0,
    **more: Any,
) -> Subscriptions:
    return Subscriptions(storage, TokenMaker(os.urandom), policy, anybody, clear, lambda: NOW, known_s, **more)


def call(**fields: Any) -> ClientCall:
    return ClientCall({"signal": 0, "sub_signal": 1}, msgpack.packb(fields))


def sub(topics: Subscriptions, **fields: Any) -> Any:
    """The token, or the status that refuses it."""
    said = {"token": None, "uid": None, "login": None, "address": "", "protocol": "v2"} | fields
    try:
        return msgpack.unpackb(topics.subscribe(call(**said)))["token"]
    except Refusal as refused:
        return msgpack.unpackb(refused.body)["status"]


def login(uid: str, *tokens: str, expires: float | None = None) -> dict[str, Any]:
    return {"uid": uid, "tokens": list(tokens), "expires": expires}


def test_tokens_are_made_or_taken_as_they_are(storage: Storage):
    topics = subscriptions(storage)
    made = sub(topics)
    assert made_at(made) == NOW * 1000
    assert sub(topics) != made
    assert sub(topics, token=made) == made
    assert sub(topics, token="alice") == "alice"
    assert sub(topics, token="\n") == 400


def test_who_subscribes_is_told_where_events_are_kept(tmp_path: Path):
    with SqliteStorage(tmp_path / "push.db", keeping=Keeping(1000)) as storage:
        topics = subscriptions(storage, tells=True)
        made = sub(topics)
        sub(topics, token="alice", login=login("u"))
        sub(topics, token="\n")
        told = [ujson.loads(one.json()) for one in storage.outbox.read(0, 9)]
    assert [(one["kind"], one["token"], one["uid"], one["made"], one["at"]) for one in told] == [
        ("subscribed", made, None, True, NOW * 1000),
        ("subscribed", "alice", "u", False, NOW * 1000),
    ]


def test_devices_of_a_user_are_kept(storage: Storage):
    topics = subscriptions(storage)
    made = sub(topics, login=login("u"))
    sub(topics, token="phone", login=login("u", "phone"), protocol="v1")
    sub(topics, token="nobody's")
    assert set(msgpack.unpackb(topics.members(call(uid="u")))["tokens"]) == {made, "phone"}
    devices = msgpack.unpackb(topics.devices(call(op="list", uid="u")))["devices"]
    assert {"token": "phone", "protocol": "v1", "added": NOW, "seen": NOW} in devices
    assert msgpack.unpackb(topics.devices(call(op="forget", uid="u", token="phone"))) == {"forgotten": 1}
    assert msgpack.unpackb(topics.devices(call(op="forget", uid="u"))) == {"forgotten": 1}
    assert msgpack.unpackb(topics.members(call(uid="u"))) == {"tokens": []}


def test_all_tokens_in_pages(storage: Storage):
    topics = subscriptions(storage, known_s=60.0)
    given = [sub(topics), sub(topics, token="alice"), sub(topics, login=login("u"))]
    first = msgpack.unpackb(topics.tokens(call(all="", after="", most=2)))
    second = msgpack.unpackb(topics.tokens(call(all="", after=first["tokens"][-1], most=2)))
    assert sorted(first["tokens"] + second["tokens"]) == sorted(given)
    assert (first["more"], second["more"]) == (True, False)
    for wrong in ({"after": None, "most": 1}, {"after": "", "most": 0}, {"after": "", "most": 10_001}):
        with pytest.raises(Refusal):
            topics.tokens(call(**wrong))


def test_tokens_without_a_user_are_not_kept_where_the_setting_is_0(storage: Storage):
    topics = subscriptions(storage)
    sub(topics)
    assert msgpack.unpackb(topics.tokens(call(after="", most=2))) == {"tokens": [], "more": False}


def test_a_token_of_a_login_needs_it(storage: Storage):
    storage.sessions.put(Session("u", "phone", "secret", "usertoken", NOW - 10, None), NOW)
    topics = subscriptions(storage)
    assert sub(topics, token="phone") == 403
    assert sub(topics, token="phone", uid="u") == 403
    assert sub(topics, token="phone", login=login("v", "phone")) == 403
    assert sub(topics, token="phone", login=login("u", "phone")) == "phone"
    assert sub(subscriptions(storage, anybody=True), token="phone") == "phone"
    storage.sessions.delete("u", "phone")
    storage.devices.remove("u", "phone")
    assert sub(topics, token="phone") == "phone"


def test_a_token_of_a_credential_needs_one(storage: Storage):
    topics = subscriptions(storage)
    assert sub(topics, token="phone", login=login("u", "phone")) == "phone"
    assert sub(topics, token="phone") == 403
    assert sub(subscriptions(storage, anybody=True), token="phone") == "phone"


def test_a_token_of_a_credential_is_nobody_elses_until_it_expires(storage: Storage):
    topics, clear = subscriptions(storage), lambda token: True
    assert sub(topics, token="phone", login=login("u", "phone", expires=NOW + 60)) == "phone"
    assert sub(topics, token="phone", login=login("v", "phone", expires=NOW + 60)) == 403
    assert sub(topics, token="phone", login=login("u", "phone", expires=NOW + 10)) == "phone"
    soon = Subscriptions(storage, TokenMaker(os.urandom), everybody, False, clear, lambda: NOW + 10)
    assert sub(soon, token="phone", login=login("v", "phone", expires=NOW + 60)) == 403
    later = Subscriptions(storage, TokenMaker(os.urandom), everybody, False, clear, lambda: NOW + 60)
    assert sub(later, token="phone", login=login("v", "phone", expires=NOW + 90)) == "phone"
    assert msgpack.unpackb(later.devices(call(op="forget", uid="v", token="phone"))) == {"forgotten": 1}
    assert sub(later, token="phone", login=login("u", "phone", expires=1e300)) == "phone"
    assert sub(later, token="phone", login=login("v", "phone")) == 403


def test_what_is_stored_for_another_user_goes_first(storage: Storage):
    """A credential names a token that another user had, whose session is over."""
    assert sub(subscriptions(storage), token="phone", login=login("u", "phone")) == "phone"
    assert sub(subscriptions(storage), token="phone", login=login("v", "phone")) == 503
    assert storage.devices.uid_of("phone") == "u"
    cleared: list[str] = []

    def clear(token: str) -> bool:
        cleared.append(token)
        return True

    topics = subscriptions(storage, clear=clear)
    for _ in range(2):
        assert sub(topics, token="phone", login=login("v", "phone")) == "phone"
    assert cleared == ["phone"]


@pytest.mark.parametrize("anybody", [False, True])
def test_a_user_who_is_blocked_and_a_login_that_has_ended(storage: Storage, anybody: bool):
    topics = subscriptions(storage, anybody)
    storage.users.block("u", True)
    assert sub(topics, login=login("u")) == 403
    assert sub(topics, token="phone", login=login("u", "phone")) == 403
    storage.users.block("u", False)
    storage.codes.put(ended_login("u", "phone"), "ended", NOW + 1, NOW)
    assert sub(topics, token="phone", login=login("u", "phone")) == 403
    assert sub(topics, token="tablet", login=login("u", "tablet")) == "tablet"
    storage.codes.put(ended_login("u", "phone"), "ended", NOW, NOW - 1)
    assert sub(topics, token="phone", login=login("u", "phone")) == "phone"


def test_the_policy_decides(storage: Storage):
    seen: list[SubscribeRequest] = []

    def policy(request: SubscribeRequest) -> str | None:
        seen.append(request)
        return "not you" if request.address.startswith("10.") else None

    topics = subscriptions(storage, policy=policy)
    assert sub(topics, address="10.0.0.1:5", login=login("u")) == 403
    assert msgpack.unpackb(topics.members(call(uid="u"))) == {"tokens": []}
    assert isinstance(sub(topics, address="192.0.2.1:5"), str)
    assert seen[0] == SubscribeRequest(None, "u", True, "10.0.0.1:5", "v2")


class NoStorage:
    """One that is away."""

    @property
    def sessions(self) -> Any:
        raise StorageUnavailable("gone")

    devices = users = codes = sessions


def test_a_storage_that_is_away_is_unavailable():
    topics = subscriptions(NoStorage())
    assert sub(topics, token="phone") == 503
    assert sub(topics, login=login("u")) == 503
    assert isinstance(sub(topics), str)


@pytest.mark.parametrize(
    "fields", [{}, {"uid": ""}, {"uid": "u", "op": "x"}, {"uid": "u", "op": "forget", "token": ""}]
)
def test_malformed_questions_are_refused(storage: Storage, fields: dict[str, Any]):
    topics = subscriptions(storage)
    with pytest.raises(Refusal) as caught:
        topics.devices(call(**fields))
    assert msgpack.unpackb(caught.value.body)["status"] == 400


def test_all_tokens_that_are_known_come_in_pages(storage: Storage):
    topics = Subscriptions(storage, TokenMaker(os.urandom), everybody, True, cannot, lambda: NOW, known_s=100.0)
    made = {sub(topics) for _ in range(5)} | {sub(topics, token="phone", login=login("u", "phone"))}
    found: list[str] = []
    more = True
    while more:
        page = msgpack.unpackb(topics.tokens(call(after=found[-1] if found else "", most=4)))
        found, more = found + page["tokens"], page["more"]
    assert sorted(found) == sorted(made)
    sub(subscriptions(storage), token="is-not-kept")
    assert len(storage.devices.all_tokens("", 10, NOW)) == 6
    assert storage.devices.all_tokens("", 10, NOW + 100) == ["phone"]


@pytest.mark.parametrize(
    "fields", [{}, {"after": 1, "most": 1}, {"after": "", "most": 0}, {"after": "", "most": 10**6}]
)
def test_malformed_pages_are_refused(storage: Storage, fields: dict[str, Any]):
    with pytest.raises(Refusal) as caught:
        subscriptions(storage).tokens(call(**fields))
    assert msgpack.unpackb(caught.value.body)["status"] == 400
