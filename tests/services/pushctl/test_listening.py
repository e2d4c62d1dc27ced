import signal

import pytest

from services.clients import Delivery
from services.pushctl.listening import as_object
from shared.signals import Signal
from tests.fleet.fleet_process import Fleet
from tests.services.pushctl.runs import listening, run


def test_each_payload_is_flushed_at_once(running_fleet: Fleet):
    with listening(running_fleet.environ, "flushed") as listener:
        for number in range(3):
            run(running_fleet.environ, "push", "flushed", f"payload {number}")
            listener.wait_for(b"payload %d\n" % number)


def test_any_bytes_come_out_as_they_are(running_fleet: Fleet):
    payload = bytes(range(256))
    with listening(running_fleet.environ, "bytes", "--protocol", "v2", "--count", "1") as listener:
        run(running_fleet.environ, "push", "bytes", "-", stdin=payload)
        listener.wait_for(payload + b"\n")


@pytest.mark.parametrize("protocol", ["v1", "v2", "ws", "ws-binary"])
def test_everything_asked_for(running_fleet: Fleet, protocol: str):
    token = f"asked-{protocol}"
    options = ["--ack", "--ids", "--base64", "--deflate", "--json", "--count", "1"]
    with listening(running_fleet.environ, token, "--protocol", protocol, *options) as listener:
        assert run(running_fleet.environ, "push", token, "x" * 1000).stdout == "SENT\n"
        got = listener.finish().json
    assert got["payload"] == "x" * 1000
    assert got["push_id"].endswith("-0")
    assert got["message_id"] == 1


def test_replaced(running_fleet: Fleet):
    with listening(running_fleet.environ, "twice") as older, listening(running_fleet.environ, "twice"):
        done = older.finish()
    assert done.status == 1
    assert done.stderr.splitlines()[-1] == (
        "pushctl: the gateway disconnected this client: replaced (a newer connection has its token)"
    )


def test_time_is_up(running_fleet: Fleet):
    with listening(running_fleet.environ, "late", "--count", "2", "--timeout", "0.2") as listener:
        done = listener.finish()
    assert done.status == 1
    assert done.stderr.splitlines()[-1] == "pushctl: 0 of 2 pushes within 0.2 s"
    with listening(running_fleet.environ, "late", "--timeout", "0.2") as listener:
        assert listener.finish().status == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_leaves_with_a_disconnect(running_fleet: Fleet, number: signal.Signals):
    with listening(running_fleet.environ, "leaving") as listener:
        listener.send(number)
        done = listener.finish()
    assert done.status == 0
    assert len(done.stderr.splitlines()) == 1
    assert run(running_fleet.environ, "find", "leaving").stdout == "leaving\toffline\n"


def test_nobody_listens_there(running_fleet: Fleet):
    done = run({**running_fleet.environ, "PUSH_CLIENT_PORT": "1"}, "listen", "a")
    assert done.status == 3
    assert done.stderr == ("pushctl: no gateway answers at 127.0.0.1:1: connection refused: is the fleet running?\n")


def test_a_bad_token(running_fleet: Fleet):
    done = run(running_fleet.environ, "listen", "bad\n")
    assert done.status == 1
    assert "refused SUB with status 400: token contains control characters" in done.stderr


def test_deliveries_as_json():
    assert as_object(Delivery(b"x", "", Signal.PUSH, 0, 0)) == {"payload": "x"}
    assert as_object(Delivery(b"\xff", "ab-0", Signal.PUBLISH, 17, 3)) == {
        "payload_base64": "/w==",
        "signal": "PUBLISH",
        "push_id": "ab-0",
        "message_id": 3,
        "sub_signal": 17,
    }
