"""What is asked of the group service: literal bodies."""

import msgpack
import pytest
import ujson

from services.group.requests import TO_GROUP, TO_TOKEN, parse_contact, parse_group_request
from services.library import Refusal


def test_a_contact_names_its_sender_and_keeps_the_rest():
    body = '{"type": 0, "from": "forged", "to": "bob", "message": "你好", "more": [1]}'.encode()
    contact = parse_contact(body, "alice")
    assert contact[:3] == (TO_TOKEN, "alice", "bob")
    assert ujson.loads(contact.body) == {"type": 0, "from": "alice", "to": "bob", "message": "你好", "more": [1]}
    assert parse_contact(b'{"type": 1, "group": "g"}', "alice")[:3] == (TO_GROUP, "alice", "g")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"type": 2, "to": "bob"}', "type is neither"),
        (b'{"type": true, "to": "bob"}', "type is neither"),
        (b'{"type": "0", "to": "bob"}', "type is neither"),
        (b'{"type": 0}', "to is missing"),
        (b'{"type": 0, "to": 7}', "to is missing"),
        (b'{"type": 0, "to": "a\\n"}', "to is missing"),
        (b'{"type": 1, "to": "bob"}', "group is missing"),
    ],
)
def test_contacts_that_are_none(body: bytes, fault: str):
    with pytest.raises(Refusal) as refused:
        parse_contact(body, "alice")
    said = ujson.loads(refused.value.body)
    assert said["status"] == 400
    assert fault in said["message"]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({}, "group is missing"),
        ({"group": ""}, "group is missing"),
        ({"group": "g" * 256}, "group is missing"),
        ({"group": "g", "by": 5}, "by is missing"),
        ({"group": "g", "tokens": "alice"}, "tokens is not a list"),
        ({"group": "g", "tokens": [1]}, "one of tokens"),
        ({"group": "g", "uids": ["\x7f"]}, "one of uids"),
        ({"group": "g", "tokens": ["a"] * 100_001}, "at most 100000"),
    ],
)
def test_requests_that_are_none(fields: dict[str, object], fault: str):
    with pytest.raises(Refusal) as refused:
        parse_group_request(fields)
    said = msgpack.unpackb(refused.value.body)
    assert said["status"] == 400
    assert fault in said["message"]
