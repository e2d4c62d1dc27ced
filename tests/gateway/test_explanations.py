"""gateway/explanations.py: what a worker says of a token."""

from gateway.connections import Granted
from shared import bus
from tests.gateway.test_deliveries import bind


def explain(parts, token):
    parts.hear(bus.encode_numbered(bus.CALL1, 5, {"call": "explain", "tokens": [], "token": token.decode()}))
    number, body = bus.decode_numbered(parts.said[-1])
    assert (parts.said[-1][0], number) == (bus.REPLY1, 5)
    (answer,) = body["answers"]
    return answer


def test_a_client_that_is_here(worker):
    one = worker()
    one.ring(1, [one])
    token = b"alice"
    bind(one, token, granted=Granted.ACK)
    said = explain(one, token)
    assert (said["worker"], said["owner"], said["settled"], said["held"]) == ("h/0", "h/0", True, 0)
    held = said["connection"]
    assert (held["protocol"], held["options"], held["moves"], held["output_bytes"]) == ("v2", ["ack"], 0, 0)
    assert 0 <= held["silent_s"] <= 1
    assert held["heartbeat_s"] == one.settings.heartbeat_max_s


def test_one_that_is_not(worker):
    one = worker()
    one.ring(1, [one])
    said = explain(one, b"alice")
    assert (said["connection"], said["moving"], said["claim"], said["claimed_by"]) == (None, False, None, None)
