"""Against what protoc itself makes of the same files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from grpc_tools import protoc
from hypothesis import given
from hypothesis import strategies as st

import shared.protobufs
from shared.errors import BodyError, SettingsError
from shared.protobufs.registries import Registry
from shared.protobufs.tables import ANSWER, PUSH, REQUEST, Table, parse_table

OWN = Path(shared.protobufs.__file__).parent
ACK = (7, 1, ANSWER)
PROTO = """
syntax = "proto3";
package chat;
import "google/protobuf/timestamp.proto";
enum Kind { TEXT = 0; IMAGE = 1; }
message Part { int64 big_number = 1; bytes raw = 2; Kind kind = 3; Part inner = 4; }
message Ask {
  string said_by = 1;
  repeated Part parts = 2;
  map<string, Part> named = 3;
  repeated uint64 ids = 4;
  google.protobuf.Timestamp at = 5;
  optional int32 maybe = 6;
  double ratio = 7;
}
"""
TABLE = {
    "topics": [{"signal": "PUBLISH", "sub_signal": "FP", "request": "chat.Ask", "answer": "chat.Ask"}],
    "messages": {
        "chat.Part": {"names": {"big_number": "n"}, "numbers": ["big_number"]},
        "chat.Ask": {"numbers": ["ids"]},
    },
}


@pytest.fixture(scope="module")
def own():
    return Registry([parse_table((OWN / "topics.json").read_text())], [(OWN / "descriptors.binpb").read_bytes()])


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    """A registry of a deployment's message, as protoc compiles it."""
    folder = tmp_path_factory.mktemp("protobufs")
    (folder / "chat.proto").write_text(PROTO)
    wells = Path(protoc.__file__).parent / "_proto"
    arguments = [
        "protoc",
        f"-I{folder}",
        f"-I{wells}",
        "--include_imports",
        f"--descriptor_set_out={folder}/chat.binpb",
    ]
    assert protoc.main([*arguments, "chat.proto"]) == 0
    return Registry([parse_table(json.dumps(TABLE))], [(folder / "chat.binpb").read_bytes()])


def there_and_back(registry, fields):
    """What a text client's object is to a service, back in JSON."""
    body = registry.to_protobuf(9, 16, REQUEST, json.dumps(fields).encode())
    return json.loads(registry.to_json(9, 16, ANSWER, body))


def test_the_descriptors_are_those_of_the_proto_files(tmp_path):
    """`make protobufs` has been run."""
    made = tmp_path / "descriptors.binpb"
    names = sorted(path.name for path in OWN.glob("*.proto"))
    assert protoc.main(["protoc", f"-I{OWN}", "--include_imports", f"--descriptor_set_out={made}", *names]) == 0
    assert made.read_bytes() == (OWN / "descriptors.binpb").read_bytes()


# --- CONNECT_ACK


def test_the_bytes_of_a_connect_ack(own):
    said = {"messageHead": "150", "friendHead": 1, "nodeAddr": "x", "nodePort": 80, "serverTime": 2, "else": [1]}
    body = own.to_protobuf(*ACK, json.dumps(said).encode())
    assert body == b"\x08\x96\x01\x10\x01\x2a\x01x\x30\x50\x38\x02"


def test_the_json_of_a_connect_ack(own):
    empty = {
        "friendHead": 0,
        "friendRqHead": 0,
        "messageHead": "0",
        "settingHead": 0,
        "nodeAddr": "",
        "nodePort": 0,
        "serverTime": 0,
    }
    assert json.loads(own.to_json(*ACK, b"")) == empty
    full = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x18\x05\x2a\x06\xe4\xbd\xa0\xe5\xa5\xbd"
    expected = {**empty, "messageHead": "9223372036854775807", "friendRqHead": 5, "nodeAddr": "你好"}
    assert json.loads(own.to_json(*ACK, full)) == expected


def test_a_connect_ack_in_the_names_of_the_proto_file_is_read_too(own):
    body = own.to_protobuf(*ACK, b'{"msg_head": 3, "friend_rq_head": "4"}')
    assert body == b"\x08\x03\x18\x04"


def test_only_what_the_table_names_is_protobuf(own):
    assert own.has(*ACK)
    assert not own.has(7, 4, ANSWER)
    assert not own.has(7, 1, PUSH)
    assert not own.has(9, 16, REQUEST)


def test_the_library_is_not_loaded_before_it_is_needed():
    code = (
        "import sys; from shared.startup.protobuf_files import load_registry; from shared.settings import Settings\n"
        "registry = load_registry(Settings()); registry.has(9, 1, 'push'); first = 'google.protobuf' in sys.modules\n"
        "registry.to_json(7, 1, 'answer', b''); print(first, 'google.protobuf' in sys.modules)"
    )
    root = OWN.parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "False True\n"


# --- any message


def test_every_kind_of_field(chat):
    part = {"n": 1 << 40, "raw": "/w==", "kind": "IMAGE", "inner": {"n": -1, "raw": "", "kind": "TEXT"}}
    fields = {
        "saidBy": "ann",
        "parts": [part, {"n": 0, "raw": "", "kind": "TEXT"}],
        "named": {"n": part},
        "ids": [1, 2],
        "at": "2026-11-25T00:00:00Z",
        "maybe": 0,
        "ratio": 0.5,
    }
    assert there_and_back(chat, fields) == fields


def test_what_is_not_said_has_its_default_and_what_is_optional_is_absent(chat):
    assert there_and_back(chat, {}) == {"saidBy": "", "parts": [], "named": {}, "ids": [], "ratio": 0.0}
    assert there_and_back(chat, {"unknown": {"saidBy": 1}, "maybe": None})["saidBy"] == ""


def test_no_body_is_an_empty_message(chat):
    assert chat.to_protobuf(9, 16, REQUEST, b"") == b""


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"[]",
        b"5",
        b'"x"',
        b"\xff",
        b'{"saidBy": 5}',
        b'{"parts": {}}',
        b'{"parts": [5]}',
        b'{"named": []}',
        b'{"named": {"a": 5}}',
        b'{"ids": [-1]}',
        b'{"ids": [18446744073709551616]}',
        b'{"at": "yesterday"}',
        b'{"maybe": 1.5}',
        b'{"saidBy": "\\ud800"}',
        b'{"parts": [' + b'{"inner": ' * 300 + b"{}" + b"}" * 300 + b"]}",
        b"[" * 5000,
    ],
)
def test_content_that_is_no_such_message(chat, body):
    with pytest.raises(BodyError, match=r"content is no chat\.Ask"):
        chat.to_protobuf(9, 16, REQUEST, body)


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\x05x", b"\x0a\x01\xff", b"\x0b"])
def test_a_body_that_is_no_such_message(chat, body):
    with pytest.raises(BodyError, match=r"body is no chat\.Ask"):
        chat.to_json(9, 16, ANSWER, body)


@given(st.binary(max_size=40))
def test_any_body_becomes_json_or_raises_what_is_documented(chat, body):
    try:
        assert isinstance(json.loads(chat.to_json(9, 16, ANSWER, body)), dict)
    except BodyError:
        return


names = st.sampled_from(["saidBy", "said_by", "parts", "named", "ids", "at", "maybe", "ratio", "x"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["n", "raw", "inner"]), inner),
    max_leaves=6,
)


@given(st.dictionaries(names, values))
def test_any_object_becomes_protobuf_or_raises_what_is_documented(chat, fields):
    try:
        assert isinstance(there_and_back(chat, fields), dict)
    except BodyError:
        return


# --- tables and files that do not fit


def test_a_message_that_there_is_not(own):
    registry = Registry([Table({(9, 1, "push"): "a.B"}, {})], [(OWN / "descriptors.binpb").read_bytes()])
    with pytest.raises(SettingsError, match=r"there is no message a\.B"):
        registry.check()
    own.check()


@pytest.mark.parametrize("descriptors", [b"\xff", b"\x0a\x02\x0a\x05", b"\x0a\x0e\x0a\x05x.pro\x1a\x05y.pro"])
def test_descriptors_that_are_none(descriptors):
    with pytest.raises(SettingsError, match="descriptors that do not fit"):
        Registry([Table({(9, 1, "push"): "a.B"}, {})], [descriptors]).check()


def test_of_two_tables_the_later_counts(own):
    again = Table({(7, 1, ANSWER): "google.protobuf.FileDescriptorSet"}, {})
    first = parse_table((OWN / "topics.json").read_text())
    registry = Registry([first, again], [(OWN / "descriptors.binpb").read_bytes()])
    with pytest.raises(SettingsError):
        registry.check()
