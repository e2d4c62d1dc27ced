"""Who client number n is. Pure. The same rules are in members.h."""

from enum import StrEnum

_KINDS = (
    *("text", "v2", "text", "v2", "text", "v2", "text", "v0", "text", "v2"),
    *("ws_binary", "v2", "text", "v2", "text", "v1", "text", "v2", "text", "v2"),
)


class Role(StrEnum):
    """What a client does besides taking pushes."""

    BUSY = "busy"  # 20 %: sends packets of 4 KiB in three writes
    SLOW = "slow"  # 20 %: reads so slowly that its worker keeps output for it
    IDLE = "idle"


_ROLES = (Role.BUSY, Role.SLOW, Role.IDLE, Role.IDLE, Role.IDLE)


def role_of(client: int) -> Role:
    return _ROLES[client % 5]


def kind_of(client: int) -> str:
    """Its protocol."""
    return _KINDS[client // 5 % 20]


def has_ids(client: int) -> bool:
    """Whether it asked for push ids, and so can drop copies."""
    return client % 3 == 0 and kind_of(client) != "v0"


def token_of(client: int) -> str:
    return f"c{client}"
