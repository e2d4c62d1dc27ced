"""What is in Redis, by versions (key PREFIX:schema), and the steps from each to the next; is the server fit for it?"""

import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

from services.storage.redis_keys import Keys, bucket_of
from shared.errors import StorageError, StorageUnavailable

logger = logging.getLogger(__name__)

#: How long a step may take until another process takes it for dead, and goes it again, in ms.
STEP_MS = 60_000
_POLL_S = 0.1

_UNLOCK = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


def _begin(_client: Any, _keys: Keys) -> None:
    """Version 1 begins with nothing."""


def _list_present(client: Any, keys: Keys) -> None:
    """Version 2 has who is connected in the list of all tokens. `client` may give texts or bytes."""
    for worker in client.smembers(keys.alone("presence-workers")):
        for token, _ in client.zscan_iter(keys.of("presences-of", _text(worker)), count=1000):
            client.zadd(keys.of("tokens", str(bucket_of(_text(token)))), {token: 0})


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


#: Each step may be cut off and gone again, while others read and write what the version before has. New ones come last.
MIGRATIONS: tuple[Callable[[Any, Keys], None], ...] = (_begin, _list_present)


def migrate(client: Any, keys: Keys, migrations: tuple[Callable[[Any, Keys], None], ...] = MIGRATIONS) -> None:
    """Go the steps that have not been gone. Processes that come at once wait for one.

    Raises StorageError for a newer version, StorageUnavailable if another process does not come to an end.
    """
    deadline = time.monotonic() + 2 * STEP_MS / 1000
    while (version := version_of(client, keys)) < len(migrations):
        key, ours = keys.alone("migrating"), secrets.token_hex(8)
        if client.set(key, ours, nx=True, px=STEP_MS):
            try:
                if version_of(client, keys) == version:
                    migrations[version](client, keys)
                    client.set(keys.alone("schema"), version + 1)
            finally:
                client.eval(_UNLOCK, 1, key, ours)
        elif time.monotonic() > deadline:
            raise StorageUnavailable(f"another process has been migrating {key} for {2 * STEP_MS} ms")
        else:
            time.sleep(_POLL_S)
    if version > len(migrations):
        raise StorageError(f"version {version} is newer than {len(migrations)}, which this program knows")


def version_of(client: Any, keys: Keys) -> int:
    """Version of what is there; 0: nothing is. Raises StorageError where something else is."""
    text = client.get(keys.alone("schema"))
    try:
        return int(text or 0)
    except ValueError:
        raise StorageError(f"{keys.alone('schema')} is not a version: another program has it") from None


def check_again(client: Any, keys: Keys) -> None:
    """After a link was made anew: the server may have lost what it had, or have been brought to another version."""
    if version_of(client, keys) == 0:
        logger.warning("redis is empty: all sessions, devices, groups and messages that were there are lost")
    migrate(client, keys)


def check_server(client: Any, durability: str) -> None:
    """Whether its configuration keeps what `storage_durability` promises. Raises StorageError if it surely does not."""
    for node, configuration in _configurations(client).items():
        said = {
            name.decode() if isinstance(name, bytes) else name: value.decode() if isinstance(value, bytes) else value
            for name, value in configuration.items()
        }
        for problem in faults(said, durability):
            if durability == "fsynced" and problem.startswith("append"):
                raise StorageError(f"storage_durability fsynced, but redis {node}: {problem}")
            logger.warning("redis %s: %s", node, problem)


def faults(configuration: dict[str, str], durability: str) -> list[str]:
    """What a server's configuration makes it lose; settings that are not in it are not judged."""
    found = []
    appends = configuration.get("appendonly", "yes") == "yes"
    if durability != "memory" and not appends:
        found.append("appendonly is off: what it has not saved is lost when it ends")
    if durability == "fsynced" and appends and (how := configuration.get("appendfsync", "always")) != "always":
        found.append(f"appendfsync is {how}: the last second is lost when the machine fails")
    policy = configuration.get("maxmemory-policy", "noeviction")
    if configuration.get("maxmemory", "0") != "0" and policy != "noeviction":
        found.append(f"maxmemory-policy is {policy}: it forgets sessions and messages when its memory is full")
    return found


def _configurations(client: Any) -> dict[str, dict[Any, Any]]:
    names = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")
    nodes = client.get_primaries() if hasattr(client, "get_primaries") else [None]
    found = {}
    for node in nodes:
        where: dict[str, Any] = {"target_nodes": node} if node else {}
        try:
            found[node.name if node else "server"] = client.config_get(*names, **where)
        except Exception as error:
            if not _is_refusal(error):
                raise
            logger.info("redis does not tell its configuration (%s): nobody has checked that it is durable", error)
    return found


def _is_refusal(error: Exception) -> bool:
    """Whether the server has CONFIG forbidden or renamed."""
    return (
        str(error)
        .lower()
        .startswith(("unknown command", "err unknown command", "noperm", "this user has no perm", "user "))
    )
