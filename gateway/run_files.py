"""What a worker's processes keep below `data_dir`: directories with the right modes, and the locked pid file."""

import grp
import os
import time
from pathlib import Path

from shared import places
from shared.errors import SettingsError
from shared.settings import Settings
from shared.startup.pid_files import hold, holder_of

#: Beyond its drain, so long may a worker without guardian take to end (seconds).
_ORPHAN_GRACE_S, _ORPHAN_POLL_S = 10, 0.05


def make_directories(settings: Settings) -> None:
    """`run` and `run/hand-over` (0700), `nginx` (0750, group of the setting). Raises SettingsError (`data_dir`)."""
    run = places.run_dir(settings)
    nginx = places.nginx_path(settings, 0).parent
    try:
        for directory, mode in ((run, 0o700), (run / "hand-over", 0o700), (nginx, 0o750)):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(mode)
        _give_to_group(nginx, settings)
        if not os.access(run, os.W_OK | os.X_OK):
            raise PermissionError(13, "permission denied", str(run))
    except OSError as error:
        raise SettingsError("data_dir", f"{error.filename}: {(error.strerror or str(error)).lower()}") from None


def _give_to_group(path: Path, settings: Settings) -> None:
    """Let the group of `nginx_socket_group` in. Raises SettingsError that names it."""
    name = settings.nginx_socket_group
    if not name:
        return
    try:
        os.chown(path, -1, grp.getgrnam(name).gr_gid)
    except KeyError:
        raise SettingsError("nginx_socket_group", f"no group {name!r} on this machine") from None
    except PermissionError:
        raise SettingsError("nginx_socket_group", f"this user is not in group {name!r}") from None


def open_to_group(path: Path, settings: Settings) -> None:
    """Mode 0660 and the group of the setting, for the nginx socket."""
    path.chmod(0o660)
    _give_to_group(path, settings)


def hold_pid_file(settings: Settings, index: int) -> int:
    """Descriptor of the locked `run/gateway-I.pid`, which names this process. Raises SettingsError (`data_dir`).

    The lock goes with the descriptor: it outlives exec and holds while the guardian or its worker lives. A worker whose
    guardian has died gives its clients away and ends: that is waited for.
    """
    path = places.pid_path(settings, index)
    taken = f"worker {places.worker_name(settings, index)} already runs in {settings.data_dir}"
    until = time.monotonic() + settings.drain_timeout_s + _ORPHAN_GRACE_S
    while True:
        try:
            return hold(path, taken)
        except SettingsError:
            if not _is_orphan(path) or time.monotonic() > until:
                raise
        time.sleep(_ORPHAN_POLL_S)


def _is_orphan(path: Path) -> bool:
    """Whether the file is locked, but the guardian that it names is no more; or both have ended just now."""
    guardian = holder_of(path)
    if guardian is None:
        return True
    try:
        os.kill(guardian, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's by now
        return True
    return False
