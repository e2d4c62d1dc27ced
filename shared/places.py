"""Where the processes of one fleet on one host find each other: paths below `data_dir`, endpoints."""

from pathlib import Path

from shared.errors import SettingsError
from shared.settings import Settings

#: sockaddr_un holds 108 bytes with the closing NUL.
_PATH_MAX_BYTES = 107


def run_dir(settings: Settings) -> Path:
    """Directory of the sockets and pid files; 0700."""
    return Path(settings.data_dir).absolute() / "run"


def bus_path(settings: Settings) -> Path:
    """The router's bus socket."""
    return _short(run_dir(settings) / "bus-0.sock")


def bus_endpoint(settings: Settings) -> str:
    """ZeroMQ endpoint that the router binds for workers."""
    return f"ipc://{bus_path(settings)}"


def sender_endpoint(settings: Settings) -> str:
    """ZeroMQ endpoint that the router binds for senders."""
    host = settings.senders_listen_on
    return f"tcp://[{host}]:{settings.sender_port}" if ":" in host else f"tcp://{host}:{settings.sender_port}"


def hand_over_path(settings: Settings, index: int) -> Path:
    """Worker `index`'s hand-over socket (Unix, SOCK_SEQPACKET)."""
    return _short(run_dir(settings) / "hand-over" / f"{index}.sock")


def nginx_path(settings: Settings, index: int) -> Path:
    """Worker `index`'s nginx socket (Unix, SOCK_STREAM, PROXY protocol required); own directory, 0750."""
    return _short(Path(settings.data_dir).absolute() / "nginx" / f"{index}.sock")


def worker_name(settings: Settings, index: int) -> str:
    """`host/index`."""
    return f"{settings.host_name}/{index}"


def _short(path: Path) -> Path:
    if len(str(path).encode()) > _PATH_MAX_BYTES:
        raise SettingsError(
            "data_dir", f"socket path {path} exceeds {_PATH_MAX_BYTES} bytes: choose a shorter directory"
        )
    return path
