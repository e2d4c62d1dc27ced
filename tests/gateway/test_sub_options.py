import pytest

from gateway.connections import Connection, Granted, Protocol
from gateway.sub_options import asked, grant, granted_names, options_fault

EVERYTHING = {"accept": ["deflate", "aes-gcm", "br"], "ack": True, "ids": True, "encoding": "base64", "uid": "bob"}
NOTHING = {"accept": None, "ack": None, "ids": None, "encoding": None, "uid": None}


def client(protocol):
    connection = Connection(5, "a")
    connection.protocol = protocol
    return connection


@pytest.mark.parametrize("fields", [{}, NOTHING, EVERYTHING, {"ack": False, "ids": False, "accept": [], "more": 5}])
def test_options_of_the_right_shape(fields):
    assert options_fault(fields) == ""


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"accept": "deflate"}, "accept is not a list of names"),
        ({"accept": [None]}, "accept is not a list of names"),
        ({"ack": 1}, "ack is neither true nor false"),
        ({"ids": "true"}, "ids is neither true nor false"),
        ({"encoding": []}, "encoding is not a string"),
        ({"uid": 5}, "uid is not a string"),
        ({"uid": ""}, "uid is empty"),
        ({"uid": "x" * 256}, "uid of 256 bytes exceeds the limit of 255"),
        ({"uid": "a\n"}, "uid contains control characters"),
        ({"uid": "\ud800"}, "uid is not valid Unicode"),
    ],
)
def test_options_of_the_wrong_shape(fields, fault):
    assert options_fault({**EVERYTHING, **fields}) == fault


@pytest.mark.parametrize(
    ("protocol", "names"),
    [
        (Protocol.V0, ["deflate", "ids"]),
        (Protocol.V1, ["deflate", "ack", "ids"]),
        (Protocol.V2, ["deflate", "ack", "ids"]),
        (Protocol.WS_BINARY, ["deflate", "ack", "ids"]),
        (Protocol.WS_TEXT, ["ack", "ids", "base64"]),
    ],
)
def test_what_each_protocol_is_granted(protocol, names):
    assert granted_names(grant(client(protocol), EVERYTHING)) == names
    assert grant(client(protocol), NOTHING) == grant(client(protocol), {}) == 0


def test_what_the_connection_tells_besides_is_no_name():
    assert granted_names(Granted.HEARD | Granted.STYLED | Granted.CAMEL | Granted.LOWER) == []


@pytest.mark.parametrize("name", ["accept", "ack", "ids", "encoding"])
def test_who_names_an_option_asks(name):
    assert asked({name: None})
    assert not asked({"token": "alice", "uid": "bob"})
