"""The lock on the client port: one fleet per address, however many workers listen on it.

SO_REUSEPORT lets every process of the same user listen on a port that one of them opened so, which the
workers of a fleet need and two fleets must not do. So all processes of a fleet share a lock named after
the address; whoever comes first also tries a bind without SO_REUSEPORT, which fails while anybody else listens.
"""

import errno
import fcntl
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import SettingsError

_HOLDER_MAX_BYTES = 4096


def take_port_lock(host: str, port: int, data_dir: str) -> int:
    """Descriptor that holds this fleet's share of the lock on an address until it and its copies are closed.

    `data_dir` says which fleet; compared as a real path. Raises SettingsError (`client_port`) if the address
    is another fleet's or another program's.
    """
    host, fleet = numeric(host), os.path.realpath(data_dir)
    directory = _lock_directory()
    with _mutex(directory):
        descriptor = os.open(directory / f"{host}-{port}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _share(descriptor, host, port, fleet)
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


def numeric(host: str) -> str:
    """The address to bind for the setting `host`."""
    return "127.0.0.1" if host == "localhost" else host


def family_of(host: str) -> socket.AddressFamily:
    """Family of a numeric address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def address_text(host: str, port: int) -> str:
    """`127.0.0.1:6789` or `[::1]:6789`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _share(descriptor: int, host: str, port: int, fleet: str) -> None:
    """Join the holders of the lock, or be the first of them. Called under the mutex."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, _HOLDER_MAX_BYTES, 0).decode(errors="replace")
        if holder != fleet:
            where = address_text(host, port)
            raise SettingsError("client_port", f"{where} is in use by the fleet of {holder}") from None
    else:
        _refuse_if_taken(host, port)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, fleet.encode(), 0)
    # Changing the kind of a lock lets it go for a moment: the mutex keeps others from coming in between.
    fcntl.flock(descriptor, fcntl.LOCK_SH)


def _refuse_if_taken(host: str, port: int) -> None:
    """Bind without SO_REUSEPORT. SO_REUSEADDR only steps over closed connections of an earlier run (TIME_WAIT)."""
    with socket.socket(family_of(host), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise bind_fault(error, host, port) from None


def bind_fault(error: OSError, host: str, port: int) -> SettingsError:
    """The setting at fault, and why, when an address could not be bound."""
    where, reason = address_text(host, port), os.strerror(error.errno or 0).lower()
    if isinstance(error, PermissionError):
        return SettingsError("client_port", f"{where}: {reason}")
    if error.errno == errno.EADDRINUSE:
        return SettingsError("client_port", f"{where} is in use by another process")
    return SettingsError("host", f"{where}: {reason}")


def _lock_directory() -> Path:
    """This user's own directory for locks, 0700. Raises SettingsError if somebody else made it."""
    name = f"push-gateway-{os.getuid()}"
    parent = os.environ.get("XDG_RUNTIME_DIR", "")
    directory = Path(parent if os.access(parent, os.W_OK) else tempfile.gettempdir()) / name
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise SettingsError("client_port", f"lock directory {directory}: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise SettingsError("client_port", f"lock directory {directory} is not this user's own with mode 0700")
    return directory


@contextmanager
def _mutex(directory: Path) -> Iterator[None]:
    """Held for the moment in which a process joins; never while it runs."""
    descriptor = os.open(directory / "mutex", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
