"""What every storage can do. `opening.open_storage` opens one; services see nothing but these classes.

Every call blocks, so it belongs in a thread that may wait, never in a hub. All may be called from any thread. Times
are Unix seconds, and `now` is the caller's clock. Tokens, uids and names of groups are texts of 1 to 255 bytes in UTF-8
without control characters; nothing else is assumed of them. Who passes others gets what the storage makes of them.

Every call may raise StorageUnavailable, when the storage cannot be reached, is full or is too slow: with SQLite
nothing has been changed then; with Redis the change may have been made or not, and all calls may be repeated. It may
raise StorageError, when what is stored cannot be used. When a call has returned, what it has changed is as safe as
the setting `storage_durability` says.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol, Self

from services.storage.events import Outbox
from services.storage.presences import PresenceStore


class Session(NamedTuple):
    """One login: of one user, with one client identifier, which is the client's token."""

    uid: str
    client_identifier: str
    secret: str
    usertoken: str
    created: float
    expires: float | None  # None: it never does
    mobile: str | None = None

    def lives(self, now: float) -> bool:
        """Whether it has not expired."""
        return self.expires is None or self.expires > now


class Device(NamedTuple):
    """A token that a user has bound."""

    token: str
    protocol: str
    added: float
    seen: float


class Members(NamedTuple):
    """Who is in a group, in no order."""

    tokens: list[str]
    uids: list[str]


class Sessions(Protocol):
    """Logins, by (uid, client identifier). Users with the same client identifier do not disturb each other's."""

    def put(self, session: Session, now: float) -> None:
        """Keep it, in place of the one of the same uid and client identifier. Some that have expired may go."""

    def get(self, uid: str, client_identifier: str) -> Session | None:
        """It, also if it has expired (`Session.lives`)."""

    def by_uid(self, uid: str) -> list[Session]:
        """All of a user, also those that have expired, in no order."""

    def delete(self, uid: str, client_identifier: str) -> bool:
        """End one; whether there was one."""

    def owner_of(self, token: str, now: float) -> str | None:
        """The uid whose live session has this client identifier; of several, the one that has had it longest."""


class Users(Protocol):
    """People, by mobile number."""

    def user_by_mobile(self, mobile: str, make: Callable[[], str]) -> tuple[str, bool]:
        """(uid, whether it is new). `make` gives a uid for a number without one; it may be called and not be used.

        Of calls at once, also by several processes, all give the same uid, and one says that it is new.
        """

    def is_blocked(self, uid: str) -> bool:
        """Whether `block` has said so last."""

    def block(self, uid: str, blocked: bool) -> None:
        """Refuse this user from now on, or no longer."""


class Devices(Protocol):
    """Tokens of users, one user's at most each; and for a while those that have come without a user."""

    def add(self, uid: str, token: str, protocol: str, now: float) -> None:
        """The token is this user's, no longer another's. It was seen now, and added when it became this one's."""

    def of(self, uid: str) -> list[Device]:
        """All of a user, in no order."""

    def remove(self, uid: str, token: str) -> bool:
        """Forget one; whether this user had it."""

    def uid_of(self, token: str) -> str | None:
        """Whose it is."""

    def meet(self, token: str, until: float, now: float) -> None:
        """A token has come without a user. It is known for half of that time at least, and until then at most."""

    def all_tokens(self, after: str, most: int, now: float) -> list[str]:
        """At most so many of all known tokens, behind `after` in the storage's own order, from the first for "".

        Empty: there are no more. Who goes on with the last one each time gets every token that stays, once.
        """


class Groups(Protocol):
    """Groups of tokens and uids. Tokens and uids of the same text are different members."""

    def create(self, name: str, owner: str) -> bool:
        """Make an empty group; False: there is one of that name, which is left as it is."""

    def dismiss(self, name: str) -> Iterator[None] | None:
        """End it, at once for all its members; None: there was none. A new one of that name has none of them.

        The steps that it gives remove what nobody sees any more, but takes room: to be taken when there is time.
        """

    def exists(self, name: str) -> bool:
        """Whether there is one."""

    def owner(self, name: str) -> str | None:
        """Who made it; None: there is none."""

    def join(self, name: str, tokens: Iterable[str], uids: Iterable[str]) -> int:
        """How many are new members. Many are added in steps, between which others see some of them.

        Raises NoGroupError, also when it is dismissed meanwhile.
        """

    def leave(self, name: str, tokens: Iterable[str], uids: Iterable[str]) -> int:
        """How many were members; 0 for a group that there is not. Many leave in steps, as they join."""

    def members(self, name: str) -> Members:
        """All of them; none for a group that there is not. Uids are not resolved into tokens."""

    def of(self, token: str | None, uid: str | None) -> list[str]:
        """Names of all groups that this token or this uid is a member of, each once, in no order. None: it has none."""


class Limits(Protocol):
    """Counters that begin anew after a while."""

    def tries(self, key: str, window_s: float, now: float) -> int:
        """Count one more, and give how many there are in this window, which began with the first.

        A call that is repeated after StorageUnavailable may have been counted already. A clock that is set back makes
        a window longer by less than its length, or ends it.
        """


class Codes(Protocol):
    """Texts that are good for a while, such as the codes that prove a mobile number."""

    def put(self, key: str, code: str, expires: float, now: float) -> None:
        """Keep it, in place of an earlier one of that key."""

    def get(self, key: str, now: float) -> str | None:
        """It; None: there is none, or it has expired."""

    def delete(self, key: str) -> bool:
        """Forget it; whether there was one. It may have expired. Of calls at once, one gives True."""


class Storage(Protocol):
    """All of it. Also a context manager, which closes it."""

    @property
    def sessions(self) -> Sessions:
        """Logins."""

    @property
    def users(self) -> Users:
        """People."""

    @property
    def devices(self) -> Devices:
        """Tokens of users."""

    @property
    def groups(self) -> Groups:
        """Groups of tokens and uids."""

    @property
    def limits(self) -> Limits:
        """Counters that begin anew after a while."""

    @property
    def codes(self) -> Codes:
        """Texts that are good for a while."""

    @property
    def presences(self) -> PresenceStore:
        """Who is connected."""

    @property
    def outbox(self) -> Outbox:
        """Events that are to be delivered."""

    def close(self) -> None:
        """Give back connections and files; nothing may be called afterwards."""

    def __enter__(self) -> Self:
        """Itself."""

    def __exit__(self, *_: object) -> None:
        """Closes it."""
