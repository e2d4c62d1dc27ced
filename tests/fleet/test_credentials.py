"""AUTH: who may bind what, with credentials signed by HS256 and EdDSA keys, for every kind of client."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.clients.conversations import Conversation
from tests.clients.endings import expect_end
from tests.clients.kinds import KINDS, connect
from tests.clients.packets import AUTH, DISCONNECT, PING, SUB, Packet
from tests.clients.senders import SENT, RawSender
from tests.fleet.fleet_process import Fleet
from tests.fleet.observations import Closings

AUDIENCE = "push-gateway"
SECRET = "an HS256 key of more than thirty-two bytes"
ED25519 = Ed25519PrivateKey.generate()

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The keys that verify credentials."""
    public = ED25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    keys = [{"kid": "hs", "alg": "HS256", "key": SECRET}, {"kid": "ed", "alg": "EdDSA", "key": public.decode()}]
    path.write_text(json.dumps(keys))
    return path


@pytest.fixture(scope="module")
def fleet(keys_file: Path) -> Iterator[Fleet]:
    """A fleet that takes credentials and does not insist on them."""
    with Fleet(worker_heartbeat_ms=100, auth_keys_file=keys_file, open_subscribe="no") as started:
        yield started


@pytest.fixture(scope="module")
def strict_fleet(keys_file: Path) -> Iterator[Fleet]:
    """A fleet that insists on credentials."""
    with Fleet(worker_heartbeat_ms=100, auth_keys_file=keys_file, auth_required=1) as started:
        yield started


def credential(algorithm: str = "HS256", key: Any = SECRET, kid: str | None = "hs", **claims: Any) -> str:
    """A JWT for alice, good for a minute; `claims` replace or (None) leave out."""
    fields = {"sub": "alice", "aud": AUDIENCE, "exp": time.time() + 60, **claims}
    headers = {"kid": kid} if kid else {}
    kept = {name: value for name, value in fields.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm, headers=headers)


def prove(client: Conversation, **claims: Any) -> None:
    """AUTH, which must be good."""
    assert client.ask(AUTH, {"credential": credential(**claims)}) == {"status": 200}


@pytest.mark.parametrize("algorithm", ["HS256", "EdDSA"])
@every_kind
def test_credential_and_the_token_that_it_names(strict_fleet: Fleet, kind: str, algorithm: str) -> None:
    """The connection is the credential's uid, also after it was handed over to the owner of its token."""
    key = {"HS256": {}, "EdDSA": {"algorithm": "EdDSA", "key": ED25519, "kid": "ed"}}[algorithm]
    with RawSender(strict_fleet.endpoint) as sender:
        for number in range(4):
            token = f"phone-{kind}-{algorithm}-{number}"
            with connect(kind, strict_fleet.address) as client:
                prove(client, token=token, **key)
                client.subscribe(token)
                assert sender.find(token)["uid"] == "alice"
                assert sender.push(token, b"hello") == SENT
                assert client.read_push().body == b"hello"


@every_kind
def test_sub_without_the_credential_that_is_required(strict_fleet: Fleet, kind: str) -> None:
    closings = Closings(strict_fleet, "rejected")
    with connect(kind, strict_fleet.address) as client:
        assert client.ping(30) == 30
        assert client.ask(SUB, {"token": "phone"})["status"] == 401
        expect_end(client, "rejected")
    closings.expect(1)


def bad_credentials() -> dict[str, object]:
    """Each must be turned away."""
    good = credential()
    head, body, signature = good.split(".")
    return {
        "no JWT": "hello",
        "empty": "",
        "huge": "x" * 100_000,
        "signature cut": f"{head}.{body}.{signature[:-4]}",
        "signature of another": f"{head}.{body}.{credential(sub='bob').split('.')[2]}",
        "another key": credential(key="another HS256 key of more than thirty-two bytes"),
        "unknown kid": credential(kid="other"),
        "no kid": credential(kid=None),
        "expired": credential(exp=time.time() - 1),
        "without exp": credential(exp=None),
        "without aud": credential(aud=None),
        "another audience": credential(aud="somebody-else"),
        "without sub": credential(sub=None),
        "not valid yet": credential(nbf=time.time() + 60),
        "no signature": jwt.encode({"sub": "alice"}, "", algorithm="none", headers={"kid": "hs"}),
        "another algorithm of that key": credential(algorithm="HS512", key=SECRET * 2),
        "EdDSA under the HS256 key's name": credential(algorithm="EdDSA", key=ED25519),
    }


@pytest.mark.parametrize("name", bad_credentials())
@pytest.mark.parametrize("kind", ["v0", "v2", "ws_snake"])
def test_bad_credentials(fleet: Fleet, kind: str, name: str) -> None:
    """Status 401 and why, then closed; the log tells neither key nor credential."""
    closings = Closings(fleet, "rejected")
    said = bad_credentials()[name]
    with connect(kind, fleet.address) as client:
        answer = client.ask(AUTH, {"credential": said})
        assert answer["status"] == 401
        assert answer["message"]
        expect_end(client, "rejected")
    (line,) = closings.expect(1)
    assert not said or str(said)[:200] not in line
    assert SECRET not in line


@pytest.mark.parametrize("fields", [{}, {"credential": 7}, {"credential": None}, {"credential": ["x"]}])
def test_credential_that_is_no_text(fleet: Fleet, fields: dict[str, object]) -> None:
    with connect("v2", fleet.address) as client:
        assert client.ask(AUTH, fields)["status"] == 400
        expect_end(client, "rejected")


@every_kind
def test_tokens_that_a_credential_does_not_name(fleet: Fleet, kind: str) -> None:
    for token in ("tablet", None):
        with connect(kind, fleet.address) as client:
            prove(client, tokens=["phone", "watch"])
            assert client.ask(SUB, {} if token is None else {"token": token})["status"] == 403
            expect_end(client, "rejected")
    with connect(kind, fleet.address) as client:
        prove(client, tokens=["phone", "watch"])
        assert client.ask(SUB, {"token": "watch", "uid": "bob"})["status"] == 403
        expect_end(client, "rejected")
    with connect(kind, fleet.address) as client:
        prove(client, token="phone", tokens=["watch"])
        client.subscribe("phone", uid="alice")


@every_kind
def test_token_of_somebody_with_a_credential(fleet: Fleet, kind: str) -> None:
    """SUB for it without that login, or with another's, is 403; with it, the newer connection replaces the older."""
    token = f"owned-{kind}"
    with connect(kind, fleet.address) as first, RawSender(fleet.endpoint) as sender:
        prove(first, token=token)
        first.subscribe(token)
        with connect(kind, fleet.address) as nobody:
            assert nobody.ask(SUB, {"token": token})["status"] == 403
            expect_end(nobody, "rejected")
        with connect(kind, fleet.address) as other:
            prove(other, sub="bob", token=token)
            assert other.ask(SUB, {"token": token})["status"] == 403
            expect_end(other, "rejected")
        assert sender.push(token, b"mine") == SENT
        assert first.read_push().body == b"mine"
        with connect(kind, fleet.address) as second:
            prove(second, token=token)
            second.subscribe(token)
            assert first.read_disconnect()["reason"] == "replaced"
            expect_end(first, "replaced")


@pytest.mark.parametrize("pause", [0.05, 0.0], ids=["lively", "over its rate"])
@pytest.mark.parametrize("kind", ["v0", "v2", "ws_snake"])
def test_credential_expires(fleet: Fleet, kind: str, pause: float) -> None:
    """DISCONNECT when `exp` comes, whatever the client sends."""
    closings = Closings(fleet, "credential_expired")
    token = f"short-{kind}-{pause}"
    with connect(kind, fleet.address) as client:
        expires = int(time.time()) + 3
        prove(client, token=token, exp=expires)
        client.subscribe(token)
        packet = Packet(PING)
        while packet.signal == PING:
            assert time.time() < expires + 4, "still open"
            client.send(PING)
            packet = client.read()
            time.sleep(pause)
        assert packet.signal == DISCONNECT
        assert json.loads(packet.body)["reason"] == "credential_expired"
        assert time.time() >= expires - 0.1
        expect_end(client, "credential_expired")
    closings.expect(1)


def test_credential_after_sub(fleet: Fleet) -> None:
    with connect("v2", fleet.address) as client:
        client.subscribe("bound-first")
        assert client.ask(AUTH, {"credential": credential()})["status"] == 409
        assert client.ping(30) == 30


def test_credential_where_none_are_set_up(shared_fleet: Fleet) -> None:
    with connect("v2", shared_fleet.address) as client:
        assert client.ask(AUTH, {"credential": credential()})["status"] == 501
        expect_end(client, "rejected")
