from dataclasses import replace

import pytest

from shared import places
from shared.errors import SettingsError
from shared.settings import Settings

SETTINGS = Settings(data_dir="/srv/push", host_name="box")


def test_paths_below_the_data_directory():
    assert str(places.run_dir(SETTINGS)) == "/srv/push/run"
    assert places.bus_endpoint(SETTINGS) == "ipc:///srv/push/run/bus-0.sock"
    assert str(places.hand_over_path(SETTINGS, 3)) == "/srv/push/run/hand-over/3.sock"
    assert str(places.nginx_path(SETTINGS, 3)) == "/srv/push/nginx/3.sock"


def test_a_relative_data_directory_becomes_absolute():
    assert places.run_dir(Settings(data_dir="./var")).is_absolute()


def test_worker_names():
    assert places.worker_name(SETTINGS, 7) == "box/7"


@pytest.mark.parametrize(("host", "endpoint"), [("127.0.0.1", "tcp://127.0.0.1:6700"), ("::1", "tcp://[::1]:6700")])
def test_sender_endpoint(host, endpoint):
    assert places.sender_endpoint(Settings(host=host)) == endpoint


def test_a_data_directory_too_long_for_a_socket_path():
    fits = Settings(data_dir="/" + "d" * (107 - len("//run/bus-0.sock")))
    assert len(str(places.bus_path(fits))) == 107
    with pytest.raises(SettingsError, match=r"data_dir: socket path .* exceeds 107 bytes"):
        places.bus_path(Settings(data_dir=fits.data_dir + "d"))


def test_a_router_knows_its_place_among_all() -> None:
    listed = replace(SETTINGS, routers=1, bus_port=7000, router_list="tcp://127.0.0.2:7000,tcp://127.0.0.1:7000")
    assert places.router_position(listed, 0) == 1
    proxied = replace(SETTINGS, routers=2, router_list="ipc:///a,ipc:///b")
    assert [places.router_position(proxied, router) for router in (0, 1)] == [0, 1]


def test_a_router_that_the_list_does_not_name_is_refused() -> None:
    """Else two of one position would both decide."""
    listed = "tcp://127.0.0.2:7000,tcp://127.0.0.1:7000"
    elsewhere = replace(SETTINGS, routers=1, bus_port=7000, bus_host="127.0.0.3", router_list=listed)
    with pytest.raises(
        SettingsError, match=r"router_list.*does not name router 0 of this host, tcp://127\.0\.0\.3:7000"
    ):
        places.router_position(elsewhere, 0)
