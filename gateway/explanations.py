"""What this worker knows of a token: where its client is, how it stands, what waits for it (FIND1, EXPLAIN1)."""

import time
from typing import Any

from gateway.claims import Claims
from gateway.client_loop import ClientLoop
from gateway.connections import Connection, Granted, Protocol
from gateway.deliveries import Deliveries
from gateway.kept_pushes import KeptPushes
from gateway.ownership import Ownership
from gateway.router_links import RouterLinks
from gateway.send_queues import unacknowledged_bytes
from gateway.stored_states import StoredState
from gateway.tables import PROTOCOL_NAMES
from shared.bus_claims import Claim
from shared.settings import Settings
from shared.traces import Wanted

_OPTIONS = {"ack": Granted.ACK, "ids": Granted.IDS, "deflate": Granted.DEFLATE, "base64": Granted.BASE64}


def found(connection: Connection | None, worker: str) -> dict[str, Any]:
    """The answer about one token of a FIND1."""
    if connection is None:
        return {"online": False}
    return {
        "online": True,
        "worker": worker,
        "protocol": PROTOCOL_NAMES[Protocol(connection.protocol)],
        "address": connection.address,
        "since": connection.binding,
        "uid": connection.uid,
        "unacknowledged": len(connection.unacknowledged or ()),
        "unacknowledged_bytes": _unacknowledged_bytes(connection),
    }


class Explanations:
    """Answers to EXPLAIN1. The caller has sorted out what cannot be asked."""

    def __init__(
        self,
        clients: ClientLoop,
        ownership: Ownership,
        deliveries: Deliveries,
        kept: KeptPushes,
        routers: RouterLinks,
        settings: Settings,
    ) -> None:
        self._clients, self._ownership, self._deliveries, self._kept = clients, ownership, deliveries, kept
        self._routers, self._settings = routers, settings

    def explain(self, wanted: Wanted) -> dict[str, Any]:
        """The answer to one."""
        said: dict[str, Any] = {
            "worker": self._ownership.name,
            "epoch": list(self._ownership.epoch),
            "routers": self._routers.positions,
            "clock": time.monotonic(),
            "unix_us": time.time_ns() // 1000,
            "messages": self._deliveries.traces.find(wanted),
        }
        return said if wanted.token is None else said | self._token(wanted.token)

    def _token(self, token: bytes) -> dict[str, Any]:
        connection = self._clients.table.by_token.get(token)
        claims = self._deliveries.claims
        foreign = claims.foreign.get(token)
        return {
            "owner": self._ownership.owner(token),
            "settled": self._ownership.is_settled(token),
            "awaited": sorted(self._ownership.awaited),
            "moving": token in self._deliveries.away,
            "held": self._deliveries.held.count_of(token),
            "storing": self._kept.storing.outstanding.get(token, 0),
            "cache": self._kept.storing.serves(token),
            "claim": _claim(claims, token),
            "claimed_by": foreign and _claim_fields(foreign),
            "connection": connection and self._connection(connection),
        }

    def _is_for_credential(self, connection: Connection) -> bool:
        """Whether its deadline is the end of its credential, and so tells nothing of its heartbeat."""
        heartbeat_s = connection.beat or self._settings.heartbeat_max_s
        return connection.login is not None and connection.login.expires - time.time() < heartbeat_s + 2

    def _connection(self, connection: Connection) -> dict[str, Any]:
        tick = self._clients.wheel.tick
        deadline_s = connection.deadline - tick
        heartbeat_s = connection.beat or self._settings.heartbeat_max_s
        return {
            **found(connection, self._ownership.name),
            "binding": connection.binding,
            "bound_by": connection.bound_by,
            "moves": connection.moves,
            "options": [name for name, bit in _OPTIONS.items() if connection.granted & bit],
            "login": connection.login.uid if connection.login else None,
            "heartbeat_s": heartbeat_s,
            "silent_s": None if self._is_for_credential(connection) else max(0, heartbeat_s + 1 - deadline_s),
            "deadline_s": deadline_s,
            "window": self._settings.unacknowledged_max,
            "output_bytes": len(connection.output or b""),
            "full_s": tick - connection.full_since if connection.full_since else 0,
            "paused": connection.paused,
            "calls": connection.calls,
            "stored": connection.stored and _stored(connection.stored),
        }


def _stored(state: StoredState) -> dict[str, Any]:
    """How it stands with what is kept for the client."""
    return {
        "live": state.live,
        "sent_up_to": state.after,
        "newest": state.newest,
        "unacknowledged": len(state.window) + len(state.flight),
    }


def _claim(claims: Claims, token: bytes) -> dict[str, Any] | None:
    """This worker's own."""
    claim = claims.mine.get(token)
    if claim is None:
        return None
    return {**_claim_fields(claim), "confirmed": token not in claims.pending, "lost": claims.is_lost(token)}


def _claim_fields(claim: Claim) -> dict[str, Any]:
    return {"binding": claim.binding, "bound_by": claim.bound_by, "moves": claim.moves}


def _unacknowledged_bytes(connection: Connection) -> int | None:
    """What the client's kernel has not acknowledged; None: this kernel does not know either."""
    try:
        return unacknowledged_bytes(connection.fd)
    except OSError:
        return None
