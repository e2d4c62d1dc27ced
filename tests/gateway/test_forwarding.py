"""Rules of what services answer, by the bytes that go to services and clients."""

import base64
import json
from dataclasses import replace

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.actions import Bind, Close, Forward, Send
from gateway.connections import NEVER, Connection, Granted, Login, Protocol, State
from gateway.encoders import Encoder
from gateway.sessions import SessionLimits, SessionRules
from shared.bodies import encrypt
from shared.calls import Topic
from shared.errors import BodyError
from shared.packets import Packet
from shared.protobufs.registries import Registry
from shared.protobufs.tables import Table, parse_table
from shared.reasons import CloseReason
from shared.settings import Settings
from shared.signals import PublishError, Signal, SubSignal
from shared.startup.protobuf_files import load_registry

NOW = 1_700_000_000.0
V0, V1, V2, WS_TEXT, WS_BINARY = Protocol.V0, Protocol.V1, Protocol.V2, Protocol.WS_TEXT, Protocol.WS_BINARY
ALL = [V0, V1, V2, WS_TEXT, WS_BINARY]
LATER = [V1, V2, WS_TEXT, WS_BINARY]
OWN = load_registry(Settings())
LIMITS = SessionLimits(1 << 20, 10, 600, frozenset(), auth_required=False, open_subscribe=True)
SUBSCRIBE, CONNECT, CONTACT, DISCONNECT = Topic(0, 1), Topic(6, 0), Topic(5, 0), Topic(8, 0)
FP = Topic(9, SubSignal.FP)
KEY = bytes(range(16))


def rules(*topics, registry=OWN, encoder=None, **limits):
    made = SessionRules(LIMITS._replace(**limits), encoder or Encoder(1 << 20), None, registry)
    made.forwarding.serves = lambda topic: topic in topics
    return made


def client(protocol, state=State.BOUND, **fields):
    connection = Connection(5, "10.0.0.1:5")
    connection.protocol, connection.state = protocol, state
    if state == State.BOUND:
        connection.token = b"alice"
    for name, value in fields.items():
        setattr(connection, name, value)
    return connection


def say(using, connection, signal, body=b"", sub_signal=0, message_id=0x0102):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return using.receive_packet(connection, Packet(signal, sub_signal, message_id, body), NOW)


def on_the_wire(protocol, signal, sub_signal, body, message_id=0x0102):
    """One message of the gateway, put together byte by byte."""
    size = len(body)
    if protocol == V0:
        return bytes([signal]) + size.to_bytes(4, "big") + body
    if protocol == V1:
        return b"\xf8\x01" + bytes([signal]) + size.to_bytes(2, "big") + bytes([sub_signal]) + b"\x01\x02" + body
    packet = b"\xf8\x02" + bytes([signal]) + size.to_bytes(4, "big") + bytes([sub_signal]) + b"\x01\x02" + body
    if protocol == V2:
        return packet
    if protocol == WS_TEXT:
        names = [Signal(signal).name, SubSignal(sub_signal).name if sub_signal <= 33 else sub_signal]
        said = {"signal": names[0], "sub_signal": names[1], "message_id": message_id, "content": body.decode()}
        packet = json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode()
    length = bytes([len(packet)]) if len(packet) < 126 else b"\x7e" + len(packet).to_bytes(2, "big")
    return (b"\x81" if protocol == WS_TEXT else b"\x82") + length + packet


def pub_ack(protocol, sub_signal, code, payload=b"", message=None):
    """PUB_ACK: a code byte and the payload; in text the payload alone, or code and message."""
    body = bytes([code]) + payload
    if protocol == WS_TEXT:
        body = json.dumps({"code": code, "message": message}, separators=(",", ":")).encode() if code else payload
    return on_the_wire(protocol, 10, sub_signal, body)


def close_frame(protocol, code, reason):
    return bytes([0x88, len(reason) + 2]) + code.to_bytes(2, "big") + reason.encode() if protocol >= WS_TEXT else b""


# --- PUBLISH


@pytest.mark.parametrize("protocol", LATER)
@pytest.mark.parametrize("sub_signal", [0, 9, 16, 33, 34, 127])
def test_a_request_goes_to_the_service_of_its_topic_as_it_is(protocol, sub_signal):
    connection = client(protocol)
    using = rules(Topic(9, sub_signal))
    (forward,) = say(using, connection, Signal.PUBLISH, b"\x00\xff any", sub_signal)
    assert forward == Forward(Signal.PUBLISH, Topic(9, sub_signal), "alice", b"\x00\xff any", 0x0102)
    answered = using.answered(connection, forward, 0, b'{"a":"b"}', 0)
    assert answered == [Send(pub_ack(protocol, sub_signal, 0, b'{"a":"b"}'))]


@pytest.mark.parametrize("protocol", LATER)
@pytest.mark.parametrize(
    ("code", "message"),
    [
        (PublishError.NOT_IMPLEMENTED, "not implemented"),
        (PublishError.TIMED_OUT, "service timed out"),
        (PublishError.NOBODY_KNOWS, "outcome unknown"),
        (PublishError.QUEUE_FULL, "queue full"),
        (7, "failed"),
        (255, "failed"),
    ],
)
def test_what_went_wrong(protocol, code, message):
    connection, using = client(protocol), rules(FP)
    (forward,) = say(using, connection, Signal.PUBLISH, b"", SubSignal.FP)
    assert using.answered(connection, forward, code, b"", 0) == [Send(pub_ack(protocol, 16, code, b"", message))]


@pytest.mark.parametrize("protocol", LATER)
def test_a_service_may_say_more_of_its_own_code(protocol):
    connection, using = client(protocol), rules(FP)
    (forward,) = say(using, connection, Signal.PUBLISH, b"", SubSignal.FP)
    (send,) = using.answered(connection, forward, 7, b"no room", 0)
    assert send.data == pub_ack(protocol, 16, 7, b"no room", "no room")


@pytest.mark.parametrize("protocol", LATER)
def test_nobody_is_asked_without_a_service_or_before_sub(protocol):
    for state, using, code, message in (
        (State.BOUND, rules(), PublishError.NOT_IMPLEMENTED, "not implemented"),
        (State.OPEN, rules(FP), PublishError.NOT_BOUND, "not bound"),
    ):
        (send,) = say(using, client(protocol, state), Signal.PUBLISH, b"{}", SubSignal.FP)
        assert send.data == pub_ack(protocol, 16, code, b"", message)


def test_an_answer_that_the_client_cannot_get():
    """Not text for a client of text; too long for version 1: it is told so, and nothing is dropped."""
    using = rules(FP)
    forward = Forward(Signal.PUBLISH, FP, "alice", b"", 0x0102)
    (send,) = using.answered(client(WS_TEXT), forward, 0, b"\xff", 0)
    assert send.data == pub_ack(WS_TEXT, 16, 0xF3, b"", "payload for a text client is not UTF-8")
    (send,) = using.answered(client(V1), forward, 0, bytes(65_535), 0)
    assert send.data == pub_ack(V1, 16, 0xF3)
    (send,) = using.answered(client(V2), forward, 0, bytes(65_535), 0)
    assert send.data == pub_ack(V2, 16, 0, bytes(65_535))


# --- PUBLISH with messages


def converting():
    """FP asks and answers with a ConnectAckPayload; MN is pushed as one."""
    name = "push_gateway.ConnectAckPayload"
    places = {(9, 16, "request"): name, (9, 16, "answer"): name, (9, 17, "push"): name}
    own = parse_table('{"messages": {"push_gateway.ConnectAckPayload": {"numbers": ["friend_head"]}}}')
    return Registry([own, Table(places, {})], OWN._descriptors)


@pytest.mark.parametrize("protocol", LATER)
def test_text_clients_have_json_where_others_have_protobuf(protocol):
    connection, using = client(protocol), rules(FP, registry=converting())
    said = b'{"friendHead":5}' if protocol == WS_TEXT else b"\x10\x05"
    (forward,) = say(using, connection, Signal.PUBLISH, said, SubSignal.FP)
    assert forward.body == b"\x10\x05"
    (send,) = using.answered(connection, forward, 0, b"\x10\x06\x2a\x01x", 0)
    if protocol == WS_TEXT:
        content = json.loads(json.loads(send.data[4:])["content"])
        assert (content["friendHead"], content["nodeAddr"], content["msgHead"]) == (6, "x", "0")
    else:
        assert send.data == pub_ack(protocol, 16, 0, b"\x10\x06\x2a\x01x")
    (send,) = using.answered(connection, forward, 7, b"words", 0)
    assert send.data == pub_ack(protocol, 16, 7, b"words", "words")


def test_content_and_answers_that_are_no_such_message():
    connection, using = client(WS_TEXT), rules(FP, registry=converting())
    (send,) = say(using, connection, Signal.PUBLISH, b"[1]", SubSignal.FP)
    assert send.data == pub_ack(WS_TEXT, 16, 1, b"", "content is no push_gateway.ConnectAckPayload")
    (send,) = using.answered(connection, Forward(Signal.PUBLISH, FP, "alice", b"", 0x0102), 0, b"\xff", 0)
    assert send.data == pub_ack(WS_TEXT, 16, 0xF3, b"", "body is no push_gateway.ConnectAckPayload")


def test_a_notification_of_a_service():
    encoder = Encoder(1 << 20, converting())
    assert encoder.push(client(V2), 9, 17, 0, b"\x10\x05", "") == b"\xf8\x02\x09\0\0\0\x02\x11\0\0\x10\x05"
    text = encoder.push(client(WS_TEXT), 9, 17, 0, b"\x10\x05", "")
    assert json.loads(json.loads(text[4:])["content"])["friendHead"] == 5
    coded = encoder.push(client(WS_TEXT, granted=Granted.BASE64), 9, 17, 0, b"\x10\x05", "")
    assert json.loads(base64.b64decode(json.loads(coded[4:])["content"]))["friendHead"] == 5
    with pytest.raises(BodyError):
        encoder.push(client(WS_TEXT), 9, 17, 0, b"\xff", "")


# --- CONTACT


@pytest.mark.parametrize("protocol", ALL)
def test_a_message_says_who_it_is_from(protocol):
    connection, using = client(protocol), rules(CONTACT)
    (forward,) = say(using, connection, Signal.CONTACT, {"type": 0, "from": "eve", "to": "bob", "message": "hi"})
    assert forward[:3] == (Signal.CONTACT, CONTACT, "alice")
    assert forward.body == b'{"type":0,"from":"alice","to":"bob","message":"hi"}'
    assert using.answered(connection, forward, 0, b"ignored", 0) == [
        Send(on_the_wire(protocol, 5, 0, b'{"status":200}'))
    ]


@pytest.mark.parametrize("protocol", ALL)
@pytest.mark.parametrize(
    ("code", "body", "answer"),
    [
        (1, b'{"status": 403, "message": "no member"}', b'{"status":403,"message":"no member"}'),
        (1, b'{"status": 404}', b'{"status":404}'),
        (1, b'{"status": 200}', b'{"status":503,"message":"the service did not answer"}'),
        (1, b'{"status": "x"}', b'{"status":503,"message":"the service did not answer"}'),
        (1, b'{"status": 400, "message": "\\ud800"}', b'{"status":400,"message":"?"}'),
        (1, b"x", b'{"status":503,"message":"the service did not answer"}'),
        (2, b'{"status": 403}', b'{"status":503,"message":"the service did not answer"}'),
        (0xF0, b"", b'{"status":503,"message":"no service"}'),
        (0xF1, b"", b'{"status":503,"message":"the service was silent too long"}'),
        (0xF3, b"", b'{"status":503,"message":"the service was lost"}'),
        (0xF4, b"", b'{"status":503,"message":"too many calls"}'),
    ],
)
def test_a_message_that_did_not_go(protocol, code, body, answer):
    forward = Forward(Signal.CONTACT, CONTACT, "alice", b"", 0x0102)
    assert rules(CONTACT).answered(client(protocol), forward, code, body, 0) == [
        Send(on_the_wire(protocol, 5, 0, answer))
    ]


def test_words_of_a_service_are_cut():
    forward = Forward(Signal.CONTACT, CONTACT, "alice", b"", 0x0102)
    body = json.dumps({"status": 400, "message": "x" * 100_000}).encode()
    (send,) = rules(CONTACT).answered(client(V1), forward, 1, body, 0)
    assert send.data == on_the_wire(V1, 5, 0, b'{"status":400,"message":"' + b"x" * 1000 + b'"}')


@pytest.mark.parametrize("body", [b'{"a": NaN}', b'{"a": 1e999}', b'{"a": "\\ud800"}'])
def test_a_message_that_json_cannot_carry(body):
    (send,) = say(rules(CONTACT), client(V2), Signal.CONTACT, body)
    assert b'"status":400' in send.data


# --- SUB


def test_what_the_subscribe_service_is_asked():
    using = rules(SUBSCRIBE)
    (forward,) = say(using, client(V2, State.OPEN), Signal.SUB, {"token": "bob", "uid": "u", "ack": True})
    assert forward[:3] == (Signal.SUB, SUBSCRIBE, "bob")
    assert msgpack.unpackb(forward.body) == {
        "token": "bob",
        "uid": "u",
        "login": None,
        "address": "10.0.0.1:5",
        "protocol": "v2",
    }
    login = Login("ann", [b"a", b"b"], NEVER)
    (forward,) = say(using, client(V0, State.OPEN, login=login), Signal.SUB, {"token": "b"})
    asked = msgpack.unpackb(forward.body)
    assert (asked["uid"], asked["login"]) == ("ann", {"uid": "ann", "tokens": ["a", "b"], "expires": None})
    (forward,) = say(using, client(V2, State.OPEN, login=replace(login, expires=NEVER - 1)), Signal.SUB, {"token": "b"})
    assert msgpack.unpackb(forward.body)["login"]["expires"] == NEVER - 1
    (forward,) = say(using, client(WS_TEXT, State.OPEN), Signal.SUB)
    assert (forward.key, msgpack.unpackb(forward.body)["token"]) == ("10.0.0.1:5", None)


@pytest.mark.parametrize("protocol", ALL)
def test_where_only_the_service_knows_whose_a_token_is_nobody_is_bound_without_it(protocol):
    using = rules(open_subscribe=False, needs_subscribe_service=True)
    for body in ({}, {"token": "bob"}):
        (forward,) = say(using, client(protocol, State.OPEN), Signal.SUB, body)
        (close,) = using.answered(client(protocol, State.OPEN), forward, 0xF0, b"", 77)
        words = b'{"status":503,"message":"no service","retry_after_ms":77}'
        assert close.data == on_the_wire(protocol, 1, 0, words) + close_frame(protocol, 1013, "unavailable")


@pytest.mark.parametrize("protocol", ALL)
def test_a_client_is_bound_to_the_token_that_the_service_says(protocol):
    connection, using = client(protocol, State.OPEN), rules(SUBSCRIBE)
    (forward,) = say(using, connection, Signal.SUB, {"ids": True})
    assert not connection.granted & Granted.IDS
    answer = msgpack.packb({"token": "made"})
    assert using.answered(connection, forward, 0, answer, 0) == [Bind(b"made", 0x0102, True)]
    assert connection.granted & Granted.IDS
    (forward,) = say(using, connection, Signal.SUB)
    assert using.answered(connection, forward, 0, answer, 0) == [Bind(b"made", 0x0102, False)]


@pytest.mark.parametrize("protocol", ALL)
@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refused_sub(protocol, status):
    forward = Forward(Signal.SUB, SUBSCRIBE, "alice", b"", 0x0102, {})
    body = msgpack.packb({"status": status, "message": "not yours"})
    (close,) = rules(SUBSCRIBE).answered(client(protocol, State.OPEN), forward, 1, body, 77)
    answer = on_the_wire(protocol, 1, 0, b'{"status":%d,"message":"not yours"}' % status)
    assert close == Close(CloseReason.REJECTED, answer + close_frame(protocol, 1008, "rejected"), "not yours")


@pytest.mark.parametrize("protocol", ALL)
@pytest.mark.parametrize(
    ("code", "body", "message"),
    [
        (0xF1, b"", b"the service was silent too long"),
        (0xF3, b"", b"the service was lost"),
        (0, b"", b"the service was lost"),
        (0, msgpack.packb({"token": ""}), b"the service was lost"),
        (0, msgpack.packb([1]), b"the service was lost"),
        (1, msgpack.packb({"status": 503, "message": "no storage"}), b"no storage"),
        (1, b"\xc1", b"the service did not answer"),
    ],
)
def test_a_silent_subscribe_service(protocol, code, body, message):
    forward = Forward(Signal.SUB, SUBSCRIBE, "alice", b"", 0x0102, {})
    (close,) = rules(SUBSCRIBE).answered(client(protocol, State.OPEN), forward, code, body, 77)
    words = b'{"status":503,"message":"%b","retry_after_ms":77}' % message
    assert close.data == on_the_wire(protocol, 1, 0, words) + close_frame(protocol, 1013, "unavailable")
    assert close.reason == CloseReason.UNAVAILABLE


def test_a_conflict_leaves_the_connection_open():
    forward = Forward(Signal.SUB, SUBSCRIBE, "alice", b"", 0x0102, {})
    body = msgpack.packb({"status": 409, "message": "elsewhere"})
    assert rules(SUBSCRIBE).answered(client(V2, State.OPEN), forward, 1, body, 0) == [
        Send(on_the_wire(V2, 1, 0, b'{"status":409,"message":"elsewhere"}'))
    ]


@pytest.mark.parametrize("state", [State.OPEN, State.BOUND])
def test_what_is_wrong_in_a_sub_is_said_without_asking(state):
    for body in ({"token": 5}, b"x", {"ack": 1}):
        (close,) = say(rules(SUBSCRIBE), client(V2, state), Signal.SUB, body)
        assert (type(close), close.reason) == (Close, CloseReason.REJECTED)
    (send,) = say(rules(SUBSCRIBE), client(V2), Signal.SUB, {"token": "alice"})
    assert send.data == on_the_wire(V2, 1, 0, b'{"status":200,"token":"alice"}')


# --- CONNECT

ASKED = {"userName": "u", "password": "p", "clientIdentifier": "c"}


def accepted(**changes):
    fields = {"uid": "u", "token": "c", "session_key": base64.b64encode(KEY).decode(), "expires": 1_800_000_000}
    return json.dumps({**fields, "ack": {"friendHead": 2, "messageHead": "3"}, **changes}).encode()


def connecting(protocol, state=State.OPEN, **options):
    """(connection, rules, the call) of a CONNECT."""
    connection, using = client(protocol, state), rules(CONNECT)
    (forward,) = say(using, connection, Signal.CONNECT, {**ASKED, **options})
    return connection, using, forward


@pytest.mark.parametrize("protocol", LATER)
@pytest.mark.parametrize("state", [State.OPEN, State.BOUND])
def test_an_accepted_connect(protocol, state):
    connection, using, forward = connecting(protocol, state, extra=1)
    assert forward[:5] == (6, CONNECT, "c", b'{"userName":"u","password":"p","clientIdentifier":"c"}', 0x0102)
    (bind,) = using.answered(connection, forward, 1, accepted(), 0)
    content = (
        b'{"messageHead":"3","friendHead":2,"friendRqHead":0,"settingHead":0,"nodeAddr":"","nodePort":0,"serverTime":0}'
        if protocol == WS_TEXT
        else b"\x08\x03\x10\x02"
    )
    assert bind == Bind(b"c", 0x0102, False, content)
    assert connection.login == Login("u", [b"c"], 1_800_000_000, KEY)
    assert (connection.uid, connection.granted & Granted.CONNECTED) == ("u", Granted.CONNECTED)
    assert using.forwarding.accepted(connection, 0x0102, bind.ack) == on_the_wire(protocol, 7, 1, content)


@pytest.mark.parametrize(
    ("protocol", "granted"),
    [
        (V1, ["deflate", "aes-gcm", "ack", "ids"]),
        (V2, ["deflate", "aes-gcm", "ack", "ids"]),
        (WS_BINARY, ["deflate", "aes-gcm", "ack", "ids"]),
        (WS_TEXT, ["ack", "ids", "base64"]),
    ],
)
def test_options_of_a_connect(protocol, granted):
    options = {"accept": ["deflate", "aes-gcm"], "ack": True, "ids": True, "encoding": "base64"}
    connection, using, forward = connecting(protocol, **options)
    (bind,) = using.answered(connection, forward, 1, accepted(), 0)
    assert bind.asked
    if protocol == WS_TEXT:
        assert json.loads(bind.ack)["granted"] == granted
    else:
        assert bind.ack == b"\x08\x03\x10\x02"
    connection.state, connection.token = State.BOUND, b"c"
    connection.granted &= ~(Granted.DEFLATE | Granted.AES_GCM)  # so that the answer can be read below
    (send,) = say(using, connection, Signal.SUB, {"token": "c", "ack": True})
    assert b"granted" in send.data


def test_without_a_session_key_nothing_is_encrypted():
    connection, using, forward = connecting(V2, accept=["aes-gcm"])
    using.answered(connection, forward, 1, accepted(session_key=None), 0)
    assert not connection.granted & Granted.AES_GCM


@pytest.mark.parametrize("protocol", LATER)
@pytest.mark.parametrize("sub_signal", range(2, 9))
def test_a_refused_connect(protocol, sub_signal):
    connection, using, forward = connecting(protocol)
    (close,) = using.answered(connection, forward, sub_signal, b'{"message": "inner detail"}', 0)
    reason, code = ("unavailable", 1013) if sub_signal == 4 else ("rejected", 1008)
    body = b"{}" if protocol == WS_TEXT else b""
    assert close.data == on_the_wire(protocol, 7, sub_signal, body) + close_frame(protocol, code, reason)
    assert (close.reason, connection.login) == (reason, None)


@pytest.mark.parametrize("protocol", LATER)
@pytest.mark.parametrize(
    ("code", "body"),
    [(0, accepted()), (9, b""), (0xF0, b""), (0xF1, b""), (0xF3, b""), (0xF4, b""), (1, b""), (1, accepted(uid=5))],
)
def test_a_login_service_that_is_silent_or_says_nonsense(protocol, code, body):
    connection, using, forward = connecting(protocol)
    (close,) = using.answered(connection, forward, code, body, 0)
    content = b"{}" if protocol == WS_TEXT else b""
    assert close.data == on_the_wire(protocol, 7, 4, content) + close_frame(protocol, 1013, "unavailable")
    assert connection.login is None


@pytest.mark.parametrize("ack", [None, 5, {"friendHead": "x"}, {"nodeAddr": "\ud800"}])
def test_a_connect_ack_that_does_not_fit_is_empty(ack):
    for protocol, body in ((V2, b""), (WS_TEXT, None)):
        connection, using, forward = connecting(protocol)
        (bind,) = using.answered(connection, forward, 1, accepted(ack=ack), 0)
        assert bind.ack == body if body is not None else json.loads(bind.ack)["friendHead"] == 0


@pytest.mark.parametrize("protocol", LATER)
@pytest.mark.parametrize(
    ("body", "sub_signal"),
    [
        (b"x", 3),
        ([], 3),
        ({**ASKED, "clientIdentifier": ""}, 3),
        ({**ASKED, "password": None}, 5),
        ({**ASKED, "ack": "yes"}, 5),
    ],
)
def test_a_malformed_connect_is_refused_without_asking(protocol, body, sub_signal):
    (close,) = say(rules(CONNECT), client(protocol, State.OPEN), Signal.CONNECT, body)
    content = b"{}" if protocol == WS_TEXT else b""
    assert close.data.startswith(on_the_wire(protocol, 7, sub_signal, content))
    assert close.reason == CloseReason.REJECTED


@pytest.mark.parametrize("protocol", LATER)
def test_a_second_connect(protocol):
    connection = client(protocol, granted=Granted.CONNECTED)
    (close,) = say(rules(CONNECT), connection, Signal.CONNECT, ASKED)
    content = b"{}" if protocol == WS_TEXT else b""
    assert close.data == on_the_wire(protocol, 7, 3, content) + close_frame(protocol, 1008, "rejected")


@pytest.mark.parametrize(("status", "sub_signal"), [(403, 3), (503, 4), (409, 6)])
def test_a_connect_whose_token_cannot_be_bound(status, sub_signal):
    close = rules().forwarding.not_bound(client(V2), 0x0102, status, "why")
    assert close.data == on_the_wire(V2, 7, sub_signal, b"")
    assert close.detail == "why"


# --- DISCONNECT


@pytest.mark.parametrize("protocol", ALL)
@pytest.mark.parametrize("body", [b"\x01", b"1", {"clearSession": 1}, {"clearSession": True}])
def test_whoever_has_logged_in_ends_its_session(protocol, body):
    connection = client(protocol, login=Login("u", [b"alice"], NEVER))
    forward, close = say(rules(DISCONNECT, open_subscribe=False), connection, Signal.DISCONNECT, body)
    assert forward == Forward(Signal.DISCONNECT, DISCONNECT, "alice", b'{"clearSession":1}')
    assert close.reason == CloseReason.CLIENT_DISCONNECT


@pytest.mark.parametrize("body", [b"", b"\x00", b"0", {}, {"clearSession": 0}, {"clearSession": "1"}, [], b"\xff\xff"])
def test_a_disconnect_that_ends_no_session(body):
    connection = client(V2, login=Login("u", [b"alice"], NEVER))
    (close,) = say(rules(DISCONNECT), connection, Signal.DISCONNECT, body)
    assert close.reason == CloseReason.CLIENT_DISCONNECT


def test_who_has_not_logged_in_ends_a_session_only_where_subscribing_is_open():
    for state, open_subscribe, told in (
        (State.BOUND, True, 1),
        (State.BOUND, False, 0),
        (State.OPEN, True, 0),
    ):
        actions = say(rules(DISCONNECT, open_subscribe=open_subscribe), client(V2, state), Signal.DISCONNECT, b"\x01")
        assert len(actions) == told + 1
    assert len(say(rules(), client(V2), Signal.DISCONNECT, b"\x01")) == 1


# --- encrypted bodies


@pytest.mark.parametrize("protocol", [V1, V2, WS_BINARY])
def test_bodies_are_encrypted_both_ways(protocol):
    encoder = Encoder(1 << 20, random_bytes=lambda size: bytes(range(size)))
    using = rules(FP, encoder=encoder)
    connection = client(protocol, granted=Granted.AES_GCM, login=Login("u", [b"alice"], NEVER, KEY))
    packet = Packet(Signal.PUBLISH, 16, 0x0102, encrypt(b"ask", KEY, bytes(12)), False, True)
    (forward,) = using.receive_packet(connection, packet, NOW)
    assert forward.body == b"ask"
    (send,) = using.answered(connection, forward, 0, b"tell", 0)
    assert send.data == on_the_wire(protocol, 10, 16 | 0x80, encrypt(b"\x00tell", KEY, bytes(range(12))))
    assert not encoder.packet(connection, Signal.PING, 0, 0, b"")[7 if protocol != V1 else 5] & 0x80  # nothing to hide


def test_a_body_under_another_key():
    connection = client(V2, login=Login("u", [b"alice"], NEVER, KEY))
    packet = Packet(Signal.PUBLISH, 16, 0x0102, encrypt(b"ask", bytes(16), bytes(12)), False, True)
    with pytest.raises(BodyError):
        rules(FP).receive_packet(connection, packet, NOW)


# --- anything at all

answers = st.binary(max_size=40) | st.sampled_from([accepted(), msgpack.packb({"token": "x"}), b'{"status":403}'])


@given(st.sampled_from(LATER), st.sampled_from([1, 5, 6, 9]), st.integers(0, 255), answers)
def test_any_answer_of_a_service_is_an_answer_to_the_client(protocol, kind, code, body):
    topic = {1: SUBSCRIBE, 5: CONTACT, 6: CONNECT, 9: FP}[kind]
    forward = Forward(kind, topic, "alice", b"", 0x0102, {})
    (action,) = rules(registry=converting()).answered(client(protocol, State.OPEN), forward, code, body, 5)
    assert isinstance(action, Bind) or action.data
