"""A login as clients in the field do it: over HTTP, and then CONNECT over every protocol."""

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from shared.signals import SubSignal
from tests.clients.endings import expect_end
from tests.clients.frames import TEXT, Frame, encode_frame
from tests.clients.kinds import connect
from tests.clients.packets import AUTH, DISCONNECT, SUB
from tests.clients.senders import OFFLINE, SENT, STORED, RawSender
from tests.clients.websocket import TextClient
from tests.fleet.fleet_process import Fleet
from tests.fleet.logins import Login, log_in, post
from tests.fleet.processes import wait_until
from tests.services.pushctl.runs import run

MOBILE, CODE = 13900000001, 556677
OTHER = 13900000002, 1234
FLOODED = 13900000003
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
        login_demo_codes=f"{MOBILE}:{CODE},{OTHER[0]}:{OTHER[1]},{FLOODED}:5555",
        login_tries_max=1000,
        login_address_per_hour=1_000_000,
        heartbeat_min_s=1,
        auth_keys_file=str(keys / "verify.json"),
        login_signing_key_file=str(keys / "sign.json"),
    ) as started:
        wait_until(lambda: post(started, "/login", {})[0] == 200, "the API reaches the login service")
        yield started


def login_as(fleet: Fleet, client: str, mobile: int = MOBILE, code: int = CODE) -> Login:
    return Login(fleet, client, mobile, code)


def other_login(fleet: Fleet, client: str) -> Login:
    """Of another user."""
    return Login(fleet, client, *OTHER)


#: As docs/client-protocol.md has it, so that the test does not read the bytes as the gateway does.
ACK_PROTO = """
syntax = "proto3";
package field_client;
message Ack {
  int64 msg_head = 1; int64 friend_head = 2; int64 friend_rq_head = 3; int64 setting_head = 4;
  string node_addr = 5; int32 node_port = 6; int64 server_time = 7;
}
"""


@pytest.fixture(scope="module")
def ack_class(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What protoc makes of the message."""
    directory = tmp_path_factory.mktemp("protoc")
    (directory / "field_ack.proto").write_text(ACK_PROTO)
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--python_out=.", "field_ack.proto"]
    subprocess.run(protoc, cwd=directory, check=True, timeout=60)
    return imported(directory / "field_ack_pb2.py").Ack


def imported(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def say(client: TextClient, text: str) -> None:
    """A text frame."""
    client.write(encode_frame(Frame(TEXT, text.encode())))


@pytest.mark.parametrize("kind", KINDS)
def test_a_login_and_connect(fleet: Fleet, kind: str, ack_class: Any) -> None:
    login = login_as(fleet, f"device-{kind}")
    with connect(kind, fleet.address) as client, RawSender(fleet.endpoint) as sender:
        ack = log_in(client, login.fields)
        assert ack.sub_signal == SubSignal.CONNECTION_ACCEPTED
        if isinstance(client, TextClient):
            fields = json.loads(ack.body)
            server_time = fields.pop("serverTime")
            assert fields == {
                "friendHead": 0, "friendRqHead": 0, "messageHead": "0", "settingHead": 0, "nodeAddr": "", "nodePort": 0,
            }  # fmt: skip
        else:
            message = ack_class.FromString(ack.body)
            server_time = message.server_time
            assert (message.msg_head, message.node_addr, message.node_port) == (0, "", 0)
        assert abs(server_time / 1000 - time.time()) < 600
        assert sender.push(login.client, b"hello") == SENT
        assert client.read_push().body == b"hello"
        assert sender.find(login.client)["uid"] == login.uid


def test_one_login_is_good_on_every_worker_and_protocol(fleet: Fleet) -> None:
    login = login_as(fleet, "roams")
    for kind in KINDS * 2:
        with connect(kind, fleet.address) as client:
            assert log_in(client, login.fields).sub_signal == SubSignal.CONNECTION_ACCEPTED


def test_the_web_client_and_its_heartbeat(fleet: Fleet) -> None:
    """camelCase names, upper-case signals, an object as content; the bare heartbeat has no answer."""
    login = login_as(fleet, "web")
    with connect("ws_camel", fleet.address) as client, RawSender(fleet.endpoint) as sender:
        assert isinstance(client, TextClient)
        say(client, json.dumps({"signal": "CONNECT", "subSignal": "NONE", "messageId": 1, "content": login.fields}))
        said = json.loads(client.socket.read_message().payload)
        assert (said["signal"], said["subSignal"], said["messageId"]) == ("CONNECT_ACK", "CONNECTION_ACCEPTED", 1)
        assert isinstance(said["content"], str)
        say(client, "心跳内容")
        assert sender.push("web", b"next") == SENT
        assert client.read_push().body == b"next"


def test_the_bare_heartbeat_keeps_a_connection(fleet: Fleet) -> None:
    """For longer than its deadline of 1.5 s; and not longer than it comes."""
    login = login_as(fleet, "beats")
    with connect("ws_camel", fleet.address) as client:
        assert isinstance(client, TextClient)
        assert log_in(client, login.fields).sub_signal == SubSignal.CONNECTION_ACCEPTED
        assert client.ping(1) == 1
        for _ in range(12):
            say(client, "心跳内容")
            assert client.wire.silent_for(0.3)
        assert client.ping() == 1
        assert client.read_disconnect()["reason"] == "heartbeat_timeout"


def test_refusals(fleet: Fleet) -> None:
    login = login_as(fleet, "refused")
    other = other_login(fleet, "other")
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


def test_tries_of_a_number_are_limited() -> None:
    with Fleet(
        status=True, services="login", login_demo_codes=f"{FLOODED}:5555", login_tries_max=3, workers=1
    ) as limited:
        wait_until(lambda: post(limited, "/login", {})[0] == 200, "the API reaches the login service")
        for _ in range(3):
            assert post(limited, "/login", {"mobile": FLOODED, "code": 1111, "clientId": "x"})[0] == 200
        status, said = post(limited, "/login", {"mobile": FLOODED, "code": 5555, "clientId": "x"})
        assert (status, said["code"]) == (429, 1)
        code_of = "13800000000"
        assert post(limited, "/send_code", {"mobile": code_of})[0] == 200
        wait_until(lambda: f"the code of {code_of} is" in limited.log("login"), "the code is in the log")
        limited.kill_service("login")
        wait_until(lambda: post(limited, "/login", {})[0] == 503, "it is gone")


def test_a_credential_is_good_for_auth(fleet: Fleet) -> None:
    login = login_as(fleet, "new-client")
    with connect("v2", fleet.address) as client:
        assert client.ask(AUTH, {"credential": login.credential})["status"] == 200
        assert client.subscribe("new-client")["status"] == 200
    with connect("v2", fleet.address) as client:  # without it
        assert client.ask(SUB, {"token": "new-client"})["status"] == 403


def test_a_token_of_a_credential_signed_elsewhere_is_nobody_elses(fleet: Fleet) -> None:
    """While its client is away too, until it expires."""
    claims = {"sub": "of-elsewhere", "token": "tablet-of-elsewhere", "aud": "push-gateway", "exp": time.time() + 60}
    credential = jwt.encode(claims, SIGNING, headers={"kid": "k"})
    with connect("v2", fleet.address) as client:
        assert client.ask(AUTH, {"credential": credential})["status"] == 200
        client.subscribe()
    login = login_as(fleet, "tablet-of-elsewhere")
    with connect("v2", fleet.address) as client:
        assert log_in(client, login.fields).sub_signal == SubSignal.CONNECTION_REFUSED_IDENTIFIER_REJECTED
    with connect("v2", fleet.address) as client:
        assert client.ask(AUTH, {"credential": login.credential})["status"] == 200
        assert client.ask(SUB, {"token": "tablet-of-elsewhere"})["status"] == 403
    with connect("v2", fleet.address) as client:
        assert client.ask(AUTH, {"credential": credential})["status"] == 200
        assert client.subscribe()["token"] == "tablet-of-elsewhere"


@pytest.mark.parametrize("fault", ["alg none", "other key", "expired"])
def test_a_forged_credential_of_a_login(fleet: Fleet, fault: str) -> None:
    login = login_as(fleet, "forged")
    claims = jwt.decode(login.credential, SIGNING, algorithms=["HS256"], audience="push-gateway")
    assert (claims["sub"], claims["token"]) == (login.uid, "forged")
    key, algorithm = SIGNING, "HS256"
    if fault == "expired":
        claims["exp"] = int(time.time()) - 1
    elif fault == "alg none":
        key, algorithm = "", "none"
    else:
        key = "another" * 8
    credential = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "k"})
    with connect("v2", fleet.address) as client:
        assert client.ask(AUTH, {"credential": credential})["status"] == 401
        expect_end(client, "rejected")


def test_the_end_of_a_session(fleet: Fleet) -> None:
    """It goes with what is stored, and the credential too; the token is free for another user, who gets nothing."""
    login = login_as(fleet, "leaves")
    with RawSender(fleet.endpoint) as sender:
        with connect("v2", fleet.address) as client:
            log_in(client, login.fields)
        wait_until(lambda: sender.push("leaves", b"x") == OFFLINE, "it is away")
        assert sender.push("leaves", b"kept", ttl=60) == STORED
        other = other_login(fleet, "leaves")
        with connect("v2", fleet.address) as client:
            assert log_in(client, other.fields).sub_signal == SubSignal.CONNECTION_REFUSED_IDENTIFIER_REJECTED
        with connect("v2", fleet.address) as client:
            log_in(client, login.fields)
            client.send(DISCONNECT, b"\x01")
        wait_until(lambda: answer_to(fleet, login) == SubSignal.CONNECTION_REFUSED_SESSION_NOT_EXIST, "it has ended")
        with connect("v2", fleet.address) as client:
            assert client.ask(AUTH, {"credential": login.credential})["status"] == 200
            refused = client.ask(SUB, {"token": "leaves"})
            assert refused["status"] == 403
        with connect("v2", fleet.address) as client:
            # What was stored may have been on its way to the first user already; the second must not see it.
            assert log_in(client, other.fields).sub_signal == SubSignal.CONNECTION_ACCEPTED
            assert sender.push("leaves", b"new") == SENT
            assert client.read_push().body == b"new"


def answer_to(fleet: Fleet, login: Login) -> int:
    with connect("v2", fleet.address) as client:
        return log_in(client, login.fields).sub_signal


def test_sessions_by_pushctl(fleet: Fleet) -> None:
    login, other = login_as(fleet, "office"), other_login(fleet, "home")
    environ = fleet.environ
    with connect("v2", fleet.address) as office, connect("ws_camel", fleet.address) as home:
        assert log_in(office, login.fields).sub_signal == SubSignal.CONNECTION_ACCEPTED
        assert log_in(home, other.fields).sub_signal == SubSignal.CONNECTION_ACCEPTED
        listed = run(environ, "user", "sessions", login.uid)
        assert listed.status == 0
        assert "office" in [line.split("\t")[0] for line in listed.stdout.splitlines()]
        assert run(environ, "user", "logout", login.uid, "office") == (0, "ended=1\n", "")
        assert office.read_disconnect()["reason"] == "kicked"
        assert answer_to(fleet, login) == SubSignal.CONNECTION_REFUSED_SESSION_NOT_EXIST
        assert run(environ, "user", "block", other.uid) == (0, "blocked=true\n", "")
        assert home.read_disconnect()["reason"] == "kicked"
    assert answer_to(fleet, other) == SubSignal.CONNECTION_REFUSED_NOT_AUTHORIZED
    status, said = post(fleet, "/login", {"mobile": OTHER[0], "code": OTHER[1], "clientId": "home"})
    assert (status, said) == (200, {"code": 1, "message": "this user is blocked"})
    with connect("v2", fleet.address) as client:
        assert client.ask(AUTH, {"credential": other.credential})["status"] == 200
        assert client.ask(SUB, {"token": "home"})["status"] == 403
    assert run(environ, "user", "sessions", other.uid).stderr == "this user is blocked\n"
    assert run(environ, "user", "sessions", other.uid, "--json").json["blocked"] is True
    assert run(environ, "user", "unblock", other.uid) == (0, "blocked=false\n", "")
    assert answer_to(fleet, other) == SubSignal.CONNECTION_ACCEPTED
    with RawSender(fleet.endpoint) as sender:
        wait_until(lambda: sender.push("home", b"x") == OFFLINE, "it is away")
        assert sender.push("home", b"for the other user", ttl=60) == STORED
        assert run(environ, "user", "logout", other.uid).stdout.startswith("ended=")
        with connect("v2", fleet.address) as client:
            assert log_in(client, login_as(fleet, "home").fields).sub_signal == SubSignal.CONNECTION_ACCEPTED
            assert sender.push("home", b"new") == SENT
            assert client.read_push().body == b"new"


def test_pushctl_without_a_login_service() -> None:
    with Fleet(workers=1) as without:
        refused = run(without.environ, "user", "sessions", "x", "--timeout", "0.5")
    assert (refused.status, refused.stderr) == (3, "pushctl: no login service runs\n")
