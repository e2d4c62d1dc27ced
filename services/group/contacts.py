"""CONTACT: what one client writes to another, or to a group that it is in."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from services.group.groups import GroupTopics, Storage
from services.group.requests import TO_GROUP, Contact, parse_contact, told
from services.library import ClientCall
from shared.errors import SenderError, StorageUnavailable
from shared.outcomes import Outcome

#: As Sender.push_many: (token, payload) pairs and options in, outcomes in order out.
PushMany = Callable[..., Iterator[Outcome]]

#: Outcomes with which the recipient has it, or will have it.
_GOOD = frozenset({Outcome.SENT, Outcome.ACKED, Outcome.STORED, Outcome.BUFFERED})

#: (status, message) of a message that did not reach its one recipient.
_FAULTS = {
    Outcome.OFFLINE: (404, "the recipient is not connected"),
    Outcome.EXPIRED: (404, "the recipient was not there in time"),
    Outcome.TOO_LARGE: (413, "the message is too large for the recipient"),
    Outcome.OVERLOADED: (503, "the recipient's queue is full"),
    Outcome.REFUSED: (400, "the recipient cannot take this message"),
}


class Contacts:
    """Answers CONTACT. `ttl_s`: how long a message is kept for a recipient who is away."""

    def __init__(self, storage: Storage, groups: GroupTopics, push_many: PushMany, ttl_s: int) -> None:
        self._storage, self._groups, self._push_many, self._ttl_s = storage, groups, push_many, ttl_s

    def contact(self, call: ClientCall) -> bytes:
        """Raises Refusal with the status for the client."""
        contact = parse_contact(call.body, call.token)
        try:
            if contact.type == TO_GROUP:
                self._to_group(contact, call.uid)
            else:
                self._to_token(contact)
        except StorageUnavailable:
            raise told(503, "the group service cannot reach its storage") from None
        except SenderError:
            raise told(503, "no router takes the message") from None
        return b""

    def _to_token(self, contact: Contact) -> None:
        (outcome,) = self._push([contact.to], contact.body)
        if outcome not in _GOOD:
            raise told(*_FAULTS.get(outcome, (503, "the message did not get through")))

    def _to_group(self, contact: Contact, uid: str | None) -> None:
        members = self._storage.groups.members(contact.to)
        if contact.sender not in members.tokens and (uid is None or uid not in members.uids):
            raise told(403, "not a member of this group")
        recipients = [token for token in self._groups.tokens_of(members) if token != contact.sender]
        outcomes = Counter(self._push(recipients, contact.body))
        if outcomes[Outcome.UNAVAILABLE] or outcomes[Outcome.UNKNOWN]:
            raise told(503, "the message did not get through to all members")

    def _push(self, tokens: Iterable[str], body: bytes) -> Iterator[Outcome]:
        options: dict[str, Any] = {"ttl": self._ttl_s} if self._ttl_s else {}
        return self._push_many(((token, body) for token in tokens), **options)
