import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.actions import Acknowledge, Beat, Bind, Close, Send
from gateway.connections import Connection, Granted, Login, Protocol, State
from gateway.credentials import Credential, Verifier, load_keys
from gateway.encoders import Encoder
from gateway.sessions import SessionLimits, SessionRules
from shared.errors import BodyError, ProtocolError, RemoteError, TooLargeError
from shared.packets import Packet, encode_packet, parse_packet
from shared.reasons import CloseReason
from shared.signals import Signal, SubSignal
from tests.gateway.test_credentials import KEYS, NOW, signed

V0, V1, V2, WS_TEXT, WS_BINARY = Protocol.V0, Protocol.V1, Protocol.V2, Protocol.WS_TEXT, Protocol.WS_BINARY
ALL = [V0, V1, V2, WS_TEXT, WS_BINARY]
LIMITS = SessionLimits(
    body_bytes=1 << 20,
    heartbeat_min_s=10,
    heartbeat_max_s=600,
    heartbeat_texts=frozenset({b"ping", "心跳内容".encode()}),
    auth_required=False,
    open_subscribe=True,
)
VERIFIER = Verifier(load_keys(json.dumps(KEYS)), "push-gateway")


def rules(verifier=None, **limits):
    return SessionRules(LIMITS._replace(**limits), Encoder(1 << 20), verifier)


def client(protocol=V2, state=State.OPEN, **fields):
    connection = Connection(5, "a")
    connection.protocol, connection.state = protocol, state
    if state == State.BOUND:
        connection.token = b"alice"
    for name, value in fields.items():
        setattr(connection, name, value)
    return connection


def packet(signal, body=None, sub_signal=0, message_id=9):
    return Packet(signal, sub_signal, message_id, b"" if body is None else json.dumps(body).encode())


def read(protocol, data):
    """The messages in a server's bytes: (signal, sub_signal, message_id, body) each; a close frame as its payload."""
    messages = []
    while data:
        if protocol <= V2:
            found, size = parse_packet(data, 0, protocol, 1 << 20)
        else:
            size = 2 + data[1] if data[1] < 126 else 4 + int.from_bytes(data[2:4], "big")
            payload = data[size - (data[1] if data[1] < 126 else size - 4) : size]
            if data[0] == 0x88:
                messages.append(payload)
            elif protocol == WS_BINARY:
                found, _ = parse_packet(payload, 0, V2, 1 << 20)
            else:
                said = json.loads(payload)
                sub_signal = (
                    said["sub_signal"] if isinstance(said["sub_signal"], int) else SubSignal[said["sub_signal"]]
                )
                found = Packet(Signal[said["signal"]], sub_signal, said["message_id"], said["content"].encode())
        if protocol <= V2 or data[0] != 0x88:
            messages.append((found.signal, found.sub_signal, found.message_id, found.body))
        data = data[size:]
    return messages


def answer(connection, action):
    """(signal, message_id, JSON body) of the one message that an action sends."""
    ((signal, _, message_id, body),) = [one for one in read(connection.protocol, action.data) if isinstance(one, tuple)]
    return signal, message_id, json.loads(body)


def receive(connection, signal, body=None, *, using=None, **header):
    return (using or rules()).receive_packet(connection, packet(signal, body, **header), NOW)


# --- every signal in every state


def id_of(protocol):
    return 0 if protocol == V0 else 9


@pytest.mark.parametrize("protocol", ALL)
@pytest.mark.parametrize("state", [State.OPEN, State.BOUND])
@pytest.mark.parametrize("signal", [Signal.PUSH, Signal.CONNECT_ACK])
def test_what_only_a_server_says(protocol, state, signal):
    with pytest.raises(ProtocolError):
        receive(client(protocol, state), signal, {})


@pytest.mark.parametrize("state", [State.OPEN, State.BOUND])
@pytest.mark.parametrize("signal", [Signal.CONNECT, Signal.PUBLISH, Signal.PUB_ACK])
def test_what_version_0_does_not_know(state, signal):
    with pytest.raises(ProtocolError):
        receive(client(V0, state), signal, {})


@pytest.mark.parametrize("protocol", ALL)
def test_sub_before_and_after_it_is_bound(protocol):
    connection = client(protocol)
    assert receive(connection, Signal.SUB, {"token": "alice"}) == [Bind(b"alice", 9, False)]
    connection = client(protocol, State.BOUND)
    (send,) = receive(connection, Signal.SUB, {"token": "alice"})
    assert answer(connection, send) == (Signal.SUB, id_of(protocol), {"status": 200, "token": "alice"})


@pytest.mark.parametrize("protocol", ALL)
def test_auth_where_there_are_no_keys(protocol):
    connection = client(protocol)
    (close,) = receive(connection, Signal.AUTH, {"credential": "x"})
    assert close.reason == CloseReason.REJECTED
    assert answer(connection, close)[::2] == (
        Signal.AUTH,
        {"status": 501, "message": "credentials are not set up here"},
    )


@pytest.mark.parametrize("protocol", ALL)
def test_auth_comes_before_sub(protocol):
    connection = client(protocol, State.BOUND)
    (send,) = receive(connection, Signal.AUTH, {"credential": signed()}, using=rules(VERIFIER))
    assert answer(connection, send)[2]["status"] == 409
    assert connection.login is None


@pytest.mark.parametrize("protocol", ALL)
@pytest.mark.parametrize("state", [State.OPEN, State.BOUND])
def test_ping_in_any_state(protocol, state):
    connection = client(protocol, state)
    send, beat = receive(connection, Signal.PING, {"interval": 30})
    assert answer(connection, send) == (Signal.PING, id_of(protocol), {"interval": 30})
    assert beat == Beat(45)


@pytest.mark.parametrize("protocol", ALL)
def test_contact_needs_a_token_and_then_a_service(protocol):
    for state, status in ((State.OPEN, 401), (State.BOUND, 503)):
        connection = client(protocol, state)
        (send,) = receive(connection, Signal.CONTACT, {"type": 0})
        signal, message_id, body = answer(connection, send)
        assert (signal, message_id, body["status"]) == (Signal.CONTACT, id_of(protocol), status)
    (send,) = receive(client(protocol, State.BOUND), Signal.CONTACT, [])
    assert answer(connection, send)[2] == {"status": 400, "message": "body is not a JSON object"}


@pytest.mark.parametrize("protocol", [V1, V2, WS_BINARY])
@pytest.mark.parametrize("state", [State.OPEN, State.BOUND])
def test_connect_without_a_login_service(protocol, state):
    connection = client(protocol, state)
    (close,) = receive(connection, Signal.CONNECT, {"userName": "u"})
    assert close.reason == CloseReason.UNAVAILABLE
    refused = SubSignal.CONNECTION_REFUSED_SERVER_UNAVAILABLE
    assert read(protocol, close.data)[0] == (Signal.CONNECT_ACK, refused, 9, b"")


def test_connect_of_a_text_client_is_answered_in_json():
    connection = client(WS_TEXT)
    (close,) = receive(connection, Signal.CONNECT, {"userName": "u"})
    refused = SubSignal.CONNECTION_REFUSED_SERVER_UNAVAILABLE
    assert read(WS_TEXT, close.data) == [(Signal.CONNECT_ACK, refused, 9, b"{}"), b"\x03\xf5unavailable"]


@pytest.mark.parametrize("protocol", ALL)
@pytest.mark.parametrize("state", [State.OPEN, State.BOUND])
@pytest.mark.parametrize("body", [None, {"clearSession": 1}])
def test_disconnect(protocol, state, body):
    (close,) = receive(client(protocol, state), Signal.DISCONNECT, body)
    assert close.reason == CloseReason.CLIENT_DISCONNECT
    assert read(protocol, close.data) == ([b"\x03\xe8client_disconnect"] if protocol >= WS_TEXT else [])


@pytest.mark.parametrize("protocol", [V1, V2, WS_BINARY])
def test_publish_without_a_service(protocol):
    for state, code in ((State.OPEN, 0xF2), (State.BOUND, 0xF0)):
        (send,) = receive(client(protocol, state), Signal.PUBLISH, {"x": 1}, sub_signal=77)
        assert read(protocol, send.data) == [(Signal.PUB_ACK, 77, 9, bytes([code]))]


def test_publish_of_a_text_client():
    for state, body in ((State.OPEN, (242, "not bound")), (State.BOUND, (240, "not implemented"))):
        (send,) = receive(client(WS_TEXT, state), Signal.PUBLISH, {"x": 1}, sub_signal=SubSignal.MN)
        ((signal, sub_signal, message_id, content),) = read(WS_TEXT, send.data)
        assert (signal, sub_signal, message_id) == (Signal.PUB_ACK, SubSignal.MN, 9)
        assert json.loads(content) == dict(zip(("code", "message"), body, strict=True))


@pytest.mark.parametrize("protocol", [V1, V2, WS_BINARY, WS_TEXT])
def test_pub_ack_acknowledges_a_push(protocol):
    assert receive(client(protocol, State.BOUND), Signal.PUB_ACK) == [Acknowledge(9)]


@pytest.mark.parametrize("protocol", [V1, V2, WS_BINARY, WS_TEXT])
def test_pub_ack_before_sub(protocol):
    connection = client(protocol)
    (send,) = receive(connection, Signal.PUB_ACK)
    assert answer(connection, send) == (Signal.PUB_ACK, 9, {"status": 401, "message": "not bound"})


@pytest.mark.parametrize("signal", [0, 11, 127])
def test_a_signal_that_there_is_not(signal):
    with pytest.raises(ProtocolError):
        receive(client(), signal)


@pytest.mark.parametrize("protocol", ALL)
def test_any_whole_packet_counts_as_heard(protocol):
    connection = client(protocol)
    receive(connection, Signal.PING)
    assert connection.granted & Granted.HEARD


# --- SUB: tokens


@pytest.mark.parametrize("body", [None, {}, {"token": None}])
def test_without_a_token_one_is_made(body):
    assert receive(client(), Signal.SUB, body) == [Bind(None, 9, False)]


@pytest.mark.parametrize("token", ["", "x" * 256, "名" * 86, "a\nb", "a\x7f", "a\x85", 5, [], True])
@pytest.mark.parametrize("protocol", ALL)
@pytest.mark.parametrize("state", [State.OPEN, State.BOUND])
def test_a_bad_token(token, protocol, state):
    connection = client(protocol, state)
    (close,) = receive(connection, Signal.SUB, {"token": token})
    assert close.reason == CloseReason.REJECTED
    signal, message_id, body = answer(connection, close)
    assert (signal, message_id, body["status"]) == (Signal.SUB, id_of(protocol), 400)
    assert "token" in body["message"]
    assert connection.state == state


def test_half_a_surrogate_is_no_token():
    (close,) = rules().receive_packet(client(), Packet(Signal.SUB, 0, 0, b'{"token": "\\ud800"}'), NOW)
    assert answer(client(), close)[2]["status"] == 400


@pytest.mark.parametrize("token", ["x" * 255, "名" * 85, " ", "a/b?c", "\u00a0"])
def test_a_good_token(token):
    assert receive(client(), Signal.SUB, {"token": token}) == [Bind(token.encode(), 9, False)]


BAD_BODIES = [b"[]", b"5", b'"x"', b"null", b"{", b"x", b"\xff", b'{"a":' * 10_000, b"[" * 10_000 + b"]" * 10_000]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
@pytest.mark.parametrize("signal", [Signal.SUB, Signal.AUTH])
def test_a_body_of_the_wrong_shape(body, signal):
    connection = client()
    (close,) = rules(VERIFIER).receive_packet(connection, Packet(signal, 0, 9, body), NOW)
    assert close.reason == CloseReason.REJECTED
    assert answer(connection, close)[2]["status"] == 400
    assert connection.login is None


def test_another_token_once_bound():
    connection = client(state=State.BOUND)
    (send,) = receive(connection, Signal.SUB, {"token": "bob", "ids": True})
    assert answer(connection, send) == (Signal.SUB, 9, {"status": 409, "message": "bound to another token"})
    assert (connection.token, connection.granted & Granted.IDS) == (b"alice", 0)


def test_no_token_once_bound_is_the_same_token():
    connection = client(state=State.BOUND)
    (send,) = receive(connection, Signal.SUB)
    assert answer(connection, send)[2] == {"status": 200, "token": "alice"}


# --- SUB: options

EVERYTHING = {"accept": ["deflate", "aes-gcm", "br"], "ack": True, "ids": True, "encoding": "base64"}
GRANTED = {
    V0: ["deflate", "ids"],
    V1: ["deflate", "ack", "ids"],
    V2: ["deflate", "ack", "ids"],
    WS_BINARY: ["deflate", "ack", "ids"],
    WS_TEXT: ["ack", "ids", "base64"],
}


@pytest.mark.parametrize("protocol", ALL)
def test_what_is_granted_in_each_protocol(protocol):
    connection = client(protocol)
    assert receive(connection, Signal.SUB, {"token": "alice", **EVERYTHING}) == [Bind(b"alice", 9, True)]
    connection.token = b"alice"
    data = rules().bound(connection, 9, True)
    assert answer(connection, Send(data))[2] == {"status": 200, "token": "alice", "granted": GRANTED[protocol]}


@pytest.mark.parametrize("protocol", ALL)
@pytest.mark.parametrize("name", ["ack", "ids", "deflate", "base64"])
def test_each_option_alone(protocol, name):
    options = {"deflate": {"accept": ["deflate"]}, "base64": {"encoding": "base64"}}.get(name, {name: True})
    connection = client(protocol, State.BOUND)
    (send,) = receive(connection, Signal.SUB, options)
    assert answer(connection, send)[2]["granted"] == ([name] if name in GRANTED[protocol] else [])


def test_who_asks_for_nothing_gets_no_list():
    connection = client(token=b"alice")
    assert "granted" not in answer(connection, Send(rules().bound(connection, 9, False)))[2]


def test_who_asks_in_vain_gets_an_empty_list():
    connection = client(V0, State.BOUND)
    (send,) = receive(connection, Signal.SUB, {"ack": True})
    assert answer(connection, send)[2]["granted"] == []


def test_a_later_sub_adds_options():
    connection = client(V2, State.BOUND)
    receive(connection, Signal.SUB, {"ack": True})
    (send,) = receive(connection, Signal.SUB, {"token": "alice", "ids": True})
    assert answer(connection, send)[2]["granted"] == ["ack", "ids"]


@pytest.mark.parametrize(
    "options",
    [
        {"accept": "deflate"},
        {"accept": [1]},
        {"accept": {}},
        {"ack": 1},
        {"ack": "yes"},
        {"encoding": 5},
        {"uid": 5},
        {"uid": ""},
        {"uid": "x" * 256},
        {"uid": "a\n"},
    ],
    ids=repr,
)
@pytest.mark.parametrize("state", [State.OPEN, State.BOUND])
def test_options_of_the_wrong_shape(options, state):
    connection = client(state=state)
    (close,) = receive(connection, Signal.SUB, {"token": "alice", **options})
    body = answer(connection, close)[2]
    assert body["status"] == 400
    assert next(iter(options)) in body["message"]
    assert connection.granted == Granted.HEARD


# --- SUB: who may bind


def test_a_uid_counts_where_subscribing_is_open():
    for open_subscribe, uid in ((True, "bob"), (False, None)):
        connection = client()
        receive(connection, Signal.SUB, {"token": "alice", "uid": "bob"}, using=rules(open_subscribe=open_subscribe))
        assert connection.uid == uid


def test_where_a_credential_is_required():
    using = rules(VERIFIER, auth_required=True)
    connection = client()
    (close,) = receive(connection, Signal.SUB, {"token": "alice"}, using=using)
    assert close.reason == CloseReason.REJECTED
    assert answer(connection, close)[2] == {"status": 401, "message": "a credential is required"}
    assert receive(connection, Signal.AUTH, {"credential": signed()}, using=using)
    assert receive(connection, Signal.SUB, {"token": "alice"}, using=using) == [Bind(b"alice", 9, False)]
    assert connection.uid == "ann"


def login(*tokens):
    return Login("ann", list(tokens), int(NOW) + 100)


@pytest.mark.parametrize(
    ("tokens", "body", "bound"),
    [
        ([b"alice"], {"token": "alice"}, b"alice"),
        ([b"alice"], {}, b"alice"),
        ([b"alice"], {"token": "alice", "uid": "ann"}, b"alice"),
        ([b"alice"], {"token": "bob"}, 403),
        ([b"alice"], {"token": "alice", "uid": "eve"}, 403),
        ([b"alice", b"bob"], {"token": "bob"}, b"bob"),
        ([b"alice", b"bob"], {}, 403),
        ([], {}, None),
        ([], {"token": "bob"}, 403),
    ],
)
def test_what_a_credential_lets_bind(tokens, body, bound):
    connection = client(login=login(*tokens))
    (action,) = receive(connection, Signal.SUB, body, using=rules(VERIFIER))
    if bound == 403:
        assert answer(connection, action)[2]["status"] == 403
        assert action.reason == CloseReason.REJECTED
    else:
        assert action == Bind(bound, 9, False)
        assert connection.uid == "ann"


def test_a_sub_that_could_not_be_bound():
    for protocol in ALL:
        connection = client(protocol)
        close = rules().refused(connection, 9, 503, "no worker", CloseReason.UNAVAILABLE)
        assert (close.reason, close.detail) == (CloseReason.UNAVAILABLE, "no worker")
        assert answer(connection, close) == (Signal.SUB, id_of(protocol), {"status": 503, "message": "no worker"})


# --- AUTH


@pytest.mark.parametrize("protocol", ALL)
def test_a_good_credential(protocol):
    connection = client(protocol)
    send, *_ = receive(connection, Signal.AUTH, {"credential": signed(tokens=["bob"])}, using=rules(VERIFIER))
    assert answer(connection, send) == (Signal.AUTH, id_of(protocol), {"status": 200})
    proved = Credential("ann", frozenset({b"alice", b"bob"}), 1_700_000_001)
    assert connection.login == Login(proved.uid, sorted(proved.tokens), proved.expires)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"credential": signed(exp=1)}, 401),
        ({"credential": "x.y.z"}, 401),
        ({"credential": ""}, 401),
        ({"credential": None}, 400),
        ({"credential": 5}, 400),
        ({}, 400),
        (None, 400),
    ],
)
def test_a_bad_credential(body, status):
    connection = client()
    (close,) = receive(connection, Signal.AUTH, body, using=rules(VERIFIER))
    assert close.reason == CloseReason.REJECTED
    assert answer(connection, close)[2]["status"] == status
    assert connection.login is None


# --- PING


@pytest.mark.parametrize(
    ("interval", "deadline", "answered"),
    [
        (30, 45, 30),
        (90_000, 600, 400),
        (1, 10, 6),
        (7, 11, 7),  # 10.5 s, kept in whole seconds and never shorter than said
        (9, 14, 9),
        (8, 12, 8),
        (400, 600, 400),
        (401, 600, 400),
        (0.001, 10, 6),
        (31.5, 48, 31),
        (10**400, 600, 400),
        (1e308, 600, 400),
    ],
)
def test_the_interval_is_clamped(interval, deadline, answered):
    connection = client()
    send, beat = receive(connection, Signal.PING, {"interval": interval})
    assert answer(connection, send)[2] == {"interval": answered}
    assert beat == Beat(deadline)


@given(st.integers(7, 400))
def test_an_interval_within_the_bounds_is_answered_as_it_is(interval):
    connection = client()
    send, beat = receive(connection, Signal.PING, {"interval": interval})
    connection.beat = beat.seconds
    assert answer(connection, send)[2] == {"interval": interval}
    assert interval * 1.5 <= beat.seconds < interval * 1.5 + 1
    (again, same) = receive(connection, Signal.PING)
    assert answer(connection, again)[2] == {"interval": interval}
    assert same == Beat(0)


def test_without_an_interval_the_longest_is_honoured():
    connection = client()
    send, beat = receive(connection, Signal.PING)
    assert (answer(connection, send)[2], beat) == ({"interval": 400}, Beat(0))


@pytest.mark.parametrize(
    "body", [b'{"interval": %s}' % value for value in (b"0", b"-1", b'"30"', b"true", b"[]", b"{}")]
)
@pytest.mark.parametrize("state", [State.OPEN, State.BOUND])
def test_a_bad_interval_is_answered_and_changes_nothing(body, state):
    connection = client(state=state, beat=45)
    actions = rules().receive_packet(connection, Packet(Signal.PING, 0, 9, body), NOW)
    assert [type(action) for action in actions] == [Send]
    assert answer(connection, actions[0])[2]["status"] == 400
    assert connection.beat == 45


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"9" * 5000])
def test_numbers_that_are_none(value):
    (send,) = rules().receive_packet(client(), Packet(Signal.PING, 0, 9, b'{"interval": %s}' % value), NOW)
    assert answer(client(), send)[2]["status"] == 400


# --- flags


def test_a_compressed_body():
    deflater = zlib.compressobj(wbits=-15)
    body = deflater.compress(b'{"token": "alice"}') + deflater.flush()
    assert rules().receive_packet(client(), Packet(Signal.SUB, 0, 9, body, compressed=True), NOW) == [
        Bind(b"alice", 9, False)
    ]


def test_a_compressed_body_counts_as_input_by_its_inflated_size():
    deflater = zlib.compressobj(wbits=-15)
    body = deflater.compress(b" " * 5000 + b"{}") + deflater.flush()
    connection = client()
    rules().receive_packet(connection, Packet(Signal.PING, 0, 9, body, compressed=True), NOW)
    assert connection.rate_bytes == 5002


def test_a_compressed_body_that_inflates_past_the_limit():
    deflater = zlib.compressobj(wbits=-15)
    body = deflater.compress(bytes(2000)) + deflater.flush()
    with pytest.raises(TooLargeError):
        rules(body_bytes=1999).receive_packet(client(), Packet(Signal.SUB, 0, 9, body, compressed=True), NOW)


@pytest.mark.parametrize("flags", [(True, False), (False, True), (True, True)])
def test_a_body_behind_flags_that_cannot_be_read(flags):
    with pytest.raises(BodyError):
        rules().receive_packet(client(), Packet(Signal.SUB, 0, 9, b"\xff\xff", *flags), NOW)


# --- WebSocket messages


def text(**fields):
    return json.dumps(fields, ensure_ascii=False).encode()


def test_the_first_text_message_sets_protocol_and_style():
    connection = client(Protocol.WS)
    (send, _) = rules().receive_text(connection, text(signal="ping", messageId=3), NOW)
    assert connection.protocol == WS_TEXT
    assert connection.granted == Granted.HEARD | Granted.STYLED | Granted.CAMEL | Granted.LOWER
    assert b'"signal":"ping","subSignal":"none","messageId":3' in send.data
    (send, _) = rules().receive_text(connection, text(signal="PING", message_id=4), NOW)
    assert b'"signal":"ping","subSignal":"none","messageId":4' in send.data


@pytest.mark.parametrize("heartbeat", [b"ping", "心跳内容".encode()])
@pytest.mark.parametrize("protocol", [Protocol.WS, WS_TEXT, WS_BINARY])
def test_a_bare_heartbeat_has_no_answer_and_does_not_decide_the_style(heartbeat, protocol):
    connection = client(protocol)
    assert rules().receive_text(connection, heartbeat, NOW) == []
    assert (connection.protocol, connection.granted) == (protocol, Granted.HEARD)


@pytest.mark.parametrize(
    "said",
    [
        b"hello",
        b"[]",
        b"5",
        b"{}",
        text(signal=[]),
        text(signal="SUB", message_id=65_536),
        text(signal="SUB", message_id=-1),
        text(signal="SUB", sub_signal="NO_SUCH"),
        text(signal="SUB", sub_signal=128),
        text(signal="SUB", content=5),
        b'{"signal":"SUB","content":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"signal":"SUB","message_id":' + b"9" * 400 + b"}",
    ],
)
def test_a_text_message_of_the_wrong_shape_is_answered(said):
    connection = client(Protocol.WS)
    (send,) = rules().receive_text(connection, said, NOW)
    ((signal, _, _, body),) = read(WS_TEXT, send.data)
    assert (signal, json.loads(body)["status"]) == (Signal.NONE, 400)
    assert connection.state == State.OPEN


@pytest.mark.parametrize("signal", ["NO_SUCH", "NONE", 0, 11, 10**30, "PUSH", "CONNECT_ACK", "conect_ack", 4])
def test_a_text_message_with_a_signal_that_may_not_be(signal):
    with pytest.raises(ProtocolError):
        rules().receive_text(client(Protocol.WS), text(signal=signal), NOW)


def test_the_first_binary_message_sets_the_protocol():
    connection = client(Protocol.WS)
    assert rules().receive_binary(connection, encode_packet(2, packet(1, {"token": "a"})), NOW) == [
        Bind(b"a", 9, False)
    ]
    assert connection.protocol == WS_BINARY


@pytest.mark.parametrize("data", [b"", b"\xf8", encode_packet(2, packet(3))[:-1], encode_packet(2, packet(3)) * 2])
def test_a_binary_message_is_exactly_one_packet(data):
    with pytest.raises(ProtocolError):
        rules().receive_binary(client(Protocol.WS), data, NOW)


@pytest.mark.parametrize("version", [0, 1])
def test_a_binary_message_is_of_version_2(version):
    with pytest.raises(ProtocolError):
        rules().receive_binary(client(Protocol.WS), encode_packet(version, packet(3)), NOW)


def test_text_and_binary_do_not_mix():
    with pytest.raises(ProtocolError):
        rules().receive_binary(client(WS_TEXT), encode_packet(2, packet(3)), NOW)
    with pytest.raises(ProtocolError):
        rules().receive_text(client(WS_BINARY), text(signal="PING"), NOW)


# --- anything at all

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    st.lists,
    max_leaves=5,
)
names = st.sampled_from(["token", "uid", "accept", "ack", "ids", "encoding", "interval", "credential", "type", "x"])
objects = st.dictionaries(names, json_values, max_size=4).map(lambda fields: json.dumps(fields).encode())


@given(
    st.sampled_from(ALL),
    st.sampled_from([State.OPEN, State.BOUND]),
    st.integers(0, 12),
    objects | st.binary(max_size=30),
)
def test_any_packet_gives_actions_or_raises_what_is_documented(protocol, state, signal, body):
    connection = client(protocol, state)
    try:
        actions = rules(VERIFIER).receive_packet(connection, Packet(signal, 5, 9, body), NOW)
    except RemoteError:
        return
    assert all(isinstance(action, Send | Close | Bind | Beat | Acknowledge) for action in actions)
    for action in actions:
        if isinstance(action, Send | Close):
            assert read(protocol, action.data) or not action.data


@given(
    st.sampled_from([Protocol.WS, WS_TEXT]),
    objects | st.binary(max_size=30) | json_values.map(json.dumps).map(str.encode),
)
def test_any_text_gives_actions_or_raises_what_is_documented(protocol, said):
    try:
        rules().receive_text(client(protocol), said, NOW)
    except RemoteError:
        return
