"""The groups, as they are changed and asked for. From any thread."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import msgpack

from services.group.requests import GroupRequest, name_of, parse_group_request
from services.group.snapshots import Snapshots
from services.library import ClientCall, refusal
from services.storage.interfaces import Devices, Groups, Members
from shared.errors import NoGroupError, StorageUnavailable

#: As Service.regroup: group, tokens, uids, joined.
Regroup = Callable[[str, list[str], list[str], bool], Any]

#: Clients in one GROUPS_OF.
_ASKED_MAX = 10_000


class Storage(Protocol):
    """The part that is needed of services.storage."""

    @property
    def groups(self) -> Groups: ...
    @property
    def devices(self) -> Devices: ...


class GroupTopics:
    """Answers GROUPS, GROUP_MEMBERS and GROUPS_OF with msgpack maps."""

    def __init__(
        self,
        storage: Storage,
        regroup: Regroup = lambda group, tokens, uids, joined: None,
        tidy: Callable[[Iterator[None]], object] = list,
    ) -> None:
        """`regroup`: tells workers who joined a group or left it; called when that is stored, before it is answered.

        `tidy`: takes the steps that remove what a dismissed group leaves behind; nobody need wait for that.
        """
        self._storage, self._regroup, self._tidy, self._snapshots = storage, regroup, tidy, Snapshots()
        self._operations: dict[str, Callable[[GroupRequest], dict[str, Any]]] = {
            "create": self._create,
            "dismiss": self._dismiss,
            "join": self._join,
            "leave": self._leave,
            "list": self._list,
        }

    def groups(self, call: ClientCall) -> bytes:
        """GROUPS: create, dismiss, join, leave, list; `of`: those of a token and a uid. Raises Refusal."""
        return answer(self._change, call)

    def members(self, call: ClientCall) -> bytes:
        """GROUP_MEMBERS: all `tokens` in order, those of the uids among the members too; `uids`; `exists`.

        With `most`: at most so many tokens, from behind `after` on; `more`: there are others. Raises Refusal.
        """
        return answer(self._members, call)

    def groups_of(self, call: ClientCall) -> bytes:
        """GROUPS_OF: `groups` of each of the `clients` [token, uid or null], in order. Raises Refusal."""
        return answer(self._groups_of, call)

    def _change(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        if fields.get("op") == "of":
            return {"groups": sorted(self._storage.groups.of(fields.get("token"), fields.get("uid")))}
        operation = self._operations.get(str(fields.get("op")))
        if operation is None:
            raise refusal(400, f"op is none of {', '.join([*self._operations, 'of'])}")
        try:
            return operation(parse_group_request(fields))
        except NoGroupError:
            raise refusal(404, "no such group") from None

    def _create(self, request: GroupRequest) -> dict[str, Any]:
        if not self._storage.groups.create(request.group, request.by or ""):
            raise refusal(409, "there is a group of this name")
        return self._join(request)

    def _dismiss(self, request: GroupRequest) -> dict[str, Any]:
        self._check_owner(request)
        members = self._storage.groups.members(request.group)
        leftovers = self._storage.groups.dismiss(request.group)
        if leftovers is None:
            raise refusal(404, "no such group")
        self._regroup(request.group, list(members.tokens), list(members.uids), False)
        self._tidy(leftovers)
        return {"members": len(members.tokens) + len(members.uids)}

    def _join(self, request: GroupRequest) -> dict[str, Any]:
        self._check_members(request)
        joined = self._storage.groups.join(request.group, request.tokens, request.uids)
        self._regroup(request.group, request.tokens, request.uids, True)
        return {"joined": joined}

    def _leave(self, request: GroupRequest) -> dict[str, Any]:
        self._check_members(request)
        left = self._storage.groups.leave(request.group, request.tokens, request.uids)
        self._regroup(request.group, request.tokens, request.uids, False)
        return {"left": left}

    def _list(self, request: GroupRequest) -> dict[str, Any]:
        owner, members = self._storage.groups.owner(request.group), self._storage.groups.members(request.group)
        if owner is None:
            raise refusal(404, "no such group")
        return {"owner": owner, "tokens": sorted(members.tokens), "uids": sorted(members.uids)}

    def _check_owner(self, request: GroupRequest) -> None:
        owner = self._storage.groups.owner(request.group)
        if owner is None:
            raise refusal(404, "no such group")
        if request.by not in (None, owner):
            raise refusal(403, "the group belongs to another")

    def _check_members(self, request: GroupRequest) -> None:
        """Everybody may let themselves in and out, others only the owner."""
        if request.by is None or all(name == request.by for name in (*request.tokens, *request.uids)):
            return
        self._check_owner(request)

    def _members(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        group = name_of(fields, "group")
        most, after = fields.get("most"), str(fields.get("after") or "")
        if isinstance(most, int) and most >= 1:
            return self._page(group, after, most)
        members = self._storage.groups.members(group)
        exists = any(members) or self._storage.groups.exists(group)
        return {"tokens": sorted(self.tokens_of(members)), "uids": members.uids, "exists": exists, "more": False}

    def _page(self, group: str, after: str, most: int) -> dict[str, Any]:
        self._snapshots.forget_old()
        exists, tokens = self._storage.groups.exists(group), self._snapshots.find(group) if after else None
        if tokens is None:
            tokens = sorted(self.tokens_of(self._storage.groups.members(group)))
        elif not exists:  # dismissed since the first page was read
            tokens = []
        start = bisect_right(tokens, after)
        more = start + most < len(tokens)
        if more and not after:
            self._snapshots.keep(group, tokens)
        return {"tokens": tokens[start : start + most], "uids": [], "exists": exists, "more": more}

    def tokens_of(self, members: Members) -> list[str]:
        """Of the members and of all devices of those that are users, each once."""
        devices = [device.token for uid in members.uids for device in self._storage.devices.of(uid)]
        return list(dict.fromkeys([*members.tokens, *devices]))

    def _groups_of(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        clients = fields.get("clients")
        if not isinstance(clients, list) or len(clients) > _ASKED_MAX:
            raise refusal(400, f"clients is not a list of at most {_ASKED_MAX}")
        try:
            return {"groups": [self._storage.groups.of(token, uid) for token, uid in clients]}
        except (TypeError, ValueError):
            raise refusal(400, "one of the clients is no token and uid") from None


def answer(work: Callable[[Mapping[str, Any]], dict[str, Any]], call: ClientCall) -> bytes:
    """What `work` makes of a call's map. Raises Refusal; 503 while the storage cannot be reached."""
    try:
        packed: bytes = msgpack.packb(work(call.fields()))
    except StorageUnavailable as error:
        raise refusal(503, f"storage: {error}") from None
    return packed
