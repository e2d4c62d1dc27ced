"""Who is connected, in every storage."""

from services.storage.interfaces import Storage
from services.storage.presences import Ended, Presence

NOW = 1_795_000_000_000


def at(token: str, worker: str, binding: int, moves: int = 0, bound_by: str = "here/0") -> Presence:
    return Presence(token, "u", worker, "v2", "127.0.0.1:1", binding, bound_by, moves)


def begin(storage: Storage, worker: str, term: str) -> None:
    assert storage.presences.report(worker, term, 1, 60_000, NOW, begin=True)


def test_comes_moves_and_goes(storage: Storage) -> None:
    store = storage.presences
    begin(storage, "here/0", "x.1")
    begin(storage, "here/1", "y.1")
    (came,) = store.come([at("a", "here/0", 5)], "x.1", NOW)
    assert (came.reason, came.presence) == (None, at("a", "here/0", 5))
    assert store.come([at("a", "here/1", 5, 1)], "y.1", NOW + 1) == []
    assert store.come([at("a", "here/0", 5)], "x.1", NOW + 1) == []  # told late
    assert store.gone([Ended(at("a", "here/0", 5), "late")], NOW + 1) == []
    assert store.present(["a", "b"], NOW) == [at("a", "here/1", 5, 1), None]
    assert store.tokens_of("here/1", "", 10) == ["a"]
    (went,) = store.gone([Ended(at("a", "here/1", 5, 1), "kicked")], NOW + 9)
    assert (went.reason, went.at) == ("kicked", NOW + 9)
    assert went.sequence > came.sequence
    assert store.come([at("a", "here/0", 5)], "x.1", NOW + 10) == []  # told very late: it is no ghost
    assert store.present(["a"], NOW) == [None]
    (again,) = store.come([at("a", "here/0", 6)], "x.1", NOW + 11)
    assert again.sequence > went.sequence


def test_another_connection_replaces(storage: Storage) -> None:
    begin(storage, "here/0", "x.1")
    storage.presences.come([at("a", "here/0", 5)], "x.1", NOW)
    told = storage.presences.come([at("a", "here/0", 7)], "x.1", NOW)
    assert [(one.reason, one.presence.binding) for one in told] == [("replaced", 5), (None, 7)]


def test_leftovers_of_an_earlier_term_end_once(storage: Storage) -> None:
    store = storage.presences
    begin(storage, "here/0", "x.1")
    store.come([at("stays", "here/0", 5), at("lost", "here/0", 5)], "x.1", NOW)
    begin(storage, "here/0", "x.2")
    assert store.come([at("stays", "here/0", 5)], "x.2", NOW) == []
    assert store.ending(NOW + 50, 10) == []
    store.told_whole("here/0", "x.2", NOW)
    assert store.ending(NOW + 5, 10) == []
    assert store.ending(NOW + 10, 10) == [("here/0", "x.2")]
    (told,) = store.end("here/0", "x.2", NOW)
    assert [(one.presence.token, one.reason) for one in told] == [("lost", "worker_lost")]
    assert [one for part in store.end("here/0", "x.2", NOW) for one in part] == []
    store.forget("here/0", "x.1", NOW)
    assert store.ending(NOW + 10, 10) == [("here/0", "x.2")]
    store.forget("here/0", "x.2", NOW)
    assert store.ending(NOW + 10, 10) == []
    (back,) = store.come([at("lost", "here/0", 5)], "x.2", NOW)  # it was not lost after all
    assert back.reason is None


def test_reports_come_one_behind_the_other(storage: Storage) -> None:
    store = storage.presences
    assert not store.report("here/0", "x.1", 2, 60_000, NOW, begin=False)
    begin(storage, "here/0", "x.1")
    assert store.report("here/0", "x.1", 2, 60_000, NOW, begin=False)
    assert store.report("here/0", "x.1", 2, 60_000, NOW, begin=False)  # a repeat
    assert not store.report("here/0", "x.1", 4, 60_000, NOW, begin=False)
    assert not store.report("here/0", "x.2", 3, 60_000, NOW, begin=False)
    assert store.workers(NOW) == ["here/0"]
    store.forget("here/0", None, NOW)
    assert store.workers(NOW) == ["here/0"]  # its lease lives
    store.purge(NOW)


def test_an_end_that_is_told_before_the_beginning(storage: Storage) -> None:
    store = storage.presences
    begin(storage, "here/0", "x.1")
    told = store.gone([Ended(at("a", "here/1", 5, 1), "kicked")], NOW)
    assert [(one.reason, one.presence.worker) for one in told] == [(None, "here/1"), ("kicked", "here/1")]
    assert store.come([at("a", "here/0", 5)], "x.1", NOW) == []
    assert store.present(["a"], NOW) == [None]
    assert store.tokens_of("here/0", "", 10) == []
    assert store.tokens_of_user("u", "", 10) == []


def test_pages_of_a_worker_and_of_a_user(storage: Storage) -> None:
    store = storage.presences
    begin(storage, "here/0", "x.1")
    begin(storage, "here/1", "y.1")
    tokens = [f"{number:04}" for number in range(1100)]
    store.come([at(token, "here/0", 5) for token in tokens], "x.1", NOW)
    nobodys = at("nobody's", "here/0", 5)._replace(uid=None)
    store.come([nobodys], "x.1", NOW)
    assert store.tokens_of("here/0", "", 2) == ["0000", "0001"]
    assert store.tokens_of("here/0", "1098", 10) == ["1099", "nobody's"]
    assert store.tokens_of_user("u", "0999", 1000) == tokens[1000:]
    store.come([at("0000", "here/1", 5, 1)], "y.1", NOW)  # moves
    store.gone([Ended(at("0001", "here/0", 5), "kicked")], NOW)
    store.come([at("0002", "here/0", 6)._replace(uid="other")], "x.1", NOW)
    assert store.tokens_of("here/0", "", 2) == ["0002", "0003"]
    assert store.tokens_of("here/1", "", 2) == ["0000"]
    assert store.tokens_of_user("u", "", 2) == ["0000", "0003"]
    assert store.tokens_of_user("other", "", 2) == ["0002"]
    assert store.tokens_of_user("u", "", 2000) == ["0000", *tokens[3:]]


def test_nobody_ends_who_is_told_of_anew(storage: Storage) -> None:
    store = storage.presences
    begin(storage, "here/0", "x.1")
    store.come([at(f"{number:04}", "here/0", 5) for number in range(600)], "x.1", NOW)
    begin(storage, "here/0", "x.2")
    store.told_whole("here/0", "x.2", NOW)
    parts = store.end("here/0", "x.2", NOW)
    assert len(next(parts)) == 500
    begin(storage, "here/0", "x.3")
    assert list(parts) == []
    assert store.present(["0599"], NOW) == [at("0599", "here/0", 5)]
    assert list(store.end("here/0", None, NOW)) == []  # its lease lives
