"""A Storage in Redis, on one server or in a cluster."""

import logging
from typing import Any, Self

from services.storage.events import NOTHING, Keeping
from services.storage.redis_connections import ANSWER_S, Connection, is_open_to_others
from services.storage.redis_devices import RedisDevices
from services.storage.redis_groups import RedisGroups
from services.storage.redis_keys import Keys
from services.storage.redis_limits import RedisCodes, RedisLimits
from services.storage.redis_outbox import RedisOutbox
from services.storage.redis_presences import RedisPresences
from services.storage.redis_schema import check_again, check_server, migrate
from services.storage.redis_sessions import RedisSessions, RedisUsers
from shared.storage_locations import RedisLocation

logger = logging.getLogger(__name__)


class RedisStorage:
    """See interfaces.Storage. `connection` is for further keys at the same place."""

    def __init__(
        self,
        location: RedisLocation,
        durability: str = "written",
        answer_s: float = ANSWER_S,
        keeping: Keeping = NOTHING,
    ) -> None:
        """`keeping`: of events.

        Raises StorageError for a newer version, or a server that cannot keep what `durability` promises; raises
        StorageUnavailable where it cannot be reached.
        """
        self._opened = False
        self._durability = durability
        self.connection = Connection(location, answer_s=answer_s, check=self._check)
        self.sessions = RedisSessions(self.connection)
        self.users = RedisUsers(self.connection)
        self.devices = RedisDevices(self.connection)
        self.groups = RedisGroups(self.connection)
        self.limits = RedisLimits(self.connection)
        self.codes = RedisCodes(self.connection)
        self.outbox = RedisOutbox(self.connection, keeping)
        self.presences = RedisPresences(self.connection, self.outbox)
        if is_open_to_others(location):
            logger.warning(
                "%s is neither loopback nor TLS: whoever is on the way reads sessions and messages", location
            )
        try:
            with self.connection.asking():
                self._opened = True
        except BaseException:
            self.connection.close()
            raise

    def _check(self, client: Any, keys: Keys) -> None:
        if self._opened:
            check_again(client, keys)
            return
        check_server(client, self._durability)
        migrate(client, keys)

    def close(self) -> None:
        """End all links."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
