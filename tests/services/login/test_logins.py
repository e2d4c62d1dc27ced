"""Logging in and CONNECT, on a real storage in a file."""

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.credentials import Verifier
from services.library import ClientCall, Refusal
from services.login.channels import ChannelError
from services.login.connects import Connects
from services.login.endings import Endings
from services.login.logins import Logins, Rules
from services.login.settings import Keys, credentials
from services.login.tokens import seal_password
from services.storage.interfaces import Storage
from services.token_owners import Owners, ended_login
from shared.errors import CredentialError, SettingsError
from shared.settings import load
from shared.signals import SubSignal
from tests.services.login.openssl import openssl_aes

CLIENT_KEY = bytes.fromhex("001122334455667778797a7b7c7d7e7f")
RULES = Rules(
    session_s=3600,
    code_ttl_s=300,
    tries_max=5,
    codes_per_hour=3,
    address_per_hour=100,
    demo_codes={"13900000001": "556677"},
)
ACCEPTED, REJECTED = SubSignal.CONNECTION_ACCEPTED, SubSignal.CONNECTION_REFUSED_IDENTIFIER_REJECTED
WRONG = SubSignal.CONNECTION_REFUSED_BAD_USER_NAME_OR_PASSWORD
UNAVAILABLE = SubSignal.CONNECTION_REFUSED_SERVER_UNAVAILABLE
BLOCKED, NO_SESSION = SubSignal.CONNECTION_REFUSED_NOT_AUTHORIZED, SubSignal.CONNECTION_REFUSED_SESSION_NOT_EXIST


class Clock:
    now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


class Channel:
    """Keeps what it is to send."""

    def __init__(self) -> None:
        self.sent: dict[str, str] = {}
        self.fault = ""

    def send(self, mobile: str, code: str) -> None:
        if self.fault:
            raise ChannelError(self.fault)
        self.sent[mobile] = code


class Parts:
    """A login service without its bus."""

    def __init__(self, storage: Storage, sign: Any = None) -> None:
        self.clock, self.channel, self.storage = Clock(), Channel(), storage
        self.cleared: list[str] = []
        self.kicked: list[str] = []
        self.can_clear = True
        keys = Keys(CLIENT_KEY, b"s" * 32)
        self.logins = Logins(storage, keys, RULES, self.channel, sign, self.clock)  # type: ignore[arg-type]
        self.connects = Connects(storage, keys, self._clear, self.clock)
        self.endings = Endings(storage, self._clear, self.kicked.extend, self.clock)

    def _clear(self, token: str) -> bool:
        self.cleared.append(token)
        return self.can_clear

    def login(
        self, mobile: Any = 13900000001, code: Any = 556677, client: Any = "phone", **more: Any
    ) -> dict[str, Any]:
        return self.logins.login({"mobile": mobile, "code": code, "clientId": client, **more})

    def connect(self, uid: str, token: str, password: str) -> Any:
        body = json.dumps({"userName": uid, "password": password, "clientIdentifier": token}).encode()
        return self.connects.connect(ClientCall({"signal": 6, "sub_signal": 0, "protocol": "v2"}, body))


@pytest.fixture
def parts(storage: Storage) -> Parts:
    return Parts(storage)


def opened(answer: dict[str, Any]) -> tuple[str, str]:
    """(usertoken, secret) as a client reads them."""
    token = openssl_aes(b64decode(answer["result"]["token"]), CLIENT_KEY, decrypt=True)
    usertoken, secret, dbsecret = token[4:].decode().split("|")
    assert len(secret) >= 16
    assert dbsecret
    assert len(b64decode(usertoken)) % 8 == 0
    return usertoken, secret


def password_of(answer: dict[str, Any]) -> str:
    """As a client makes it, by openssl."""
    usertoken, secret = opened(answer)
    return b64encode(openssl_aes(b"\0\1\2\3" + b64decode(usertoken), secret[:16].encode())).decode()


def test_a_login_and_its_connect(parts: Parts):
    first = parts.login()
    assert (first["code"], first["message"], first["result"]["register"]) == (0, "success", True)
    again = parts.login("13900000001", "556677", "tablet")
    assert again["result"]["register"] is False
    uid = first["result"]["userId"]
    assert again["result"]["userId"] == uid
    for token, answer in (("phone", first), ("tablet", again)):
        code, body = parts.connect(uid, token, password_of(answer))
        assert code == ACCEPTED
        said = json.loads(body)
        assert (said["uid"], said["token"], said["expires"]) == (uid, token, parts.clock.now + 3600)
        assert b64decode(said["session_key"]) == opened(answer)[1][:16].encode()
    assert {device.token for device in parts.storage.devices.of(uid)} == {"phone", "tablet"}


def test_a_code_is_sent_and_good_once(parts: Parts):
    assert parts.logins.send_code({"mobile": 13800000000})["code"] == 0
    code = parts.channel.sent["13800000000"]
    assert len(code) == 6
    assert parts.login("13800000000", "0" + code)["code"] == 1
    assert parts.login("13800000000", code)["code"] == 0
    assert parts.login("13800000000", code) == {"code": 1, "message": "wrong code"}


def test_a_code_is_good_for_a_while(parts: Parts):
    parts.logins.send_code({"mobile": "13800000000"})
    parts.clock.now += 301
    assert parts.login("13800000000", parts.channel.sent["13800000000"])["message"] == "wrong code"


def test_tries_are_limited(parts: Parts):
    for _ in range(5):
        assert parts.login(code=1234)["message"] == "wrong code"
    refused = parts.login()
    assert (refused["code"], refused["retry_after_s"]) == (1, 300)
    parts.clock.now += 301
    assert parts.login()["code"] == 0


def test_codes_of_a_number_and_requests_of_an_address_are_limited(parts: Parts):
    for _ in range(3):
        assert parts.logins.send_code({"mobile": "13800000000"})["code"] == 0
    assert parts.logins.send_code({"mobile": "13800000000"})["retry_after_s"] == 3600
    answers = [parts.logins.send_code({"mobile": str(10_000 + number), "address": "a"}) for number in range(101)]
    assert [answer["code"] for answer in answers] == [0] * 100 + [1]


def test_demo_numbers_get_nothing(parts: Parts):
    assert parts.logins.send_code({"mobile": 13900000001})["code"] == 0
    assert parts.channel.sent == {}


def test_a_channel_that_fails(parts: Parts):
    parts.channel.fault = "timed out"
    answer = parts.logins.send_code({"mobile": "13800000000"})
    assert answer == {"code": 1, "message": "the code could not be sent: try again"}


@pytest.mark.parametrize(
    "fields",
    [
        {"mobile": None},
        {"mobile": "1 3"},
        {"mobile": True},
        {"code": "x"},
        {"code": 1.5},
        {"client": ""},
        {"client": 7},
        {"client": "\n"},
    ],
)
def test_bad_requests(parts: Parts, fields: dict[str, Any]):
    answer = parts.login(**fields)
    assert answer["code"] == 1
    assert "result" not in answer


def test_refused_connects(parts: Parts):
    answer = parts.login()
    uid, password = answer["result"]["userId"], password_of(answer)
    usertoken, secret = opened(answer)
    assert parts.connect(uid, "other", password)[0] == NO_SESSION
    assert parts.connect("other", "phone", password)[0] == NO_SESSION
    assert parts.connect(uid, "phone", "wrong")[0] == WRONG
    forged = b64encode(b"f" * 48).decode()
    assert parts.connect(uid, "phone", seal_password(forged, 0, secret[:16].encode()))[0] == WRONG
    assert parts.connect(uid, "phone", seal_password(usertoken, 0, b"k" * 16))[0] == WRONG
    parts.storage.users.block(uid, True)
    assert parts.connect(uid, "phone", "wrong")[0] == WRONG
    assert parts.connect(uid, "phone", password)[0] == BLOCKED
    assert parts.login() == {"code": 1, "message": "this user is blocked"}
    parts.storage.users.block(uid, False)
    assert parts.connect(uid, "phone", password)[0] == ACCEPTED
    parts.clock.now += 3601
    assert parts.connect(uid, "phone", password)[0] == NO_SESSION


def test_a_newer_login_replaces_the_session_of_that_client(parts: Parts):
    old, new = parts.login(), parts.login()
    uid = old["result"]["userId"]
    assert parts.connect(uid, "phone", password_of(old))[0] == WRONG
    assert parts.connect(uid, "phone", password_of(new))[0] == ACCEPTED


def test_a_token_is_one_users_until_that_session_has_ended(parts: Parts):
    first = parts.login()
    parts.logins.send_code({"mobile": "13800000000"})
    parts.clock.now += 1
    second = parts.login("13800000000", parts.channel.sent["13800000000"])
    one, two = first["result"]["userId"], second["result"]["userId"]
    assert parts.connect(two, "phone", password_of(second))[0] == REJECTED
    assert parts.connect(one, "phone", password_of(first))[0] == ACCEPTED
    leave(parts, one)
    assert parts.cleared == ["phone"]
    assert parts.kicked == []
    assert parts.connect(one, "phone", password_of(first))[0] == NO_SESSION
    assert parts.connect(two, "phone", password_of(second))[0] == ACCEPTED


def leave(parts: Parts, uid: str, token: str = "phone") -> None:
    assert parts.endings.disconnect(ClientCall({"uid": uid, "token": token}, b'{"clearSession":1}')) == b""


def another(parts: Parts) -> dict[str, Any]:
    """A login of another user with the same client identifier."""
    parts.logins.send_code({"mobile": "13800000000"})
    return parts.login("13800000000", parts.channel.sent["13800000000"])


def test_a_token_is_its_credentials_until_that_expires(parts: Parts):
    owners, now = Owners(parts.storage), parts.clock.now
    owners.claim("phone", "somebody", now + 60, now)
    answer = parts.login()
    uid, password = answer["result"]["userId"], password_of(answer)
    assert parts.connect(uid, "phone", password).code == REJECTED
    parts.clock.now += 60
    assert parts.connect(uid, "phone", password).code == ACCEPTED
    owners.claim("phone", uid, now + 600, now)
    assert parts.connect(uid, "phone", password).code == ACCEPTED
    parts.endings.logout({"uid": uid, "token": "phone"})
    assert owners.owner_of("phone", now) is None


def test_a_replayed_connect_is_good_until_its_session_ends(parts: Parts):
    """The format has nothing against it (docs/services.md, section login)."""
    answer = parts.login()
    uid, password = answer["result"]["userId"], password_of(answer)
    assert [parts.connect(uid, "phone", password)[0] for _ in range(2)] == [ACCEPTED, ACCEPTED]
    leave(parts, uid)
    assert parts.connect(uid, "phone", password)[0] == NO_SESSION
    assert parts.login()["code"] == 0
    assert parts.connect(uid, "phone", password)[0] == WRONG


def test_the_next_user_of_a_token_gets_nothing_of_the_last_ones(parts: Parts):
    """Whose session has expired: nobody has said that it ends."""
    one = parts.login()
    assert parts.connect(one["result"]["userId"], "phone", password_of(one))[0] == ACCEPTED
    parts.clock.now += 3601
    other = another(parts)
    uid, password = other["result"]["userId"], password_of(other)
    parts.can_clear = False
    assert parts.connect(uid, "phone", password)[0] == UNAVAILABLE
    parts.can_clear = True
    assert parts.connect(uid, "phone", password)[0] == ACCEPTED
    assert parts.cleared == ["phone"] * 2
    assert parts.connect(uid, "phone", password)[0] == ACCEPTED
    assert parts.cleared == ["phone"] * 2


def test_a_session_ends_also_when_nothing_can_be_cleared(parts: Parts):
    answer = parts.login()
    uid, password = answer["result"]["userId"], password_of(answer)
    parts.connect(uid, "phone", password)
    parts.can_clear = False
    leave(parts, uid)
    assert parts.connect(uid, "phone", password)[0] == NO_SESSION
    assert parts.storage.devices.uid_of("phone") == uid  # so that the next one has it cleared
    parts.can_clear = True
    other = another(parts)
    assert parts.connect(other["result"]["userId"], "phone", password_of(other))[0] == ACCEPTED
    assert parts.cleared == ["phone"] * 2


def test_somebody_without_a_login_ends_nothing(parts: Parts):
    uid = parts.login()["result"]["userId"]
    parts.endings.disconnect(ClientCall({"uid": None, "token": "phone"}, b""))
    parts.endings.disconnect(ClientCall({"uid": "other", "token": "phone"}, b""))
    assert [session["token"] for session in parts.endings.sessions({"uid": uid})["sessions"]] == ["phone"]
    assert parts.cleared == []


def test_sessions_are_listed_and_ended(parts: Parts):
    uid = parts.login()["result"]["userId"]
    for client in ("tablet", "laptop"):
        answer = parts.login(client=client)
        parts.connect(uid, client, password_of(answer))
    now = parts.clock.now
    listed = parts.endings.sessions({"uid": uid})
    listed["sessions"].sort(key=lambda session: session["token"])
    assert listed == {
        "sessions": [
            {"token": token, "created": now, "expires": now + 3600} for token in ("laptop", "phone", "tablet")
        ],
        "blocked": False,
    }
    assert parts.endings.logout({"uid": uid, "token": "tablet"}) == {"ended": 1}
    assert parts.kicked == ["tablet"]
    assert parts.endings.logout({"uid": uid, "token": "tablet"}) == {"ended": 0}
    assert parts.endings.logout({"uid": uid}) == {"ended": 2}
    assert parts.kicked == ["tablet", "laptop"]  # the phone never came
    assert parts.endings.sessions({"uid": uid})["sessions"] == []


def test_nobody_elses_client_is_kicked(parts: Parts):
    one = parts.login()
    parts.connect(one["result"]["userId"], "phone", password_of(one))
    other = another(parts)["result"]["userId"]
    assert parts.endings.logout({"uid": other}) == {"ended": 1}
    assert (parts.kicked, parts.cleared) == ([], [])
    assert parts.connect(one["result"]["userId"], "phone", password_of(one))[0] == ACCEPTED


def test_the_credential_of_a_login_that_was_ended_is_marked(parts: Parts):
    uid = parts.login()["result"]["userId"]
    key = ended_login(uid, "phone")
    assert parts.storage.codes.get(key, parts.clock.now) is None
    leave(parts, uid)
    assert parts.storage.codes.get(key, parts.clock.now + 3599)
    assert parts.storage.codes.get(key, parts.clock.now + 3601) is None
    parts.login()
    assert parts.storage.codes.get(key, parts.clock.now) is None


def test_a_user_who_is_blocked_is_kicked(parts: Parts):
    answer = parts.login()
    uid, password = answer["result"]["userId"], password_of(answer)
    parts.connect(uid, "phone", password)
    assert parts.endings.block({"uid": uid, "blocked": True}) == {"blocked": True}
    assert parts.kicked == ["phone"]
    assert parts.connect(uid, "phone", password)[0] == BLOCKED
    assert parts.endings.sessions({"uid": uid})["blocked"] is True
    assert parts.endings.block({"uid": uid, "blocked": False}) == {"blocked": False}
    assert parts.connect(uid, "phone", password)[0] == ACCEPTED


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        ("sessions", {}),
        ("sessions", {"uid": ""}),
        ("logout", {"uid": 1}),
        ("logout", {"uid": "u", "token": "\n"}),
        ("block", {"uid": "u"}),
        ("block", {"uid": "u", "blocked": 1}),
    ],
)
def test_malformed_operations(parts: Parts, operation: str, fields: dict[str, Any]):
    with pytest.raises(Refusal):
        getattr(parts.endings, operation)(fields)


def test_a_code_has_no_leading_zero(parts: Parts, monkeypatch: pytest.MonkeyPatch):
    """Clients send codes as numbers too."""
    monkeypatch.setattr("secrets.choice", lambda choices: choices[0])
    parts.logins.send_code({"mobile": "13800000000"})
    assert parts.channel.sent["13800000000"] == "100000"
    assert parts.login(13800000000, 100000)["code"] == 0


def test_an_address_over_its_limit_uses_up_no_number(parts: Parts):
    for number in range(100):
        parts.logins.send_code({"mobile": str(10_000 + number), "address": "a"})
    for _ in range(10):
        assert parts.logins.send_code({"mobile": 13800000000, "address": "a"})["retry_after_s"] == 3600
        assert parts.login(code=1234, address="a")["retry_after_s"] == 3600
    assert parts.logins.send_code({"mobile": 13800000000, "address": "b"})["code"] == 0
    assert parts.login(address="b")["code"] == 0


def test_logins_get_credentials(parts: Parts, tmp_path: Path):
    file = tmp_path / "key.json"
    file.write_text(json.dumps({"kid": "k", "alg": "HS256", "key": "x" * 32}))
    sign = credentials(load({"PUSH_LOGIN_SIGNING_KEY_FILE": str(file)}))
    credential = Parts(parts.storage, sign).login()["result"]["credential"]
    claims = jwt.decode(
        credential, "x" * 32, algorithms=["HS256"], audience="push-gateway", options={"verify_exp": False}
    )
    assert (claims["token"], claims["exp"]) == ("phone", int(parts.clock.now + 3600))


def test_a_credential_signed_by_a_private_key_is_good_for_the_gateway(parts: Parts, tmp_path: Path):
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    file = tmp_path / "key.json"
    file.write_text(json.dumps({"kid": "e", "alg": "EdDSA", "key": pem}))
    sign = credentials(load({"PUSH_LOGIN_SIGNING_KEY_FILE": str(file), "PUSH_AUTH_AUDIENCE": "here"}))
    answer = Parts(parts.storage, sign).login()
    verifier = Verifier([{"kid": "e", "alg": "EdDSA", "key": public}], "here")
    proved = verifier.verify(answer["result"]["credential"], parts.clock.now)
    assert proved == (answer["result"]["userId"], {b"phone"}, int(parts.clock.now + 3600))
    with pytest.raises(CredentialError):
        verifier.verify(answer["result"]["credential"], parts.clock.now + 3600)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"kid": "k", "alg": "none", "key": ""}',
        '{"kid": "k", "alg": "EdDSA", "key": "x"}',
        '{"kid": "k", "alg": "HS256", "key": "short"}',
        '{"kid": "", "alg": "HS256", "key": "%s"}' % ("x" * 32),
    ],
)
def test_a_bad_signing_key(tmp_path: Path, text: str):
    file = tmp_path / "key.json"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        credentials(load({"PUSH_LOGIN_SIGNING_KEY_FILE": str(file)}))
    assert "login_signing_key_file" in str(caught.value)
