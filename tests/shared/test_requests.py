from contextlib import suppress

import pytest
import ujson
from hypothesis import given
from hypothesis import strategies as st

from shared import requests
from shared.errors import RequestError
from shared.requests import PushOptions, decode_push, parse_options

pairs_of_targets = st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=100)), min_size=1, max_size=30)


def code_of(frames, **limits):
    with pytest.raises(RequestError) as caught:
        decode_push(frames, **limits)
    return caught.value.code


def test_push1_spelled_out():
    request = decode_push([b"PUSH1", b"r1", b'{"id":"x"}', b"alice", b"hi", b"bob", b""])
    assert request.options == PushOptions(id="x")
    assert request.index == bytes.fromhex("0005 00000002  0003 00000000")
    assert request.data == b"alicehibob"
    assert request.count == 2


def test_push2_spelled_out():
    frames = requests.encode_push(b"r1", b"", bytes.fromhex("0005 00000002  0003 00000000"), b"alicehibob")
    assert frames[0] == b"PUSH2"
    request = decode_push(frames)
    assert request.options == PushOptions()
    assert list(requests.unpack_targets(request.index, request.data)) == [(b"alice", b"hi"), (b"bob", b"")]


@given(pairs_of_targets)
def test_push1_and_push2_say_the_same(pairs):
    one = decode_push([b"PUSH1", b"r", b"", *[part for pair in pairs for part in pair]])
    two = decode_push(requests.encode_push(b"r", b"", *requests.pack_targets(pairs)))
    assert one == two
    assert list(requests.unpack_targets(two.index, two.data)) == pairs


def test_a_target_too_long_for_the_index_is_cut_and_stays_too_long_for_a_token():
    index, data = requests.pack_targets([(b"x" * 70_000, b"p")])
    assert list(requests.unpack_targets(index, data)) == [(b"x" * 65_535, b"p")]


@pytest.mark.parametrize(
    "frames",
    [
        [b"PUSH1"],
        [b"PUSH1", b"r"],
        [b"PUSH1", b"r", b""],
        [b"PUSH1", b"r", b"", b"alice"],
        [b"PUSH1", b"r", b"", b"alice", b"hi", b"bob"],
        [b"PUSH2", b"r", b"", b""],
        [b"PUSH2", b"r", b"", b"", b""],
        [b"PUSH2", b"r", b"", b"\0" * 5, b""],
        [b"PUSH2", b"r", b"", bytes.fromhex("0005 00000002"), b"alice"],
        [b"PUSH2", b"r", b"", bytes.fromhex("0005 00000002"), b"alicehi!"],
        [b"PUSH2", b"r", b"", bytes.fromhex("0005 ffffffff"), b"alice"],
        [b"PUSH2", b"r", b"", b"", b"", b""],
        [b"PUSH1", b"r", b'{"to":"all"}', b"", b"hi", b"", b"ho"],
    ],
)
def test_malformed_requests(frames):
    assert code_of(frames) == "malformed"


def test_one_target_too_many():
    frames = [b"PUSH1", b"r", b"", *[b"t", b"p"] * 10_001]
    assert code_of(frames) == "too_many_targets"
    assert decode_push(frames, max_targets=10_001).count == 10_001
    assert decode_push(frames[:-2]).count == 10_000


@pytest.mark.parametrize(
    ("raw", "options"),
    [
        (b"", PushOptions()),
        (b"{}", PushOptions()),
        (b'{"to":"all","timeout_ms":1}', PushOptions(to="all", timeout_ms=1)),
        (b'{"ttl":60,"wait":"acked","collapse":"k"}', PushOptions(ttl=60, wait="acked", collapse="k")),
        (b'{"signal":"publish","sub_signal":"MN"}', PushOptions(signal=9, sub_signal=17)),
        (b'{"signal":4,"sub_signal":127}', PushOptions(signal=4, sub_signal=127)),
        ('{"id":"单-1"}'.encode(), PushOptions(id="单-1")),
        (b"{}" + b" " * 8190, PushOptions()),
        (b'{"id":"' + b"\\u0001" * 512 + b'"}', PushOptions(id="\1" * 512)),
    ],
)
def test_good_options(raw, options):
    assert parse_options(raw) == options


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"[]", "object"),
        (b"{", "JSON"),
        (b"\xff", "JSON"),
        (b"[" * 8000, "JSON"),
        (b"{}" + b" " * 8191, "8193 bytes"),
        (b'{"colour":1}', "colour"),
        (b'{"to":"nobody"}', "to"),
        (b'{"to":["all"]}', "to"),
        (b'{"ttl":-1}', "ttl"),
        (b'{"ttl":1.5}', "ttl"),
        (b'{"ttl":true}', "ttl"),
        (b'{"wait":"long"}', "wait"),
        (b'{"collapse":""}', "collapse"),
        (b'{"id":7}', "id"),
        (b'{"id":""}', "id"),
        (b'{"id":"' + b"x" * 513 + b'"}', "id"),
        (b'{"id":"\\ud800"}', "id"),
        (b'{"timeout_ms":0}', "timeout_ms"),
        (b'{"timeout_ms":600001}', "timeout_ms"),
        (b'{"signal":"SUB"}', "signal"),
        (b'{"signal":"SHOUT"}', "signal"),
        (b'{"signal":true}', "signal"),
        (b'{"sub_signal":128}', "sub_signal"),
        (b'{"sub_signal":-1}', "sub_signal"),
    ],
)
def test_bad_options_are_named(raw, named):
    with pytest.raises(RequestError, match=named) as caught:
        parse_options(raw)
    assert caught.value.code == "bad_options"


@given(st.sampled_from([b"PUSH1", b"PUSH2"]), st.lists(st.binary(max_size=30), max_size=7))
def test_noise_raises_nothing_but_request_errors(command, frames):
    with suppress(RequestError):
        decode_push([command, *frames])


def test_answers():
    assert requests.encode_done(b"r", b"\x00\x03") == [b"DONE1", b"r", b"\x00\x03", b""]
    command, request_id, body = requests.encode_fail(b"r", RequestError("overloaded", "wait"), retry_after_ms=50)
    assert (command, request_id) == (b"FAIL1", b"r")
    assert ujson.loads(body) == {"code": "overloaded", "message": "wait", "retry_after_ms": 50}
