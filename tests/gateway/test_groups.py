"""Which clients belong to which user and group."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.connections import Connection
from gateway.groups import Groups
from shared.bus import Target

TEAM, ALICE = Target("group", "team"), Target("uid", "alice")


def client(uid: str | None = None) -> Connection:
    connection = Connection(-1, "test")
    connection.uid = uid
    return connection


def test_the_first_and_the_last_client_are_news() -> None:
    groups, one, other = Groups(), client("alice"), client("alice")
    groups.bound(one, ["team"])
    assert list(groups.changed) == [ALICE, TEAM]
    groups.changed.clear()
    groups.bound(other, ["team"])
    assert not groups.changed
    assert set(groups.clients_of(TEAM)) == set(groups.clients_of(ALICE)) == {one, other}
    groups.released(one)
    assert not groups.changed
    groups.released(other)
    assert set(groups.changed) == {ALICE, TEAM}
    assert groups.targets() == []
    assert groups.clients_of(TEAM) == ()


def test_nothing_is_kept_of_who_has_no_uid_and_no_group() -> None:
    groups, one = Groups(), client()
    groups.bound(one)
    groups.join(one, "team")
    groups.leave(one, "team")
    groups.set_groups(one, [])
    assert not groups._of
    assert groups._by_name == {"uid": {}, "group": {}}
    assert not groups.unknown


def test_another_uid_takes_the_place_of_the_one_before() -> None:
    groups, one = Groups(), client("alice")
    groups.bound(one, ["team"])
    one.uid = "bob"
    groups.bound(one)
    assert groups.targets() == [Target("uid", "bob")]
    assert groups.groups_of(one) == ()


def test_users_and_groups_have_names_of_their_own() -> None:
    groups, one, other = Groups(), client("team"), client()
    groups.bound(one)
    groups.bound(other, ["team"])
    assert groups.clients_of(TEAM) == (other,)
    assert groups.is_of(one, Target("uid", "team"))
    assert not groups.is_of(one, TEAM)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["bound", "released", "set", "join", "leave"]),
        st.integers(0, 3),
        st.sets(st.sampled_from("xyz")),
        st.sampled_from([None, "u", "v"]),
    ),
    max_size=30,
)


@given(STEPS)
def test_it_is_what_plain_sets_say(steps: list[tuple[str, int, set[str], str | None]]) -> None:
    groups, clients = Groups(), [client() for _ in range(4)]
    plain: dict[int, tuple[str | None, set[str]]] = {}
    for step, number, names, uid in steps:
        connection, one = clients[number], next(iter(sorted(names)), "x")
        if step == "bound":
            connection.uid = uid
            groups.bound(connection, names)
            plain[number] = uid, set(names)
        elif step == "released":
            groups.released(connection)
            plain.pop(number, None)
        elif number in plain:
            had = plain[number][1]
            has = {"set": names, "join": had | {one}, "leave": had - {one}}[step]
            if step == "set":
                groups.set_groups(connection, names)
            elif step == "join":
                groups.join(connection, one)
            else:
                groups.leave(connection, one)
            plain[number] = plain[number][0], set(has)
    for name in "xyz":
        there = {clients[number] for number, (_, names) in plain.items() if name in names}
        assert set(groups.clients_of(Target("group", name))) == there
        assert groups.has(Target("group", name)) == bool(there)
    for name in "uv":
        there = {clients[number] for number, (uid, _) in plain.items() if uid == name}
        assert set(groups.clients_of(Target("uid", name))) == there
    for number, (_, names) in plain.items():
        assert set(groups.groups_of(clients[number])) == names
