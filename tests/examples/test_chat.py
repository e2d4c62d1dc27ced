"""The chat of examples/: its service with JSON and protobuf clients of a real fleet."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tests.clients.kinds import connect
from tests.examples.chatters import CHAT, PROTOBUFS, JsonChatter, ProtobufChatter, protobuf_classes
from tests.examples.programs import Program
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(services="subscribe,group,message-cache", protobuf_dir=str(PROTOBUFS)) as started:
        yield started


@pytest.fixture(scope="module")
def service(fleet: Fleet) -> Iterator[Program]:
    """The chat service, which answers."""
    with Program([sys.executable, str(CHAT / "service.py")], fleet.environ) as program:
        with connect("ws_camel", fleet.address) as client:
            client.subscribe("first")
            first = JsonChatter(client)
            wait_until(lambda: first.ask("MMI").get("name") == "first", "the chat service")
        yield program
        program.tell(signal.SIGTERM)
        assert program.ended() == 0


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return protobuf_classes(tmp_path_factory.mktemp("protoc"))


@pytest.fixture
def alice(fleet: Fleet, service: Program) -> Iterator[JsonChatter]:
    with connect("ws_camel", fleet.address) as client:
        client.subscribe("alice")
        alice = JsonChatter(client)
        assert alice.ask("MMI", displayName="Alice") == {"name": "alice", "displayName": "Alice", "online": False}
        alice.catch_up()
        yield alice


@pytest.fixture
def bob(fleet: Fleet, service: Program, classes: Any) -> Iterator[ProtobufChatter]:
    with connect("v2", fleet.address) as client:
        client.subscribe("bob")
        bob = ProtobufChatter(client, classes)
        assert bob.ask("MMI", classes.OwnInfo(), classes.User) == classes.User(name="bob", display_name="bob")
        bob.catch_up()
        yield bob


def test_the_descriptors_are_those_of_the_proto(tmp_path: Path) -> None:
    made = tmp_path / "chat.binpb"
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOBUFS}", f"--descriptor_set_out={made}", "chat.proto"]
    subprocess.run(protoc, check=True, timeout=60)
    kept = (PROTOBUFS / "chat.binpb").read_bytes()
    assert FileDescriptorSet.FromString(made.read_bytes()) == FileDescriptorSet.FromString(kept)


def test_messages_go_both_ways(alice: JsonChatter, bob: ProtobufChatter, classes: Any) -> None:
    kept = alice.ask("MS", user="bob", text="你好 <b>", clientId="1")
    assert (kept["sender"], kept["user"], kept["text"]) == ("alice", "bob", "你好 <b>")
    heard = bob.hear_message()
    assert (heard.id, heard.sender, heard.user, heard.text) == (kept["id"], "alice", "bob", "你好 <b>")
    assert heard.sent_ms == kept["sentMs"]

    answer = bob.ask("MS", classes.NewMessage(user="alice", text="good day"), classes.Message)
    heard = alice.hear_message()
    assert heard == {"id": answer.id, "sender": "bob", "user": "alice", "text": "good day", "sentMs": answer.sent_ms}
    assert answer.id > kept["id"]

    pulled = alice.ask("MP", after=kept["id"] - 1)
    assert [message["id"] for message in pulled["messages"]] == [kept["id"], answer.id]
    assert pulled["more"] is False
    assert bob.ask("MP", classes.Pull(after=kept["id"], most=1), classes.Pulled).messages[0] == answer


def test_a_message_that_is_said_again_is_kept_once(alice: JsonChatter, bob: ProtobufChatter) -> None:
    first = alice.ask("MS", user="bob", text="once", clientId="again")
    assert alice.ask("MS", user="bob", text="once", clientId="again") == first
    assert [bob.hear_message().id for _ in range(2)] == [first["id"]] * 2
    assert [message["text"] for message in alice.ask("MP", after=first["id"] - 1)["messages"]] == ["once"]


def test_people(alice: JsonChatter, bob: ProtobufChatter, classes: Any) -> None:
    assert {"name": "bob", "displayName": "bob", "online": True} in alice.ask("FP")["users"]
    assert {"name": "first", "displayName": "first", "online": False} in alice.ask("FP")["users"]
    users = bob.ask("FP", classes.Nothing(), classes.Users).users
    assert classes.User(name="alice", display_name="Alice", online=True) in users
    assert "bob" not in [user.name for user in users]
    known = bob.ask("UPUI", classes.Names(names=["alice", "nobody"]), classes.Users).users
    assert [(user.name, user.display_name) for user in known] == [("alice", "Alice")]


def test_a_group(fleet: Fleet, alice: JsonChatter, bob: ProtobufChatter, classes: Any) -> None:
    made = alice.ask("GC", title="tea", members=["bob"])
    assert (made["title"], made["owner"]) == ("tea", "alice")
    assert bob.hear_message().text == alice.hear_message()["text"] == "Alice has made the group tea"
    group = made["group"]
    assert alice.ask("GPGI") == {"groups": [made]}
    found = bob.ask("GPGI", classes.GroupNames(groups=[group]), classes.Groups).groups
    assert [(one.group, one.title, one.owner) for one in found] == [(group, "tea", "alice")]
    members = bob.ask("GPGM", classes.GroupName(group=group), classes.Users).users
    assert [user.name for user in members] == ["alice", "bob"]

    said = bob.ask("MS", classes.NewMessage(group=group, text="milk?"), classes.Message)
    assert bob.hear_message() == said
    assert alice.hear_message() == {
        "id": said.id,
        "sender": "bob",
        "group": group,
        "text": "milk?",
        "sentMs": said.sent_ms,
    }
    with connect("ws_camel", fleet.address) as client:
        client.subscribe("mallory")
        mallory = JsonChatter(client)
        assert mallory.ask("GPGI", groups=[group]) == {"groups": []}
        assert mallory.ask("GPGM", group=group)["code"] == 2
        assert mallory.ask("MS", group=group, text="hello")["code"] == 2
        assert mallory.ask("MP") == {"messages": [], "more": False}


def test_who_was_away_gets_it_on_return(fleet: Fleet, alice: JsonChatter, bob: ProtobufChatter, classes: Any) -> None:
    group = alice.ask("GC", title="cake", members=["bob"])["group"]
    made = bob.hear_message()
    assert made.group == group
    bob.client.wire.close()
    wait_until(lambda: not _is_online(alice, "bob"), "bob is away")
    alice.ask("MS", user="bob", text="when you are back")
    alice.ask("MS", group=group, text="there is cake")
    with connect("v1", fleet.address) as client:
        client.subscribe("bob")
        returned = ProtobufChatter(client, classes)
        returned.position = made.id
        assert [returned.hear_message().text for _ in range(2)] == ["when you are back", "there is cake"]


def _is_online(asker: JsonChatter, name: str) -> bool:
    return next(user for user in asker.ask("FP")["users"] if user["name"] == name)["online"]


@pytest.mark.parametrize(
    ("topic", "fields", "code", "words"),
    [
        ("MS", {"user": "nobody", "text": "x"}, 2, "there is no nobody"),
        ("MS", {"user": "alice"}, 1, "text is missing"),
        ("MS", {"text": "x"}, 1, "user or group is missing"),
        ("MS", {"user": "alice", "text": "x" * 4001}, 1, "text of 4001 characters exceeds the limit of 4000"),
        ("MS", {"user": 1}, 1, "content is no chat.NewMessage"),
        ("GC", {"members": ["alice"]}, 1, "a group has a title and at most 100 members, all of them known"),
        ("GC", {"title": "x", "members": ["nobody"]}, 1, None),
        ("GC", {"title": "x", "members": [str(number) for number in range(1000)]}, 1, None),
        ("GPGM", {}, 2, "not a member of this group"),
    ],
)
def test_refusals(alice: JsonChatter, topic: str, fields: dict[str, Any], code: int, words: str | None) -> None:
    answer = alice.ask(topic, **fields)
    assert answer["code"] == code
    assert words in (None, answer["message"])


def test_a_body_that_is_no_protobuf(bob: ProtobufChatter) -> None:
    body = bob.publish("MS", b"\xff\xff")
    assert (body[0], body[1:]) == (1, b"body is no chat.NewMessage")
