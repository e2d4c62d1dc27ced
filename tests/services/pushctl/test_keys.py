import os
from pathlib import Path

import pytest

from shared.keys import format_permitted, is_key, parse_key_pair
from tests.fleet.fleet_process import Fleet
from tests.services.pushctl.runs import run

PLAIN = {key: value for key, value in os.environ.items() if not key.startswith("PUSH")}


def test_keygen(tmp_path: Path):
    file = tmp_path / "own.key"
    done = run(PLAIN, "keygen", str(file))
    assert done.status == 0
    pair = parse_key_pair("own", file.read_text())
    assert done.stdout == f"{pair.public}\n"
    assert is_key(pair.secret)
    assert file.stat().st_mode & 0o777 == 0o600


def test_keygen_overwrites_nothing(tmp_path: Path):
    file = tmp_path / "own.key"
    assert run(PLAIN, "keygen", str(file), "--json").json["file"] == str(file)
    before = file.read_text()
    done = run(PLAIN, "keygen", str(file))
    assert done == (1, "", f"pushctl: {file}: file exists\n")
    assert file.read_text() == before
    assert run(PLAIN, "keygen", str(tmp_path / "no" / "where")).status == 1


def test_a_router_that_wants_keys(tmp_path: Path):
    keys = {name: run(PLAIN, "keygen", str(tmp_path / name)).stdout.strip() for name in ("router", "own", "stranger")}
    (tmp_path / "permitted").write_text(format_permitted({keys["own"]: frozenset({"push", "admin"})}))
    fleet = Fleet(workers=1, curve_server_key_file=tmp_path / "router", curve_permitted_file=tmp_path / "permitted")
    fleet.start_router()
    try:
        elsewhere = {**PLAIN, "PUSH_SENDER_PORT": str(fleet.settings.sender_port)}
        own, router = ["--key-file", str(tmp_path / "own")], ["--router-key", keys["router"]]
        assert run(elsewhere, "stat", *own, *router).status == 0
        assert run(fleet.environ, "stat", *own).status == 0, "the router's key is in the settings"
        assert run({**elsewhere, "PUSHCTL_KEY_FILE": own[1], "PUSHCTL_ROUTER_KEY": router[1]}, "stat").status == 0
        done = run(elsewhere, "stat", "--key-file", str(tmp_path / "stranger"), *router, "--timeout", "0.5")
        assert done.status == 3
        assert "the router does not permit this key" in done.stderr
        assert run(elsewhere, "stat", "--timeout", "0.5").status == 3
    finally:
        fleet.stop()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--router-key", "x" * 40], "name your own pair with --key-file"),
        (["--key-file", "{own}"], "needs the router's public key too: --router-key"),
        (["--key-file", "{own}", "--router-key", "x"], "--router-key is not a key of 40 Z85 characters"),
        (["--key-file", "/nowhere", "--router-key", "x" * 40], "--key-file: /nowhere: no such file or directory"),
    ],
)
def test_wrong_keys(tmp_path: Path, arguments: list[str], complaint: str):
    run(PLAIN, "keygen", str(tmp_path / "own"))
    done = run(PLAIN, "stat", *[argument.format(own=tmp_path / "own") for argument in arguments])
    assert done.status == 2
    assert complaint in done.stderr
