from gateway.claims import CLAIMS_MAX, Claims, claim_of, rank, token_of
from gateway.connections import Connection, Pending
from shared.bus_claims import Claim


def client(token=b"t", binding=5, bound_by="h/0"):
    connection = Connection(7, "test")
    connection.token, connection.binding, connection.bound_by = token, binding, bound_by
    return connection


def test_the_token_that_a_connection_has_or_asks_for():
    connection = client()
    assert token_of(connection) == b"t"
    connection.token, connection.pending = None, Pending(b"u", 1, False)
    assert token_of(connection) == b"u"
    assert claim_of(connection) == Claim(b"u", 5, "h/0")
    connection.pending = None
    assert token_of(connection) == b""


def test_the_binding_decides_and_then_the_name():
    assert rank(client(binding=5)) < rank(client(binding=6))
    assert rank(client(bound_by="h/0")) < rank(Claim(b"t", 5, "h/1"))
    assert rank(Claim(b"t", 5, "z/9")) < rank(Claim(b"t", 6, "a/0"))
    assert rank(Claim(b"t", 5, "h/0", 9)) < rank(Claim(b"t", 5, "h/1"))


def test_of_the_same_client_the_later_holder_has_the_greater_claim():
    moved = client()
    moved.moves = 1
    assert rank(Claim(b"t", 5, "h/0")) < rank(moved)
    assert claim_of(moved) == Claim(b"t", 5, "h/0", 1)


def test_whom_a_token_is_claimed_for():
    claims = Claims()
    claims.mine[b"t"] = Claim(b"t", 5, "h/0")
    assert claims.claimed_by(client())
    assert not claims.claimed_by(client(binding=6))
    assert not claims.claimed_by(client(bound_by="h/1"))
    assert not claims.claimed_by(client(token=None))


def test_forgetting():
    claims = Claims()
    claims.mine[b"t"], claims.pending[b"t"] = Claim(b"t", 5, "h/0"), client()
    assert claims.forget(b"t") == Claim(b"t", 5, "h/0")
    assert claims.forget(b"t") is None
    assert (claims.mine, claims.pending) == ({}, {})


def test_a_claim_is_void_when_all_routers_have_a_greater_one():
    claims = Claims()
    claims.make(Claim(b"t", 5, "h/0"))
    claims.taken(Claim(b"t", 5, "h/0"), 0)
    claims.taken(Claim(b"t", 4, "h/1"), 0)
    claims.taken(Claim(b"u", 9, "h/1"), 0)
    assert not claims.is_lost(b"t")
    assert not claims.is_lost(b"u")
    claims.taken(Claim(b"t", 5, "h/0", 1), 0)
    assert claims.is_lost(b"t")
    assert claims.is_void(b"t", [0])
    assert not claims.is_void(b"t", [0, 1])
    assert not claims.is_void(b"t", [])  # who knows what they will say
    claims.make(Claim(b"t", 6, "h/0"))
    assert not claims.is_void(b"t", [0])
    claims.taken(Claim(b"t", 7, "h/0"), 0)
    claims.forget(b"t")
    assert not claims.is_lost(b"t")


def test_all_of_them_in_parts():
    claims = Claims()
    assert list(claims.chunks()) == []
    for number in range(2 * CLAIMS_MAX + 1):
        claims.mine[b"%d" % number] = Claim(b"%d" % number, number, "h/0")
    chunks = list(claims.chunks())
    assert [len(chunk) for chunk in chunks] == [CLAIMS_MAX, CLAIMS_MAX, 1]
    assert {claim for chunk in chunks for claim in chunk} == set(claims.mine.values())


def test_of_foreign_ones_the_greater_is_remembered():
    claims = Claims()
    small, great = Claim(b"t", 5, "g/0"), Claim(b"t", 5, "g/1")
    for claim in (great, small):
        claims.learn(claim)
    assert claims.foreign == {b"t": great}
    claims.freed(small)
    assert claims.foreign == {b"t": great}
    claims.freed(great)
    assert claims.foreign == {}
    claims.freed(great)


def test_foreign_ones_go_with_the_slot():
    claims = Claims()
    for token in (b"a", b"b"):
        claims.learn(Claim(token, 5, "g/0"))
    claims.keep_foreign(lambda token: token == b"b")
    assert claims.foreign.keys() == {b"b"}
