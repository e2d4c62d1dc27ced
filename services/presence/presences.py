"""The topic PRESENCE: what workers report, and what others ask. From any thread."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgpack
import ujson

from services.library import ClientCall, refusal
from services.presence.requests import after_pair, after_token, name_of, parse_report, tokens_of
from services.storage.events import KINDS
from services.storage.interfaces import Storage
from services.storage.presences import Ended, Presence, Transition
from shared.errors import StorageUnavailable

#: Entries in one answer.
PAGE_MAX = 1000


class PresenceTopic:
    """Answers with msgpack maps. `publish` is told of what has changed, in order."""

    def __init__(
        self,
        storage: Storage,
        publish: Callable[[Sequence[Transition]], None],
        unix_ms: Callable[[], int],
        tell: Callable[[Sequence[Mapping[str, Any]]], None] = lambda events: None,
    ) -> None:
        """`tell`: publishes events of other services."""
        self._storage, self._store = storage, storage.presences
        self._publish, self._tell, self._unix_ms = publish, tell, unix_ms
        self._changing = threading.Lock()  # events are told in the order in which things were put in
        self._operations: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "report": self._report,
            "find": self._find,
            "list": self._list,
            "tell": self._tell_others,
        }

    def answer(self, call: ClientCall) -> bytes:
        """`report`, `find`, `list`, `tell`. Raises Refusal; 503 while the storage cannot be reached."""
        fields = call.fields()
        operation = self._operations.get(str(fields.get("op")))
        if operation is None:
            raise refusal(400, f"op is none of {', '.join(self._operations)}")
        try:
            packed: bytes = msgpack.packb(operation(fields))
        except StorageUnavailable as error:
            raise refusal(503, f"storage: {error}") from None
        except (KeyError, TypeError, ValueError):
            raise refusal(400, "a field is missing or malformed") from None
        return packed

    def _report(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        report = parse_report(fields)
        worker, term, now = report.worker, report.term, self._unix_ms()
        with self._changing:
            if not self._store.report(worker, term, report.number, report.lease_ms, now, begin=report.begin):
                raise refusal(409, "not the report behind the last one: tell the whole")
            for come, gone in passes(report.changes, worker):
                self._publish(self._store.come(come, term, now))
                self._publish(self._store.gone(gone, now))
            if report.end:
                self._store.told_whole(worker, term, now)
        return {}

    def _find(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Who of `tokens`, of the devices of the user `uid`, or of the members of `group` is connected.

        Of a user or a group a page, in order of the tokens, behind the token `after`; `next`: go on so.
        """
        if "tokens" in fields:
            tokens, behind = tokens_of(fields), None
        else:
            tokens, behind = self._page(self._tokens(fields, after := after_token(fields)), after)
        found = self._store.present(tokens, self._unix_ms())
        return {"found": [_told(token, one) for token, one in zip(tokens, found, strict=True)], "next": behind}

    def _page(self, tokens: set[str], after: str) -> tuple[list[str], str | None]:
        left = sorted(token for token in tokens if token > after)
        return left[:PAGE_MAX], left[PAGE_MAX - 1] if len(left) > PAGE_MAX else None

    def _tokens(self, fields: Mapping[str, Any], after: str) -> set[str]:
        if "uid" in fields:
            return self._of_users([name_of(fields, "uid")], after)
        group = name_of(fields, "group")
        if not self._storage.groups.exists(group):
            raise refusal(404, "no such group")
        members = self._storage.groups.members(group)
        return {*members.tokens, *self._of_users(members.uids, after)}

    def _of_users(self, uids: Sequence[str], after: str) -> set[str]:
        """Their devices, as far as they are kept, and whoever is connected for them; a page's worth at least."""
        devices = {device.token for uid in uids for device in self._storage.devices.of(uid)}
        here = {token for uid in uids for token in self._store.tokens_of_user(uid, after, PAGE_MAX + 1)}
        return devices | here

    def _list(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """A page of all who are connected, by worker and token, behind `after` [worker, token]; `next`: go on so."""
        now = self._unix_ms()
        at_worker, after = after_pair(fields)
        for worker in self._store.workers(now):
            if worker < at_worker:
                continue
            tokens = self._store.tokens_of(worker, after if worker == at_worker else "", PAGE_MAX)
            if tokens:
                found = [one for one in self._store.present(tokens, now) if one and one.worker == worker]
                return {"found": [_told(one.token, one) for one in found], "next": [worker, tokens[-1]]}
        return {"found": [], "next": None}

    def _tell_others(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """`events`: JSON texts of events, which are published as they are."""
        events = [ujson.loads(text) for text in fields["events"]]
        if not all(isinstance(event, dict) and event.get("kind") in KINDS for event in events):
            raise refusal(400, "events are no events")
        self._tell(events)
        return {}

    def sweep(self, grace_ms: int) -> None:
        """End what dead workers have left."""
        now = self._unix_ms()
        for worker, term in self._store.ending(now, grace_ms):
            parts, is_left = self._store.end(worker, term, now), True
            while is_left:
                with self._changing:  # others are heard between the parts
                    told = next(parts, None)
                    self._publish(told or ())
                is_left = told is not None
            self._store.forget(worker, term, now)
        self._store.purge(now)
        self._store.finish(now)


def passes(changes: Sequence[Sequence[Any]], worker: str) -> list[tuple[list[Presence], list[Ended]]]:
    """A report's changes, so parted that none has two of one token. Raises ValueError, TypeError."""
    found: list[tuple[list[Presence], list[Ended]]] = []
    count: dict[str, int] = {}
    for is_end, token, *rest in changes:
        number = count[token] = count.get(token, -1) + 1
        if number == len(found):
            found.append(([], []))
        uid, protocol, address, *rank = rest[:-1] if is_end else rest
        presence = Presence(token, uid, worker, protocol, address, *rank)
        if is_end:
            found[number][1].append(Ended(presence, rest[-1]))
        else:
            found[number][0].append(presence)
    return found


def _told(token: str, presence: Presence | None) -> dict[str, Any]:
    if presence is None:
        return {"token": token, "online": False}
    return {
        "token": token,
        "online": True,
        "worker": presence.worker,
        "protocol": presence.protocol,
        "address": presence.address,
        "since": presence.binding,
        "uid": presence.uid,
    }
