"""CLAIM1, UNCLAIM1, TAKEN1 and FREED1: clients that are bound on a worker that does not own their tokens."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from shared.bus import encode_control, encode_numbered
from shared.errors import BusError


class Claim(NamedTuple):
    """A token whose client is bound on a worker that does not own it. The greater `(binding, bound_by, moves)` wins."""

    token: bytes
    binding: int
    bound_by: str
    moves: int = 0  # how often the client has been handed over: its later holder's claim is the greater one


def encode_claims(kind: bytes, claims: Sequence[Claim], number: int | None = None, whole: bool = False) -> list[bytes]:
    """CLAIM1 (with its number), UNCLAIM1, TAKEN1 or FREED1. `whole`: there are no others but those that follow."""
    body: dict[str, Any] = {"claims": [[claim.token.decode(), *claim[1:]] for claim in claims]}
    if whole:
        body["whole"] = True
    return encode_control(kind, body) if number is None else encode_numbered(kind, number, body)


def decode_claims(body: dict[str, Any]) -> list[Claim]:
    """The claims in the JSON object of such a message. Raises BusError."""
    try:
        return [
            Claim(str(token).encode(), int(binding), str(by), *map(int, more[:1]))
            for token, binding, by, *more in body["claims"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise BusError(f"malformed claims: {error}") from None
