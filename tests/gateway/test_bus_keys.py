import json
from dataclasses import replace

import pytest
import zmq

from gateway.bus_keys import load_bus_keys, needs_keys
from shared.errors import SettingsError
from shared.settings import Settings

FAR, NEAR = "tcp://192.0.2.1:6800", "ipc:///run/bus-0.sock"


@pytest.fixture
def key_file(tmp_path):
    """Makes a key file; (path, public key)."""

    def make(name, mode=0o600):
        public, secret = (key.decode() for key in zmq.curve_keypair())
        path = tmp_path / name
        path.write_text(json.dumps({"public": public, "secret": secret}))
        path.chmod(mode)
        return str(path), public

    return make


@pytest.mark.parametrize(
    ("endpoint", "needed"),
    [
        (NEAR, False),
        ("tcp://127.0.0.1:6800", False),
        ("tcp://[::1]:6800", False),
        ("tcp://localhost:6800", False),
        (FAR, True),
        ("tcp://[2001:db8::1]:6800", True),
    ],
)
def test_what_crosses_a_network_needs_keys(endpoint, needed):
    assert needs_keys(endpoint) is needed


def test_without_need_no_file_is_read():
    settings = replace(Settings(), worker_key_file="/nowhere")
    assert load_bus_keys(settings, [NEAR]) is None


def test_the_routers_key_by_itself(key_file):
    path, public = key_file("worker")
    server = key_file("router")[1]
    keys = load_bus_keys(replace(Settings(), worker_key_file=path, bus_server_key=server), [NEAR, FAR])
    assert (keys.own.public, keys.server) == (public, server)


def test_the_routers_key_out_of_its_file(key_file):
    path, _ = key_file("worker")
    server_path, server = key_file("router")
    settings = replace(Settings(), worker_key_file=path, curve_server_key_file=server_path)
    assert load_bus_keys(settings, [FAR]).server == server


def test_what_is_wrong_is_named(key_file):
    good, open_to_all = key_file("worker")[0], key_file("open", 0o644)[0]
    server = key_file("router")[1]
    for changes, setting in [
        ({"worker_key_file": "/nowhere", "bus_server_key": server}, "worker_key_file"),
        ({"worker_key_file": open_to_all, "bus_server_key": server}, "worker_key_file"),
        ({"worker_key_file": good}, "bus_server_key"),
        ({"worker_key_file": good, "curve_server_key_file": "/nowhere"}, "curve_server_key_file"),
    ]:
        with pytest.raises(SettingsError, match=setting):
            load_bus_keys(replace(Settings(), **changes), [FAR])
