"""services/library/routers.py: where services go, and which keys they show."""

from pathlib import Path

import pytest
import zmq

from services.library.routers import Router, routers
from services.sender import CurveKeys
from shared.errors import SettingsError
from shared.keys import KeyPair, format_key_pair
from shared.settings import Settings, load


def test_those_of_this_host_by_default(tmp_path: Path):
    settings = Settings(data_dir=str(tmp_path), routers=2)
    assert routers(settings) == [Router(f"ipc://{tmp_path}/run/service-{number}.sock") for number in (0, 1)]
    assert routers("ipc:///x") == [Router("ipc:///x")]
    assert routers(["ipc:///x", "ipc:///y"]) == [Router("ipc:///x"), Router("ipc:///y")]


def test_there_must_be_one():
    with pytest.raises(SettingsError, match="service_router_list"):
        routers(Settings(routers=0))
    with pytest.raises(ValueError, match="no service endpoint"):
        routers(())


def test_loopback_wants_no_keys():
    endpoints = ["tcp://127.0.0.1:6720", "tcp://[::1]:6720", "ipc:///x"]
    settings = Settings(service_router_list=", ".join(endpoints))
    assert routers(settings) == [Router(endpoint) for endpoint in endpoints]


def write_pair(path: Path) -> KeyPair:
    pair = KeyPair(*[key.decode() for key in zmq.curve_keypair()])
    path.write_text(format_key_pair(pair))
    path.chmod(0o600)
    return pair


def test_other_machines_want_keys(tmp_path: Path):
    own, router = write_pair(tmp_path / "own"), write_pair(tmp_path / "router")
    environ = {"PUSH_SERVICE_ROUTER_LIST": "tcp://10.0.0.1:6720"}
    with pytest.raises(SettingsError, match=r"service_key_file: must be set: tcp://10.0.0.1:6720 is not on this"):
        routers(load(environ))
    environ["PUSH_SERVICE_KEY_FILE"] = str(tmp_path / "own")
    with pytest.raises(SettingsError, match="bus_server_key: must be set"):
        routers(load(environ))
    keys = CurveKeys(router.public.encode(), own.public.encode(), own.secret.encode())
    for more in ({"PUSH_BUS_SERVER_KEY": router.public}, {"PUSH_CURVE_SERVER_KEY_FILE": str(tmp_path / "router")}):
        assert routers(load(environ | more)) == [Router("tcp://10.0.0.1:6720", keys)]
    (tmp_path / "own").chmod(0o644)
    with pytest.raises(SettingsError, match=r"service_key_file: .* lets others read it"):
        routers(load(environ | {"PUSH_BUS_SERVER_KEY": router.public}))
