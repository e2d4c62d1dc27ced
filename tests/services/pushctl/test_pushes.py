from pathlib import Path

import pytest

from services.clients import PROTOCOLS
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until
from tests.services.pushctl.runs import listening, run


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_push_is_heard(running_fleet: Fleet, protocol: str):
    token, environ = f"alice-{protocol}", running_fleet.environ
    with listening(environ, token, "--protocol", protocol, "--count", "2") as listener:
        assert run(environ, "push", token, "hello") == (0, "SENT\n", "")
        assert run(environ, "push", token, "wörld") == (0, "SENT\n", "")
        done = listener.finish()
    assert done.status == 0
    assert done.stdout == "hello\nwörld\n"
    assert done.stderr == f"listening as {token} ({protocol}) on 127.0.0.1:{running_fleet.client_port}\n"


def test_where_the_payload_comes_from(running_fleet: Fleet, tmp_path: Path):
    (tmp_path / "payload").write_bytes(b"from a file")
    environ = running_fleet.environ
    with listening(environ, "where", "--json") as listener:
        run(environ, "push", "where", "-", stdin=b"from stdin\n")
        run(environ, "push", "where", "--file", str(tmp_path / "payload"))
        run(environ, "push", "where", "--", "-x")
        listener.wait_for(b"payload", times=3)
    assert listener.stdout.splitlines() == [
        b'{"payload":"from stdin\\n"}',
        b'{"payload":"from a file"}',
        b'{"payload":"-x"}',
    ]


def test_a_request_id_is_found_in_the_logs(running_fleet: Fleet):
    environ = running_fleet.environ
    much = b"x" * (running_fleet.settings.body_limit_bytes + 1)
    with listening(environ, "small"):
        done = run(environ, "push", "small", "-", "--request-id", "order-7", stdin=much)
    assert done.stdout == "TOO_LARGE\n"
    wait_until(lambda: "request_id=order-7" in running_fleet.log("router"), "the router's line")
    workers = ("gateway-0", "gateway-1")
    wait_until(lambda: any("outcome=TOO_LARGE" in running_fleet.log(name) for name in workers), "a worker's line")


def test_signal_and_sub_signal(running_fleet: Fleet):
    environ = running_fleet.environ
    with listening(environ, "signals", "--protocol", "v2", "--json", "--count", "1") as listener:
        run(environ, "push", "signals", "x", "--signal", "publish", "--sub-signal", "MN")
        assert listener.finish().json == {"payload": "x", "signal": "PUBLISH", "sub_signal": 17}


def test_nobody_there(running_fleet: Fleet):
    assert run(running_fleet.environ, "push", "nobody", "x") == (1, "OFFLINE\n", "")
    done = run(running_fleet.environ, "push", "nobody", "x", "--json")
    assert done.json == {"token": "nobody", "outcome": "OFFLINE"}


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (("bad\n",), "token contains control characters"),
        (("",), "token is empty"),
        (("x" * 256,), "token of 256 bytes"),
        (("bad\n", "--user"), "uid contains control characters"),
        (("bad\n", "--group"), "group contains control characters"),
    ],
)
def test_what_can_be_no_token_is_wrong_usage(said: tuple[str, ...], fault: str):
    """No router is asked."""
    done = run({}, "push", *said, "x")
    assert (done.status, done.stdout) == (2, "")
    assert fault in done.stderr


def test_to_all(running_fleet: Fleet):
    environ = running_fleet.environ
    with listening(environ, "one", "--count", "2") as one, listening(environ, "two", "--count", "2") as two:
        done = run(environ, "push", "--all", "everybody")
        assert done.status == 0
        assert done.stdout.startswith("SENT ")
        done = run(environ, "push", "--all", "everybody", "--json")
        assert done.json["outcome"] == "SENT"
        assert done.json["counts"]["sent"] >= 2
        assert one.finish().stdout == two.finish().stdout == "everybody\neverybody\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["alice"], "expected TOKEN and TEXT, got 1 arguments"),
        (["--all", "a", "b"], "expected TEXT, got 2 arguments"),
        (["--all"], "expected TEXT, got 0 arguments"),
        (["--all", "--group", "a"], "--all and --group exclude each other"),
        (["a", "b", "--file", "/dev/null"], "expected TOKEN, got 2 arguments"),
        (["a", "b", "--sub-signal", "XX"], "sub_signal is unknown"),
        (["a", "b", "--request-id", "not one"], "request_id is not 1 to 64"),
        (["a", "b", "--timeout", "0"], "--timeout"),
        (["a", "b", "--file", "/nowhere/at/all"], "No such file"),
    ],
)
def test_wrong_usage(running_fleet: Fleet, arguments: list[str], complaint: str):
    done = run(running_fleet.environ, "push", *arguments)
    assert done.status == 2
    assert complaint in done.stderr
    assert done.stdout == ""


def test_no_fleet(running_fleet: Fleet):
    done = run({**running_fleet.environ, "PUSH_SENDER_PORT": "1"}, "push", "a", "x", "--timeout", "0.3")
    assert done.status == 3
    assert done.stderr == (
        "pushctl: no router answers at tcp://127.0.0.1:1 within 0.3 s (connection refused): is the fleet running?\n"
    )


def test_another_router(running_fleet: Fleet):
    elsewhere = {**running_fleet.environ, "PUSH_SENDER_PORT": "1"}
    found = run(elsewhere, "push", "a", "x", "--router", "tcp://127.0.0.1:1", "--router", running_fleet.endpoint)
    assert found.stdout == "OFFLINE\n"
