"""A connection to Redis: time-outs, trying again, and what its errors mean."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from redis import exceptions as errors
from redis.backoff import ExponentialWithJitterBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

from services.storage.redis_keys import Keys
from shared.errors import StorageError, StorageUnavailable
from shared.settings import is_loopback
from shared.storage_locations import RedisLocation

logger = logging.getLogger(__name__)

#: Longest wait for an answer, and for a connection, in seconds. A single server that takes longer is not asked again.
ANSWER_S = 2.0
#: How often a command is sent again after a link has broken, and the shortest and longest wait before, in seconds.
RETRIES, RETRY_LEAST_S, RETRY_MOST_S = 4, 0.05, 0.5
#: The same in a cluster, after it was asked which node has the key now; there also what took too long is sent again.
CLUSTER_RETRIES = 1

#: Errors that pass by themselves, or when somebody makes room.
_PASSING = (
    errors.ConnectionError,
    errors.TimeoutError,
    errors.ClusterDownError,
    errors.SlotNotCoveredError,
    errors.TryAgainError,
    errors.ReadOnlyError,
    errors.OutOfMemoryError,
    errors.RedisClusterException,
    OSError,
)
#: How answers begin that have no class of their own: a server that cannot write to its disk, has too few replicas, or
#: is held up by a script.
_PASSING_ANSWERS = ("MISCONF", "NOREPLICAS", "BUSY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "OOM", "TRYAGAIN")
_FOR_EVER = (errors.AuthenticationError, errors.AuthorizationError)


class Connection:
    """Threads may share it: each command takes a link of its own out of a pool."""

    def __init__(
        self,
        location: RedisLocation,
        as_text: bool = True,
        answer_s: float = ANSWER_S,
        check: Callable[[Any, Keys], None] | None = None,
    ) -> None:
        """Connects when it is first used. `as_text`: answers are str, else bytes. `check`: is called with the client
        before the first use, and again before the next one when a link has broken or a new one was made: the server
        may be another one then, or empty. Raises StorageError for a password file that cannot be read.
        """
        self.location, self.keys = location, Keys(location.prefix)
        self._check, self._unchecked = check, True
        self._client: Any = None
        self._password = read_password(location)
        self._as_text, self._answer_s = as_text, answer_s

    @contextmanager
    def asking(self) -> Iterator[Any]:
        """The client, a redis.Redis or a RedisCluster. Raises StorageError, StorageUnavailable."""
        with translated(self.location):
            try:
                yield self._ready()
            except Exception:
                self._unchecked = True
                raise

    def script(self, text: str) -> "Script":
        """A Lua script, to be called with its keys, all of one slot, and its arguments."""
        return Script(self, text)

    def close(self) -> None:
        """End all links."""
        if self._client is not None:
            self._client.close()

    def _ready(self) -> Any:
        if self._client is None:
            self._client = make_client(self.location, self._password, self._as_text, self._answer_s, self._connected)
        if self._unchecked and self._check:
            self._check(self._client, self.keys)
        self._unchecked = False
        return self._client

    def _connected(self) -> None:
        self._unchecked = True


class Script:
    """A Lua script on the server."""

    def __init__(self, connection: Connection, text: str) -> None:
        self._connection, self._text, self._registered = connection, text, None

    def __call__(self, keys: list[str], *arguments: object) -> Any:
        """Run it; its result. Raises StorageError, StorageUnavailable."""
        with self._connection.asking() as client:
            # A server that does not know it, as after a restart, is given it again.
            script = client.register_script(self._text) if self._registered is None else self._registered
            self._registered = script
            return script(keys=keys, args=list(arguments))


def read_password(location: RedisLocation) -> str:
    """Out of its file, if it has one. Raises StorageError."""
    if not location.password_file:
        return location.password
    try:
        return Path(location.password_file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"password file {location.password_file} cannot be read: {error}") from None


def make_client(
    location: RedisLocation, password: str, as_text: bool, answer_s: float, connected: Callable[[], None] | None = None
) -> Any:
    """A redis.Redis, or a RedisCluster, which connects at once. `connected` is called for each new link.

    Raises what redis does: see `translated`.
    """
    options = _options(location, password, as_text, answer_s)

    def tell(_link: Any) -> None:
        if connected:
            connected()

    def connect_and_tell(link: Any) -> None:
        link.on_connect()
        tell(link)

    if location.is_cluster:
        nodes = [ClusterNode(host, port) for host, port in location.nodes]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=nodes, redis_connect_func=tell, **options)
    options |= {"db": location.database, "redis_connect_func": connect_and_tell}
    if location.path:
        return Redis(unix_socket_path=location.path, **options)
    ((host, port),) = location.nodes
    return Redis(host=host, port=port, **options)


def _options(location: RedisLocation, password: str, as_text: bool, answer_s: float) -> dict[str, Any]:
    options: dict[str, Any] = {
        "username": location.username or None,
        "password": password or None,
        "decode_responses": as_text,
        "socket_timeout": answer_s,
        "socket_connect_timeout": answer_s,
        "socket_keepalive": True,
        "protocol": 2,
        "retry": Retry(
            ExponentialWithJitterBackoff(cap=RETRY_MOST_S, base=RETRY_LEAST_S),
            CLUSTER_RETRIES if location.is_cluster else RETRIES,
            (errors.ConnectionError,),
        ),
    }
    if location.tls:
        options |= {"ssl": True}
        files = {"ssl_ca_certs": "ca_file", "ssl_certfile": "certificate_file", "ssl_keyfile": "key_file"}
        options |= {name: getattr(location, ours) for name, ours in files.items() if getattr(location, ours)}
    return options


def is_open_to_others(location: RedisLocation) -> bool:
    """Whether what goes there crosses a network unencrypted."""
    return not location.tls and not all(_is_loopback(host) for host, _ in location.nodes)


def _is_loopback(host: str) -> bool:
    try:
        return is_loopback(host)
    except ValueError:
        return False  # a name


@contextmanager
def translated(location: RedisLocation) -> Iterator[None]:
    """Redis's errors as ours: what passes is StorageUnavailable, all else StorageError."""
    try:
        yield
    except StorageError:
        raise
    except (errors.RedisError, errors.RedisClusterException, OSError) as error:
        passing = isinstance(error, _PASSING) or str(error).startswith(_PASSING_ANSWERS)
        kind = StorageUnavailable if passing and not isinstance(error, _FOR_EVER) else StorageError
        raise kind(f"{location}: {error}") from error
