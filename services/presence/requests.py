"""What is asked of the presence service, checked. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from services.library.calls import refusal
from shared.tokens import encode_token

#: Tokens in one question, and changes in one report.
TOKENS_MAX = CHANGES_MAX = 10_000
#: As the setting presence_lease_ms; a worker with a shorter lease harms itself only.
LEASE_MAX_MS = 600_000

_TEXT_MAX = 4096
_NUMBER_MAX = 1 << 53  # whole for every storage
#: Fields of a client in a change, behind the first, which says whether it has gone. Then, if it has: the reason.
_FIELDS = ("token", "uid", "protocol", "address", "binding", "bound_by", "moves")
_NUMBERS = frozenset({"binding", "moves"})


class Report(NamedTuple):
    """What a worker tells of its clients. `changes`: lists of whether it has gone, `_FIELDS`, and the reason if so."""

    worker: str
    term: str
    number: int
    lease_ms: int
    begin: bool
    end: bool
    changes: list[list[Any]]


def parse_report(fields: Mapping[str, Any]) -> Report:
    """Of the map in a call. Raises Refusal (400)."""
    changes = fields.get("changes")
    if not isinstance(changes, list) or len(changes) > CHANGES_MAX:
        raise refusal(400, f"changes is not a list of at most {CHANGES_MAX}")
    for at, change in enumerate(changes):
        fault = _change_fault(change)
        if fault:
            raise refusal(400, f"change {at}: {fault}")
    return Report(
        name_of(fields, "worker"),
        name_of(fields, "term"),
        _number_of(fields, "number", 1, _NUMBER_MAX),
        _number_of(fields, "lease_ms", 1, LEASE_MAX_MS),
        bool(fields.get("begin")),
        bool(fields.get("end")),
        changes,
    )


def tokens_of(fields: Mapping[str, Any]) -> list[str]:
    """The `tokens` of a question. Raises Refusal (400)."""
    tokens = fields["tokens"]
    if not isinstance(tokens, list) or len(tokens) > TOKENS_MAX:
        raise refusal(400, f"tokens is not a list of at most {TOKENS_MAX}")
    if not all(map(_is_text, tokens)):
        raise refusal(400, "one of tokens is not text")
    return tokens


def name_of(fields: Mapping[str, Any], key: str) -> str:
    """A uid, a group, or a name that a worker gives. Raises Refusal (400)."""
    if key not in fields:
        raise refusal(400, f"{key} is missing")
    fault = encode_token(fields[key])[1]
    if fault:
        raise refusal(400, fault.replace("token", key, 1))
    return str(fields[key])


def after_token(fields: Mapping[str, Any]) -> str:
    """The token behind which to go on; empty: from the first. Raises Refusal (400)."""
    after = fields.get("after") or ""
    if not _is_text(after):
        raise refusal(400, "after is not a token")
    return str(after)


def after_pair(fields: Mapping[str, Any]) -> tuple[str, str]:
    """The worker and its token behind which to go on; both empty: from the first. Raises Refusal (400)."""
    after = fields.get("after") or ["", ""]
    if not isinstance(after, list) or len(after) != 2 or not all(map(_is_text, after)):
        raise refusal(400, "after is not a worker and a token")
    return after[0], after[1]


def _number_of(fields: Mapping[str, Any], key: str, least: int, most: int) -> int:
    number = fields.get(key)
    if type(number) is not int or not least <= number <= most:
        raise refusal(400, f"{key} is not a whole number of {least} to {most}")
    return number


def _change_fault(change: object) -> str:
    """What is wrong with one; empty: nothing."""
    if not isinstance(change, list) or not change or type(change[0]) is not bool:
        return "not a list that begins with whether the client has gone"
    said = change[1:]
    if len(said) != len(_FIELDS) + change[0]:
        return f"{len(said)} fields, expected {len(_FIELDS) + change[0]}"
    for key, value in zip((*_FIELDS, "reason"), said, strict=False):
        if key in _NUMBERS:
            if type(value) is not int or not 0 <= value <= _NUMBER_MAX:
                return f"{key} is not a whole number of 0 to {_NUMBER_MAX}"
        elif not _is_text(value) and not (key == "uid" and value is None):
            return f"{key} is not text of at most {_TEXT_MAX} characters"
    return encode_token(said[0])[1] or ""


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _TEXT_MAX
