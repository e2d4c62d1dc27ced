from hypothesis import given
from hypothesis import strategies as st

from gateway.connections import Connection, Protocol, State
from gateway.tables import PROTOCOL_NAMES, ConnectionTable


def connection(fd, protocol=Protocol.V2):
    one = Connection(fd, "a")
    one.protocol = protocol
    return one


def test_a_connection_is_found_by_descriptor_and_token():
    table, one = ConnectionTable(), connection(5)
    table.add(one)
    assert (table.by_fd[5], table.by_token, table.count) == (one, {}, 1)
    table.bind(one, b"alice")
    assert (table.by_token, one.token, one.state) == ({b"alice": one}, b"alice", State.BOUND)
    table.remove(one)
    assert (table.by_fd[5], table.by_token, table.count) == (None, {}, 0)


def test_descriptors_of_any_size():
    table, one = ConnectionTable(), connection(20_000)
    table.add(one)
    assert table.by_fd[20_000] is one
    assert len(table.by_fd) > 20_000


def test_one_that_was_replaced_does_not_take_its_successors_token():
    table, old, new = ConnectionTable(), connection(5), connection(6)
    for one in (old, new):
        table.add(one)
    table.bind(old, b"alice")
    table.release(old)
    table.bind(new, b"alice")
    table.remove(old)
    assert table.by_token == {b"alice": new}
    assert table.figures()["v2"] == 1


def test_removing_twice_does_not_touch_the_next_owner_of_the_descriptor():
    table, old, new = ConnectionTable(), connection(5), connection(5)
    table.add(old)
    table.remove(old)
    table.add(new)
    table.remove(old)
    assert (table.by_fd[5], table.count) == (new, 1)


def test_only_what_is_in_the_table_is_held():
    table, old, new = ConnectionTable(), connection(5), connection(5)
    assert not table.holds(old)
    table.add(old)
    assert table.holds(old)
    table.remove(old)
    assert not table.holds(old)
    table.add(new)
    assert not table.holds(old)
    new.fd = -1
    assert not table.holds(new)


def test_figures_name_every_protocol():
    table = ConnectionTable()
    for fd, protocol in enumerate([Protocol.V0, Protocol.V1, Protocol.WS_TEXT, Protocol.WS_TEXT, Protocol.WS_BINARY]):
        table.add(connection(fd, protocol))
        table.bind(table.by_fd[fd], b"token %d" % fd)
    table.add(connection(9, Protocol.UNKNOWN))
    table.add(connection(10, Protocol.WS))
    assert table.figures() == {"v0": 1, "v1": 1, "v2": 0, "ws_text": 2, "ws_binary": 1, "unbound": 2}


def test_every_protocol_has_a_name():
    assert PROTOCOL_NAMES.keys() == set(Protocol)


@given(st.lists(st.tuples(st.sampled_from(["add", "bind", "release", "remove"]), st.integers(0, 5)), max_size=50))
def test_counts_agree_with_what_is_there(steps):
    table, alive = ConnectionTable(), {}
    for step, fd in steps:
        if step == "add" and fd not in alive:
            alive[fd] = connection(fd, Protocol(fd % 5))
            table.add(alive[fd])
        elif step == "bind" and fd in alive and alive[fd].token is None:
            older = table.by_token.get(b"%d" % (fd % 3))
            if older:
                table.release(older)
            table.bind(alive[fd], b"%d" % (fd % 3))
        elif step == "release" and fd in alive:
            table.release(alive[fd])
        elif step == "remove" and fd in alive:
            table.remove(alive.pop(fd))
    figures = table.figures()
    assert table.count == len(alive)
    assert figures.pop("unbound") == len(alive) - len(table.by_token)
    assert sum(figures.values()) == len(table.by_token)
    assert min(figures.values()) >= 0
