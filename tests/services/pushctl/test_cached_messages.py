import time
from collections.abc import Iterator

import pytest

from services.library import Service
from shared.cached_messages import Store, Stored, decode_results, encode_operations, key_of, topic_of
from shared.push_ids import push_id
from tests.fleet.fleet_process import Fleet
from tests.services.pushctl.runs import run

PREFIX = bytes(range(16))
EXPIRES = int(time.time() + 3600) * 1000


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(services="message-cache", message_caches=2) as started:
        yield started


def keep(fleet: Fleet, token: bytes, *payloads: bytes) -> list[int]:
    """The numbers of the messages."""
    service = Service("test", fleet.settings)
    service.start()
    stores = [
        Store(token, key_of(PREFIX, number), 8, 0, EXPIRES, None, "test", payload)
        for number, payload in enumerate(payloads)
    ]
    topic = topic_of(token, 2)
    answer = service.ask(topic, encode_operations(stores), key=str(topic.sub_signal), timeout_s=20)
    service.stop(0)
    results = decode_results(answer.body)
    assert [type(result) for result in results] == [Stored] * len(payloads)
    return [result.seq for result in results if isinstance(result, Stored)]


@pytest.mark.parametrize("token", ["away", "wegen \N{SNOWMAN} weg", "b", "c"])
def test_what_is_kept_is_listed_and_taken_out(fleet: Fleet, token: str):
    seqs = keep(fleet, token.encode(), b"hello\n", "\N{SNOWMAN}".encode() * 100, bytes(200_000), bytes(200_000))
    listed = run(fleet.environ, "cached", token)
    assert listed.status == 0
    lines = [line.split("\t") for line in listed.stdout.splitlines()]
    assert [line[:2] for line in lines] == [[str(seq), push_id(PREFIX, n)] for n, seq in enumerate(seqs)]
    assert lines[0][3:] == ["6", "hello\\n"]
    told = run(fleet.environ, "cached", token, "--json").json
    assert [each["bytes"] for each in told] == [6, 300, 200_000, 200_000]
    assert told[0]["signal"] == 8
    assert run(fleet.environ, "cached", token, "--purge") == (0, "4 taken out\n", "")
    assert run(fleet.environ, "cached", token) == (0, "", "")
    assert run(fleet.environ, "cached", token, "--purge", "--json").json == {"purged": 0}


def test_what_is_wrong_is_said(fleet: Fleet):
    assert run(fleet.environ, "cached", "").status == 2
    with_more = {**fleet.environ, "PUSH_MESSAGE_CACHES": "60"}
    nobody = run(with_more, "cached", "x", "--timeout", "0.5")
    assert nobody.status == 3
    assert nobody.stderr.startswith("pushctl: ")
