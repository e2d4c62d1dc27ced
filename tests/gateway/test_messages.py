from contextlib import suppress

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.frames import Frame, Opcode, parse_frame
from gateway.messages import Message, add_frame, partial_from_fields, partial_to_fields
from gateway.permessage_deflate import compress
from shared.errors import BodyError, ProtocolError, TooLargeError
from tests.chunks import cut, places

LIMIT = 1 << 20
TEXT, BINARY, CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION


def frame(opcode, payload=b"", fin=True, rsv1=False):
    return Frame(fin, rsv1, opcode, payload)


def assemble(frames, limit=LIMIT, deflate=False, move=lambda partial: partial):
    """Messages out of frames; `move` is done to what is unfinished after each frame."""
    partial, messages = None, []
    for one in frames:
        partial, message = add_frame(partial, one, limit, deflate)
        partial = move(partial)
        if message is not None:
            messages.append(message)
    assert partial is None
    return messages


def fragments(opcode, parts, rsv1=False):
    last = len(parts) - 1
    return [
        frame(CONTINUATION if at else opcode, part, fin=at == last, rsv1=rsv1 and at == 0)
        for at, part in enumerate(parts)
    ]


@pytest.mark.parametrize("opcode", [TEXT, BINARY, Opcode.CLOSE, Opcode.PING, Opcode.PONG])
def test_a_whole_message_in_one_frame(opcode):
    assert assemble([frame(opcode, b"Hello")]) == [Message(opcode, b"Hello")]


def test_control_frames_between_fragments():
    frames = [
        frame(TEXT, b"Hel", fin=False),
        frame(Opcode.PING, b"p"),
        frame(CONTINUATION, b"", fin=False),
        frame(Opcode.PONG, b""),
        frame(CONTINUATION, b"lo"),
        frame(Opcode.CLOSE, b"\x03\xe8"),
    ]
    assert assemble(frames) == [
        Message(Opcode.PING, b"p"),
        Message(Opcode.PONG, b""),
        Message(TEXT, b"Hello"),
        Message(Opcode.CLOSE, b"\x03\xe8"),
    ]


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ([frame(CONTINUATION, b"x")], "without a message"),
        ([frame(CONTINUATION, b"x", fin=False)], "without a message"),
        ([frame(TEXT, b"x", fin=False), frame(TEXT, b"y")], "new message before the end"),
        ([frame(TEXT, b"x", fin=False), frame(BINARY, b"y", fin=False)], "new message before the end"),
        ([frame(TEXT, b"x"), frame(CONTINUATION, b"y")], "without a message"),
        ([frame(TEXT, b"x", rsv1=True)], "without permessage-deflate"),
        ([frame(BINARY, b"x", fin=False), frame(CONTINUATION, b"y", rsv1=True)], "continuation frame with RSV1"),
    ],
)
def test_frames_in_a_wrong_order(frames, said):
    with pytest.raises(ProtocolError, match=said):
        assemble(frames)


def test_rsv1_belongs_to_the_first_frame_only():
    frames = [frame(TEXT, b"x", fin=False, rsv1=True), frame(CONTINUATION, b"y", rsv1=True)]
    with pytest.raises(ProtocolError, match="continuation frame with RSV1"):
        assemble(frames, deflate=True)


def test_the_limit_counts_all_fragments():
    parts = fragments(BINARY, [b"x" * 400, b"y" * 600, b"z" * 24])
    assert assemble(parts, limit=1024) == [Message(BINARY, b"x" * 400 + b"y" * 600 + b"z" * 24)]
    with pytest.raises(TooLargeError, match="message of 1024 bytes exceeds the limit of 1023"):
        assemble(parts, limit=1023)


def test_the_limit_counts_before_the_last_fragment():
    partial, _ = add_frame(None, frame(BINARY, b"x" * 10, fin=False), 15, False)
    with pytest.raises(TooLargeError):
        add_frame(partial, frame(CONTINUATION, b"x" * 6, fin=False), 15, False)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_the_limit_counts_what_is_inflated(parts):
    packed = compress(bytes(100_000), 15)
    step = len(packed) // parts + 1
    frames = fragments(BINARY, [packed[at : at + step] for at in range(0, len(packed), step)], rsv1=True)
    assert assemble(frames, limit=100_000, deflate=True) == [Message(BINARY, bytes(100_000))]
    with pytest.raises(TooLargeError, match="inflated message"):
        assemble(frames, limit=99_999, deflate=True)


BAD_UTF8 = [
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    b"\xe6\x8e",
    b"ok\xe6",
]


@pytest.mark.parametrize("data", BAD_UTF8)
@pytest.mark.parametrize("deflate", [False, True])
def test_text_that_is_not_utf_8(data, deflate):
    wire = compress(data, 15) if deflate else data
    for frames in (
        [frame(TEXT, wire, rsv1=deflate)],
        fragments(TEXT, [wire[:1], wire[1:]], rsv1=deflate),
        fragments(TEXT, [wire, b""], rsv1=deflate),
    ):
        with pytest.raises(BodyError, match="not UTF-8"):
            assemble(frames, deflate=deflate)
    assert assemble([frame(BINARY, data)]) == [Message(BINARY, data)]


def test_bad_text_fails_with_its_first_bad_fragment():
    partial, _ = add_frame(None, frame(TEXT, b"\xce\xba\xe1\xbd\xb9\xf4", fin=False), LIMIT, False)
    with pytest.raises(BodyError, match="not UTF-8"):
        add_frame(partial, frame(CONTINUATION, b"\x90", fin=False), LIMIT, False)


def test_a_character_in_four_fragments():
    parts = [bytes([byte]) for byte in "📣".encode()]
    assert assemble(fragments(TEXT, parts)) == [Message(TEXT, "📣".encode())]


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x00"[:0] + b"\x05"])
def test_a_message_that_does_not_inflate(data):
    with pytest.raises(BodyError):
        assemble([frame(BINARY, data, rsv1=True)], deflate=True)


def moved(partial):
    """What is unfinished, after its way through a hand-over record."""
    if partial is None:
        return None
    return partial_from_fields(msgpack.unpackb(msgpack.packb({**partial_to_fields(partial), "later": 1})))


@given(st.text(max_size=200), st.booleans(), st.booleans(), st.data())
def test_fragments_and_moves_do_not_change_a_message(text, deflate, move, data):
    content = text.encode()
    wire = compress(content, 15) if deflate else content
    parts = list(cut(wire, data.draw(places(len(wire)))))
    frames = fragments(TEXT, parts, rsv1=deflate)
    got = assemble(frames, deflate=deflate, move=moved if move else lambda partial: partial)
    assert got == [Message(TEXT, content)]


wild_frames = st.builds(
    Frame, st.booleans(), st.booleans(), st.sampled_from([0, 1, 2, 8, 9, 10]), st.binary(max_size=30)
)


@given(st.lists(wild_frames, max_size=8), st.booleans(), st.integers(0, 60))
def test_any_frames_raise_only_what_is_documented(frames, deflate, limit):
    with suppress(ProtocolError, BodyError, TooLargeError):
        partial = None
        for one in frames:
            partial, message = add_frame(partial, one, limit, deflate)
            assert message is None or message.opcode in (1, 2, 8, 9, 10)


def test_a_parsed_frame_goes_straight_in():
    parsed = parse_frame(bytes.fromhex("81 85 37 fa 21 3d 7f 9f 4d 51 58"), 0, LIMIT)
    assert add_frame(None, parsed[0], LIMIT, False) == (None, Message(TEXT, b"Hello"))
