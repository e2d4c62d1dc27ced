"""The file of the API keys: read, changed by one at a time, and read again when it has changed."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from services.api.keys import ApiKey, format_keys, parse_keys
from shared.errors import SettingsError
from shared.keys import mode_fault
from shared.settings import Settings

logger = logging.getLogger(__name__)

SETTING = "api_keys_file"
#: Seconds between looks at the file.
LOOK_S = 0.5

_Mark = tuple[int, int, int]


def keys_path(settings: Settings) -> Path:
    """Where the file is, or will be."""
    return Path(settings.api_keys_file or Path(settings.data_dir).absolute() / "state" / "api_keys.json")


def read_keys(path: Path) -> list[ApiKey] | None:
    """The keys; None: there is no file. Raises SettingsError."""
    try:
        fault, text = mode_fault(path.stat().st_mode), path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _fault(path, error) from None
    if fault:
        raise SettingsError(SETTING, f"{path}: {fault}")
    return parse_keys(SETTING, text)


@contextmanager
def changing(path: Path) -> Iterator[list[ApiKey]]:
    """The keys as a list, written back whole when the block ends well. Raises SettingsError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _fault(path, error) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = read_keys(path) or []
        yield keys
        _write(path, format_keys(keys))
    finally:
        os.close(lock)


def _write(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(path)
    except OSError as error:
        raise _fault(path, error) from None


class KeyFile:
    """The keys as they are now. `keys` is None while there is no file. Raises SettingsError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark = _mark(path)
        self._looked = monotonic()
        self._keys = read_keys(path)

    @property
    def path(self) -> Path:
        return self._path

    def keys(self) -> list[ApiKey] | None:
        """A file that cannot be read leaves the keys as they were; one that is gone leaves none that is good."""
        if monotonic() - self._looked >= LOOK_S:
            self._looked = monotonic()
            mark = _mark(self._path)
            if mark != self._mark:
                self._mark = mark
                self._read()
        return self._keys

    def _read(self) -> None:
        try:
            found = read_keys(self._path)
        except SettingsError as error:
            logger.error("API keys stay as they were: %s", error)
            return
        # An API with keys does not become an open one because somebody takes the file away.
        self._keys = found if found is not None or self._keys is None else []
        logger.info("%d API keys read", len(self._keys or ()))


def _mark(path: Path) -> _Mark:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _fault(path: Path, error: OSError | UnicodeDecodeError) -> SettingsError:
    why = error.strerror if isinstance(error, OSError) else None
    return SettingsError(SETTING, f"{path}: {(why or str(error)).lower()}")
