"""Credentials that expire: every SDK's client fetches a new one in time, or stays away and says why."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import jwt
import pytest

from services.sender import Outcome, Sender
from tests.fleet.fleet_process import Fleet
from tests.sdk.listening import KINDS, Listener

SECRET = "an HS256 key of more than thirty-two bytes"
KEPT = (Outcome.SENT, Outcome.BUFFERED, Outcome.ACKED, Outcome.STORED)
QUICK = {"backoff_s": 0.05, "backoff_max_s": 0.1}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    path.write_text(json.dumps([{"kid": "hs", "alg": "HS256", "key": SECRET}]))
    with Fleet(services="message-cache", workers=1, auth_keys_file=path, auth_required=1) as started:
        yield started


def credential(token: str, seconds: float) -> str:
    claims = {"sub": "alice", "aud": "push-gateway", "token": token, "exp": time.time() + seconds}
    return jwt.encode(claims, SECRET, algorithm="HS256", headers={"kid": "hs"})


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def test_a_new_one_is_fetched_in_time_and_again_where_that_fails(
    fleet: Fleet, stack: ExitStack, javascript_sdk: Path
) -> None:
    sender = stack.enter_context(Sender(fleet.endpoint))
    clients = {}
    for kind in KINDS:
        token = f"renewed-{kind}"
        given = [credential(token, 6), None, credential(token, 600)]
        settings = {"token": token, "credentials": given, **QUICK}
        clients[kind] = stack.enter_context(Listener(kind, javascript_sdk, fleet.address, **settings))
    for kind, client in clients.items():
        client.wait_state("connected")
        assert sender.push(f"renewed-{kind}", "with the first", ttl=600) in KEPT
    for kind, client in clients.items():
        client.wait_state("connecting", "renewing")
        client.wait_state("connected")
        assert sender.push(f"renewed-{kind}", "with the second", ttl=600) in KEPT
        client.wait_for(lambda said: said.get("push") == "with the second")
        assert [said["push"] for said in client.told if "push" in said] == ["with the first", "with the second"]
        assert [said["fetched"] for said in client.told if "fetched" in said] == [True, False, True]
        assert [said["error"] for said in client.told if "error" in said] == ["CredentialError"]
        assert "waiting" not in [said.get("state") for said in client.told]


def test_who_cannot_fetch_one_stays_away_when_it_expires(fleet: Fleet, stack: ExitStack, javascript_sdk: Path) -> None:
    clients = []
    for kind in KINDS:
        token = f"expired-{kind}"
        settings = {"token": token, "credential": credential(token, 4), **QUICK}
        clients.append(stack.enter_context(Listener(kind, javascript_sdk, fleet.address, **settings)))
    for client in clients:
        client.wait_state("connected")
        client.wait_state("closed", "credential_expired")
        assert [said["error"] for said in client.told if "error" in said] == ["DisconnectedError"]


@pytest.mark.parametrize("settings", [{"credential": "none of ours"}, {"credentials": ["none of ours"]}])
def test_one_that_was_never_good_is_the_end(
    fleet: Fleet, stack: ExitStack, javascript_sdk: Path, settings: dict[str, object]
) -> None:
    for kind in KINDS:
        said = {"token": "nobody", **settings, **QUICK}
        client = stack.enter_context(Listener(kind, javascript_sdk, fleet.address, **said))
        client.wait_state("closed", "rejected")
        assert [said["error"] for said in client.told if "error" in said] == ["RefusedError"]
