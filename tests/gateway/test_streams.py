from ipaddress import ip_network
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.connections import Connection, Protocol
from gateway.handshakes import HttpRequest
from gateway.messages import Message
from gateway.permessage_deflate import compress
from gateway.streams import PROXY_ALLOWED, PROXY_DONE, PROXY_REQUIRED, StreamLimits, is_trusted, next_event
from shared.errors import BodyError, ProtocolError, RemoteError, TooLargeError
from shared.packets import Packet
from tests.chunks import bytewise, cut, places
from tests.gateway.client_frames import masked

LIMITS = StreamLimits(body_bytes=1000, head_bytes=400)
GET = b"GET /ws?x=1 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n"
REQUEST = HttpRequest("GET", "/ws", "x=1", 1, {"host": "h", "upgrade": "websocket"})
PROXY_1 = b"PROXY TCP4 9.8.7.6 1.1.1.1 555 80\r\n"
PROXY_2 = bytes.fromhex("0D0A0D0A000D0A515549540A 21 11 000C 09080706 01010101 022B 0050")


def packet(version, signal, body=b"", sub_signal=0, message_id=0):
    if version == 0:
        return pack(">BI", signal, len(body)) + body
    if version == 1:
        return pack(">BBBHBH", 0xF8, 1, signal, len(body), sub_signal, message_id) + body
    return pack(">BBBIBH", 0xF8, 2, signal, len(body), sub_signal, message_id) + body


class Stream:
    """One connection fed piece by piece, as the loop does it."""

    def __init__(self, proxied=PROXY_DONE, window_bits=0):
        self.connection = Connection(5, "5.5.5.5:5")
        self.connection.proxied = proxied
        self.window_bits = window_bits
        self.buffer = bytearray()
        self.events = []

    def feed(self, data):
        self.buffer += data
        offset = 0
        while True:
            event, behind = next_event(self.connection, self.buffer, offset, LIMITS)
            assert behind >= offset
            if behind == offset:
                assert event is None
                break
            offset = behind
            if isinstance(event, HttpRequest):
                self.connection.protocol, self.connection.window_bits = Protocol.WS, self.window_bits
            if event is not None:
                self.events.append(event)
        del self.buffer[:offset]

    def run(self, chunks):
        """(events, class of the error that ended it or None)."""
        try:
            for chunk in chunks:
                self.feed(chunk)
        except RemoteError as error:
            return self.events, type(error)
        return self.events, None


@pytest.mark.parametrize("version", [0, 1, 2])
def test_the_first_bytes_tell_the_version_of_a_packet(version):
    data = packet(version, 1, b"{}") + packet(version, 3)
    stream = Stream()
    assert stream.run([data]) == ([Packet(1, 0, 0, b"{}"), Packet(3)], None)
    assert stream.connection.protocol == version
    assert stream.buffer == b""


def test_a_websocket_begins_with_a_request():
    frames = masked(1, b"Hel", fin=False) + masked(9, b"p") + masked(0, b"lo") + masked(2, b"\x00")
    stream = Stream()
    events = [REQUEST, Message(9, b"p"), Message(1, b"Hello"), Message(2, b"\x00")]
    assert stream.run([GET + frames]) == (events, None)
    assert stream.run(bytewise(frames))[1] is None
    assert stream.events[4:] == events[1:]


def test_frames_are_inflated_where_it_was_negotiated():
    data = GET + masked(1, compress(b"Hello" * 10, 15), rsv=4)
    assert Stream(window_bits=15).run([data]) == ([REQUEST, Message(1, b"Hello" * 10)], None)
    assert Stream().run([data]) == ([REQUEST], ProtocolError)


def test_what_is_inflated_counts_as_input_by_its_size_then():
    data = compress(b"Hello" * 100, 15)
    stream = Stream(window_bits=15)
    stream.run([GET + masked(1, b"plain") + masked(1, data, rsv=4)])
    assert stream.connection.rate_bytes == 500
    stream.run([masked(1, data[:5], fin=False, rsv=4) + masked(0, data[5:])])
    assert stream.connection.rate_bytes == 1000


@pytest.mark.parametrize("header", [PROXY_1, PROXY_2])
@pytest.mark.parametrize("proxied", [PROXY_ALLOWED, PROXY_REQUIRED])
@pytest.mark.parametrize("behind", [GET, packet(2, 1), packet(1, 1), packet(0, 1)])
@pytest.mark.parametrize("how", [bytewise, lambda data: [data]])
def test_a_proxy_header_names_the_client(header, proxied, behind, how):
    stream = Stream(proxied)
    events, error = stream.run(how(header + behind))
    assert (len(events), error) == (1, None)
    assert stream.connection.address == "9.8.7.6:555"
    assert stream.connection.proxied == PROXY_DONE


def test_a_header_that_names_nobody_leaves_the_address():
    stream = Stream(PROXY_REQUIRED)
    stream.run([b"PROXY UNKNOWN\r\n" + packet(2, 3)])
    assert (stream.connection.address, stream.events) == ("5.5.5.5:5", [Packet(3)])


def test_where_a_header_is_allowed_none_need_come():
    stream = Stream(PROXY_ALLOWED)
    assert stream.run([packet(2, 3), PROXY_1]) == ([Packet(3)], ProtocolError)


@pytest.mark.parametrize("data", [packet(2, 3), packet(0, 3), GET, b"PROXX", b"\r\n\r\n\r\n"])
def test_where_a_header_is_required_it_must_come(data):
    assert Stream(PROXY_REQUIRED).run(bytewise(data)) == ([], ProtocolError)


def test_only_one_header():
    assert Stream(PROXY_ALLOWED).run([PROXY_1 + PROXY_1]) == ([], ProtocolError)


def test_a_header_is_used_up_before_what_is_behind_it_is_looked_at():
    """So that an answer to a bad request can see that it was one."""
    stream = Stream(PROXY_ALLOWED)
    assert next_event(stream.connection, PROXY_1 + b"GET / HTTP/9\r\n\r\n", 0, LIMITS) == (None, len(PROXY_1))


FIRST_BYTES = [
    b"\x00",
    b"\x0b",
    b"\xf7",
    b"\xf8\x00",
    b"\xf8\x03",
    b"G E",
    b"get / ",
    b"GETT",
    b"POST / HTTP/1.1",
    b"\xff",
]


@pytest.mark.parametrize("data", [*FIRST_BYTES, PROXY_1, PROXY_2], ids=repr)
def test_first_bytes_of_no_known_protocol(data):
    assert Stream().run([data]) == ([], ProtocolError)
    assert Stream().run(bytewise(data)) == ([], ProtocolError)


@pytest.mark.parametrize("data", [b"", b"\xf8", b"G", b"GE", b"GET", b"GET ", GET[:-1], packet(2, 1, b"x")[:-1]])
def test_more_bytes_are_needed(data):
    stream = Stream()
    assert stream.run([data]) == ([], None)
    assert stream.buffer == data


def test_first_bytes_of_a_proxy_header_may_be_on_their_way():
    for size in range(len(PROXY_2)):
        assert Stream(PROXY_REQUIRED).run([PROXY_2[:size]]) == ([], None)


@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("second", [0, 1, 2])
def test_a_client_keeps_the_version_of_its_first_packet(first, second):
    events, error = Stream().run([packet(first, 3) + packet(second, 3)])
    assert (len(events), error) == ((2, None) if first == second else (1, ProtocolError))


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("signal", [0, 11, 127])
def test_signals_that_there_are_not(version, signal):
    assert Stream().run([packet(version, 3) + packet(version, signal)]) == ([Packet(3)], ProtocolError)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_body_over_the_limit_is_refused_by_its_header(version):
    header = packet(version, 1, bytes(1001))[:-1001]
    assert Stream().run([header]) == ([], TooLargeError)
    assert Stream().run([packet(version, 1, bytes(1000))])[1] is None


def test_four_gigabytes_are_refused_by_their_header():
    assert Stream().run([bytes.fromhex("F8 02 01 FFFFFFFF 00 0000")]) == ([], TooLargeError)
    assert Stream().run([bytes.fromhex("01 FFFFFFFF")]) == ([], TooLargeError)
    assert Stream().run([GET, bytes.fromhex("82 FF 7FFFFFFFFFFFFFFF")]) == ([REQUEST], TooLargeError)


def test_a_request_head_over_the_limit():
    assert Stream().run([b"GET / HTTP/1.1\r\n" + b"x" * 400]) == ([], TooLargeError)


def test_a_message_that_is_not_utf_8():
    assert Stream().run([GET + masked(1, b"\xff")]) == ([REQUEST], BodyError)


bodies = st.binary(max_size=40)
ids = st.integers(0, 65_535)


@st.composite
def packet_streams(draw):
    version = draw(st.sampled_from([0, 1, 2]))
    signals = st.sampled_from([1, 2, 3, 4, 5, 8] if version == 0 else range(1, 11))
    packets = draw(st.lists(st.tuples(signals, bodies, st.integers(0, 127), ids), min_size=1, max_size=6))
    data = b"".join(packet(version, *one) for one in packets)
    clear = [(0, 0) if version == 0 else (sub_signal, message_id) for _, _, sub_signal, message_id in packets]
    events = [Packet(one[0], *said, one[1]) for one, said in zip(packets, clear, strict=True)]
    return data, events


@st.composite
def frame_streams(draw):
    data, events = GET, [REQUEST]
    for kind in draw(st.lists(st.sampled_from(["whole", "fragments", "ping", "binary"]), max_size=5)):
        text = draw(st.text(max_size=20)).encode()
        mask = draw(st.binary(min_size=4, max_size=4))
        if kind == "whole":
            data += masked(1, text, mask=mask)
        elif kind == "fragments":
            parts = list(cut(text, draw(places(len(text)))))
            for at, part in enumerate(parts):
                data += masked(0 if at else 1, part, fin=at == len(parts) - 1, mask=mask)
        elif kind == "ping":
            data += masked(9, text[:100], mask=mask)
        else:
            data += masked(2, text, mask=mask)
        events.append(Message({"ping": 9, "binary": 2}.get(kind, 1), text))
    return data, events


@given(packet_streams() | frame_streams(), st.sampled_from([b"", PROXY_1, PROXY_2]), st.data())
def test_any_chunking_gives_the_same_events(stream, header, data):
    wire, events = stream
    wire = header + wire
    for chunks in ([wire], bytewise(wire), cut(wire, data.draw(places(len(wire))))):
        assert Stream(PROXY_REQUIRED if header else PROXY_DONE).run(chunks) == (events, None)


@given(packet_streams() | frame_streams(), st.binary(max_size=30), st.data())
def test_noise_ends_any_chunking_at_the_same_place(stream, noise, data):
    wire = stream[0] + noise
    whole = Stream().run([wire])
    assert Stream().run(bytewise(wire)) == whole
    assert Stream().run(cut(wire, data.draw(places(len(wire))))) == whole


@given(st.binary(max_size=60), st.sampled_from([PROXY_DONE, PROXY_ALLOWED, PROXY_REQUIRED]))
def test_any_bytes_raise_only_what_is_documented(data, proxied):
    Stream(proxied).run([data])


@pytest.mark.parametrize(
    ("address", "networks", "trusted"),
    [
        ("10.1.2.3", ["10.0.0.0/8"], True),
        ("11.1.2.3", ["10.0.0.0/8"], False),
        ("10.1.2.3", [], False),
        ("::1", ["10.0.0.0/8", "::1/128"], True),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("::ffff:10.1.2.3", ["10.0.0.0/8"], True),
        ("::ffff:11.1.2.3", ["10.0.0.0/8"], False),
    ],
)
def test_trusted_proxies(address, networks, trusted):
    assert is_trusted(address, [ip_network(network) for network in networks]) == trusted
