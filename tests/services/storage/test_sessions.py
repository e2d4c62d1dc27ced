"""Sessions and users, in every storage."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from services.storage.interfaces import Session, Storage
from tests.services.storage.odd_texts import ODD_TEXTS

NOW = 1_800_000_000.25


def session(uid: str = "u1", client: str = "c1", expires: float | None = NOW + 100, secret: str = "s") -> Session:
    return Session(uid, client, secret, "usertoken", NOW, expires, None)


def test_nothing_is_there_at_first(storage: Storage) -> None:
    assert storage.sessions.get("u1", "c1") is None
    assert storage.sessions.by_uid("u1") == []
    assert storage.sessions.owner_of("c1", NOW) is None
    assert not storage.sessions.delete("u1", "c1")


@pytest.mark.parametrize("kept", [session(), session(expires=None), session()._replace(mobile="139", secret="é|{}\n")])
def test_session_comes_back_as_it_was_put(storage: Storage, kept: Session) -> None:
    storage.sessions.put(kept, NOW)
    assert storage.sessions.get("u1", "c1") == kept
    assert storage.sessions.by_uid("u1") == [kept]
    assert storage.sessions.owner_of("c1", NOW) == "u1"


def test_later_session_takes_the_place_of_the_earlier(storage: Storage) -> None:
    storage.sessions.put(session(), NOW)
    later = session(secret="other", expires=None)
    storage.sessions.put(later, NOW + 1)
    assert storage.sessions.by_uid("u1") == [later]


def test_user_may_have_several(storage: Storage) -> None:
    kept = {session(client=f"c{i}") for i in range(20)}
    for each in kept:
        storage.sessions.put(each, NOW)
    assert set(storage.sessions.by_uid("u1")) == kept
    assert storage.sessions.delete("u1", "c3")
    assert not storage.sessions.delete("u1", "c3")
    assert set(storage.sessions.by_uid("u1")) == {each for each in kept if each.client_identifier != "c3"}
    assert storage.sessions.owner_of("c3", NOW) is None


def test_same_client_identifier_of_another_user_disturbs_nobody(storage: Storage) -> None:
    first, second = session("u2"), session("u1", secret="other")
    storage.sessions.put(first, NOW)
    storage.sessions.put(second, NOW)
    assert storage.sessions.get("u2", "c1") == first
    assert storage.sessions.get("u1", "c1") == second
    assert storage.sessions.owner_of("c1", NOW) == "u2"
    assert storage.sessions.delete("u2", "c1")
    assert storage.sessions.owner_of("c1", NOW) == "u1"


def test_renewed_session_keeps_its_token(storage: Storage) -> None:
    storage.sessions.put(session("u2"), NOW)
    storage.sessions.put(session("u1"), NOW)
    storage.sessions.put(session("u2")._replace(created=NOW + 50, expires=NOW + 500), NOW + 50)
    assert storage.sessions.owner_of("c1", NOW + 50) == "u2"


def test_expired_session_owns_nothing(storage: Storage) -> None:
    storage.sessions.put(session("u2", expires=NOW + 10), NOW)
    storage.sessions.put(session("u1", expires=NOW + 20), NOW)
    assert storage.sessions.owner_of("c1", NOW + 9.5) == "u2"
    assert storage.sessions.owner_of("c1", NOW + 10) == "u1"
    assert storage.sessions.owner_of("c1", NOW + 20) is None


def test_session_that_had_expired_stands_last_again(storage: Storage) -> None:
    storage.sessions.put(session("u2", expires=NOW + 10), NOW)
    storage.sessions.put(session("u1"), NOW)
    storage.sessions.put(session("u2"), NOW + 11)
    assert storage.sessions.owner_of("c1", NOW + 11) == "u1"


def test_expired_sessions_go_in_time(storage: Storage) -> None:
    for number in range(5):
        storage.sessions.put(session(client=f"old{number}", expires=NOW + 1), NOW)
    storage.sessions.put(session(), NOW + 2)
    assert storage.sessions.by_uid("u1") == [session()]


@pytest.mark.parametrize("odd", ODD_TEXTS, ids=ascii)
def test_session_of_any_text(storage: Storage, odd: str) -> None:
    kept = Session(odd, odd, odd, odd, NOW, None, odd)
    storage.sessions.put(kept, NOW)
    assert storage.sessions.by_uid(odd) == [kept]
    assert storage.sessions.owner_of(odd, NOW) == odd
    assert storage.sessions.delete(odd, odd)
    assert storage.users.user_by_mobile(odd, lambda: odd) == (odd, True)
    storage.users.block(odd, True)
    assert storage.users.is_blocked(odd)


def test_user_is_made_once_for_a_number(storage: Storage) -> None:
    assert storage.users.user_by_mobile("139", lambda: "u1") == ("u1", True)
    assert storage.users.user_by_mobile("139", lambda: "u2") == ("u1", False)
    assert storage.users.user_by_mobile("138", lambda: "u2") == ("u2", True)


def test_users_made_at_once_for_a_number_are_one(storage: Storage) -> None:
    made = count()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: storage.users.user_by_mobile("139", lambda: f"u{next(made)}"), range(64)))
    assert len({uid for uid, _ in answers}) == 1
    assert [is_new for _, is_new in answers].count(True) == 1


def test_blocked_until_unblocked(storage: Storage) -> None:
    assert not storage.users.is_blocked("u1")
    for blocked in (True, True, False, False):
        storage.users.block("u1", blocked)
        assert storage.users.is_blocked("u1") is blocked
    assert not storage.users.is_blocked("u2")
