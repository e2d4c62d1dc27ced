"""A login as clients in the field do it: over HTTP, and then CONNECT over every protocol."""

import http.client
import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from shared.protobufs.registries import Registry
from shared.signals import SubSignal
from shared.startup.protobuf_files import load_registry
from tests.clients.conversations import Conversation
from tests.clients.frames import TEXT, Frame, encode_frame
from tests.clients.kinds import connect
from tests.clients.packets import AUTH, CONNECT, CONNECT_ACK, DISCONNECT, SUB, Packet
from tests.clients.senders import OFFLINE, SENT, STORED, RawSender
from tests.clients.websocket import TextClient
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until
from tests.services.login.openssl import openssl_aes

CLIENT_KEY = bytes.fromhex("001122334455667778797a7b7c7d7e7f")
MOBILE, CODE = 13900000001, 556677
SIGNING = "login-key-of-a-test-" * 2
KINDS = ["v1", "v2", "ws_snake", "ws_camel", "ws_binary"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    keys = tmp_path_factory.mktemp("keys")
    (keys / "verify.json").write_text(json.dumps([{"kid": "k", "alg": "HS256", "key": SIGNING}]))
    (keys / "sign.json").write_text(json.dumps({"kid": "k", "alg": "HS256", "key": SIGNING}))
    with Fleet(
        status=True,
        services="subscribe,login,message-cache",
        open_subscribe="no",
        worker_heartbeat_ms=100,
        login_demo_codes=f"{MOBILE}:{CODE},13900000002:1234",
        login_tries_max=1000,
        auth_keys_file=str(keys / "verify.json"),
        login_signing_key_file=str(keys / "sign.json"),
    ) as started:
        wait_until(lambda: post(started, "/login", {})[0] == 200, "the API reaches the login service")
        yield started


def post(fleet: Fleet, path: str, fields: object) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(fleet.host, fleet.api_port, timeout=10)
    try:
        connection.request("POST", path, json.dumps(fields), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


class Login:
    """What a client knows after its login. The cryptography is openssl's."""

    def __init__(self, fleet: Fleet, client: str, mobile: int = MOBILE, code: int = CODE) -> None:
        status, said = post(fleet, "/login", {"mobile": mobile, "code": code, "clientId": client})
        assert (status, said["code"], said["message"]) == (200, 0, "success"), said
        self.client, self.uid, self.credential = client, said["result"]["userId"], said["result"]["credential"]
        opened = openssl_aes(b64decode(said["result"]["token"]), CLIENT_KEY, decrypt=True)
        self.usertoken, secret, _ = opened[4:].decode().split("|")
        self.key = secret[:16].encode()
        self.password = b64encode(openssl_aes(b"\0\0\0\0" + b64decode(self.usertoken), self.key)).decode()

    @property
    def fields(self) -> dict[str, str]:
        return {"userName": self.uid, "password": self.password, "clientIdentifier": self.client}


def say(client: TextClient, text: str) -> None:
    """A text frame."""
    client.write(encode_frame(Frame(TEXT, text.encode())))


def log_in(client: Conversation, fields: dict[str, str]) -> Packet:
    client.send(CONNECT, fields, message_id=3)
    answer = client.read()
    assert (answer.signal, answer.message_id) == (CONNECT_ACK, 3)
    return answer


@pytest.mark.parametrize("kind", KINDS)
def test_a_login_and_connect(fleet: Fleet, kind: str) -> None:
    login = Login(fleet, f"device-{kind}")
    with connect(kind, fleet.address) as client, RawSender(fleet.endpoint) as sender:
        ack = log_in(client, login.fields)
        assert ack.sub_signal == SubSignal.CONNECTION_ACCEPTED
        if isinstance(client, TextClient):
            fields = json.loads(ack.body)
        else:
            registry: Registry | None = load_registry(fleet.settings)
            assert registry is not None
            fields = json.loads(registry.to_json(CONNECT_ACK, SubSignal.CONNECTION_ACCEPTED, "answer", ack.body))
        assert fields.keys() == {
            "friendHead", "friendRqHead", "messageHead", "settingHead", "nodeAddr", "nodePort", "serverTime",
        }  # fmt: skip
        assert fields["messageHead"] == "0"
        assert fields["serverTime"] > 1.7e12
        assert sender.push(login.client, b"hello") == SENT
        assert client.read_push().body == b"hello"
        found = sender.find(login.client)
        assert found["uid"] == login.uid


def test_one_login_is_good_on_every_worker_and_protocol(fleet: Fleet) -> None:
    login = Login(fleet, "roams")
    for kind in KINDS * 2:
        with connect(kind, fleet.address) as client:
            assert log_in(client, login.fields).sub_signal == SubSignal.CONNECTION_ACCEPTED


def test_the_web_client_and_its_heartbeat(fleet: Fleet) -> None:
    """camelCase names, upper-case signals, an object as content; the bare heartbeat has no answer."""
    login = Login(fleet, "web")
    with connect("ws_camel", fleet.address) as client, RawSender(fleet.endpoint) as sender:
        assert isinstance(client, TextClient)
        say(client, json.dumps({"signal": "CONNECT", "subSignal": "NONE", "messageId": 1, "content": login.fields}))
        said = json.loads(client.socket.read_message().payload)
        assert (said["signal"], said["subSignal"], said["messageId"]) == ("CONNECT_ACK", "CONNECTION_ACCEPTED", 1)
        assert isinstance(said["content"], str)
        say(client, "心跳内容")
        assert sender.push("web", b"next") == SENT
        assert client.read_push().body == b"next"


def test_refusals(fleet: Fleet) -> None:
    login = Login(fleet, "refused")
    other = Login(fleet, "other", 13900000002, 1234)
    cases = [
        ({**login.fields, "password": other.password}, SubSignal.CONNECTION_REFUSED_BAD_USER_NAME_OR_PASSWORD),
        ({**login.fields, "password": "AAAA"}, SubSignal.CONNECTION_REFUSED_BAD_USER_NAME_OR_PASSWORD),
        ({**login.fields, "userName": other.uid}, SubSignal.CONNECTION_REFUSED_SESSION_NOT_EXIST),
        ({**login.fields, "clientIdentifier": ""}, SubSignal.CONNECTION_REFUSED_IDENTIFIER_REJECTED),
    ]
    for fields, refused in cases:
        with connect("v2", fleet.address) as client:
            assert log_in(client, fields).sub_signal == refused
            client.read_close()
    with connect("v2", fleet.address) as client:
        assert log_in(client, login.fields).sub_signal == SubSignal.CONNECTION_ACCEPTED
        assert log_in(client, login.fields).sub_signal == SubSignal.CONNECTION_REFUSED_IDENTIFIER_REJECTED
        client.read_close()
    with connect("v2", fleet.address) as client:  # SUB with a token of a login
        answer = client.ask(SUB, {"token": "refused"})
        assert answer["status"] == 403
        client.read_close()


def test_wrong_codes(fleet: Fleet) -> None:
    for fields in ({"mobile": MOBILE, "code": 1111, "clientId": "x"}, {"mobile": "x"}, {}):
        status, said = post(fleet, "/login", fields)
        assert (status, said["code"]) == (200, 1)
        assert "result" not in said
    assert post(fleet, "/send_code", {"mobile": MOBILE}) == (200, {"code": 0, "message": "success"})
    assert post(fleet, "/login", [])[0] == 400


def test_a_credential_is_good_for_auth(fleet: Fleet) -> None:
    login = Login(fleet, "new-client")
    with connect("v2", fleet.address) as client:
        assert client.ask(AUTH, {"credential": login.credential})["status"] == 200
        assert client.subscribe("new-client")["status"] == 200


def test_the_end_of_a_session(fleet: Fleet) -> None:
    login = Login(fleet, "leaves")
    with RawSender(fleet.endpoint) as sender:
        with connect("v2", fleet.address) as client:
            log_in(client, login.fields)
        wait_until(lambda: sender.push("leaves", b"x") == OFFLINE, "it is away")
        assert sender.push("leaves", b"kept", ttl=60) == STORED
        with connect("v2", fleet.address) as client:
            log_in(client, login.fields)
            assert client.read_push().body == b"kept"
            client.send(DISCONNECT, b"\x01")
            client.read_close()
    with connect("v2", fleet.address) as client:
        wait_until(lambda: ended(fleet, login), "the session has ended")
        assert log_in(client, login.fields).sub_signal == SubSignal.CONNECTION_REFUSED_SESSION_NOT_EXIST


def ended(fleet: Fleet, login: Login) -> bool:
    with connect("v2", fleet.address) as client:
        return log_in(client, login.fields).sub_signal == SubSignal.CONNECTION_REFUSED_SESSION_NOT_EXIST
