"""Where the processes of one fleet on one host find each other: paths below `data_dir`, endpoints."""

from pathlib import Path

from shared.errors import SettingsError
from shared.settings import Settings, split

#: sockaddr_un holds 108 bytes with the closing NUL.
_PATH_MAX_BYTES = 107


def run_dir(settings: Settings) -> Path:
    """Directory of the sockets and pid files; 0700."""
    return Path(settings.data_dir).absolute() / "run"


def bus_path(settings: Settings, router: int = 0) -> Path:
    """Bus socket of this host's router number `router`."""
    return _short(run_dir(settings) / f"bus-{router}.sock")


def bus_endpoint(settings: Settings, router: int = 0) -> str:
    """ZeroMQ endpoint that a router of this host binds for workers of this host."""
    return f"ipc://{bus_path(settings, router)}"


def bus_tcp_endpoint(settings: Settings, router: int = 0) -> str | None:
    """ZeroMQ endpoint that a router of this host binds for workers of other hosts; None: it takes none."""
    return _tcp(settings.bus_listens_on, settings.bus_port + router) if settings.bus_port else None


def service_path(settings: Settings, router: int = 0) -> Path:
    """Service socket of this host's router number `router`."""
    return _short(run_dir(settings) / f"service-{router}.sock")


def service_endpoint(settings: Settings, router: int = 0) -> str:
    """ZeroMQ endpoint that a router of this host binds for services of this host."""
    return f"ipc://{service_path(settings, router)}"


def service_tcp_endpoint(settings: Settings, router: int = 0) -> str | None:
    """ZeroMQ endpoint that a router of this host binds for services elsewhere; None: it takes none."""
    return _tcp(settings.services_listen_on, settings.service_port + router) if settings.service_port else None


def presence_path(settings: Settings) -> Path:
    """Socket on which the presence service of this host publishes who comes and goes."""
    return _short(run_dir(settings) / "presence.sock")


def presence_tcp_endpoint(settings: Settings) -> str | None:
    """ZeroMQ endpoint on which it publishes for other hosts too; None: it does not."""
    return _tcp(settings.presence_listens_on, settings.presence_port) if settings.presence_port else None


def router_endpoints(settings: Settings) -> list[str]:
    """Bus endpoints of the routers of all hosts, in the order in which they decide."""
    return split(settings.router_list) or [bus_endpoint(settings, router) for router in range(settings.routers)]


def router_position(settings: Settings, router: int) -> int:
    """Place of this host's router number `router` among all.

    A list that names no router of this host is one of proxies in front of them, if it is as long as they are many:
    then they come by number. Raises SettingsError otherwise: two routers of one position would both decide.
    """
    endpoints = router_endpoints(settings)
    own = {bus_endpoint(settings, router), bus_tcp_endpoint(settings, router)}
    place = next((place for place, endpoint in enumerate(endpoints) if endpoint in own), None)
    if place is not None:
        return place
    if len(endpoints) == settings.routers:
        return router
    where = bus_tcp_endpoint(settings, router) or bus_endpoint(settings, router)
    raise SettingsError("router_list", f"does not name router {router} of this host, {where} (bus_host, bus_port)")


def sender_endpoint(settings: Settings, router: int = 0) -> str:
    """ZeroMQ endpoint that a router of this host binds for senders."""
    return _tcp(settings.senders_listen_on, settings.sender_port + router)


def _tcp(host: str, port: int) -> str:
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def hand_over_path(settings: Settings, index: int) -> Path:
    """Worker `index`'s hand-over socket (Unix, SOCK_SEQPACKET)."""
    return _short(run_dir(settings) / "hand-over" / f"{index}.sock")


def nginx_path(settings: Settings, index: int) -> Path:
    """Worker `index`'s nginx socket (Unix, SOCK_STREAM, PROXY protocol required); own directory, 0750."""
    return _short(Path(settings.data_dir).absolute() / "nginx" / f"{index}.sock")


def pid_path(settings: Settings, index: int) -> Path:
    """Locked by the guardian of worker `index` and by the worker while either lives."""
    return run_dir(settings) / f"gateway-{index}.pid"


def listener_path(settings: Settings, index: int) -> Path:
    """Where worker `index`, starting anew, gets the listeners that another has kept for it."""
    return _short(run_dir(settings) / "hand-over" / f"listener-{index}.sock")


def database_path(settings: Settings) -> Path:
    """The SQLite file of what services keep; its directory 0700."""
    return Path(settings.data_dir).absolute() / "state" / "push.db"


def worker_name(settings: Settings, index: int) -> str:
    """`host/index`."""
    return f"{settings.host_name}/{index}"


def host_of(worker: str) -> str:
    """The host in a worker's name."""
    return worker.rpartition("/")[0]


def _short(path: Path) -> Path:
    if len(str(path).encode()) > _PATH_MAX_BYTES:
        raise SettingsError(
            "data_dir", f"socket path {path} exceeds {_PATH_MAX_BYTES} bytes: choose a shorter directory"
        )
    return path
