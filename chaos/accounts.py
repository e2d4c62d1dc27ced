"""What senders were told, against what clients got that come and go. Pure: lists in, findings out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.outcomes import RETRYABLE, Outcome

_EXAMPLES = 8
#: With ttl they say that it will come.
_WILL_COME = frozenset({Outcome.ACKED, Outcome.STORED, Outcome.SENT, Outcome.BUFFERED})
#: They say that it did not come, and does not.
_NEVER_COMES = frozenset(
    {Outcome.OFFLINE, Outcome.EXPIRED, Outcome.OVERLOADED, Outcome.TOO_LARGE, Outcome.UNAVAILABLE, Outcome.REFUSED}
)


@dataclass(slots=True)
class Told:
    """One push: to whom, how, and what the sender was told. Its number is its place in the list of all."""

    client: int
    ttl: int
    waits: bool  # for the acknowledgement
    outcome: int = -1  # -1: nothing


class Receipt(NamedTuple):
    """A client got a push; `acknowledged`: and has said so."""

    client: int
    number: int
    push_id: str
    acknowledged: bool


@dataclass(slots=True)
class Account:
    """Counts of a whole run."""

    outcomes: dict[str, int] = field(default_factory=dict)
    received: int = 0  # different pushes
    twice: int = 0  # copies
    again: int = 0  # of these, those whose push had been acknowledged before
    silent: int = 0  # pushes without any outcome
    doubtful: int = 0  # UNKNOWN in the end: reported as such, so nothing is promised
    missing_acknowledged: int = 0
    missing_stored: int = 0
    untrue: int = 0  # came, though the sender was told that it does not
    foreign: int = 0  # what was not pushed to this client
    other_ids: int = 0  # copies with another push id
    out_of_order: int = 0
    examples: list[str] = field(default_factory=list)

    def broken(self) -> dict[str, int]:
        """The promises that were not kept, by name, and how often."""
        names = (
            *("silent", "missing_acknowledged", "missing_stored", "untrue", "foreign", "other_ids"),
            "out_of_order",
        )
        return {name: number for name in names if (number := getattr(self, name))}

    def note(self, example: str) -> None:
        """Something that is broken, in words."""
        if len(self.examples) < _EXAMPLES:
            self.examples.append(example)


def account(pushes: Sequence[Told], receipts: Iterable[Receipt]) -> Account:
    """The findings. `receipts` has what each client got in its order."""
    found = Account()
    first: dict[int, Receipt] = {}
    acknowledged: set[int] = set()
    newest: dict[tuple[int, bool], int] = {}
    for receipt in receipts:
        number = receipt.number
        if not 0 <= number < len(pushes) or pushes[number].client != receipt.client:
            found.foreign += 1
            found.note(f"client {receipt.client} got push {number}, which is not its own")
        elif number in first:
            _take_copy(found, receipt, first[number], number in acknowledged)
        else:
            first[number] = receipt
            _look_at_order(found, newest, pushes, number)
        if receipt.acknowledged:
            acknowledged.add(number)
    found.received = len(first)
    for number, push in enumerate(pushes):
        _look_at_outcome(found, number, push, number in first, number in acknowledged)
    return found


def _take_copy(found: Account, copy: Receipt, first: Receipt, was_acknowledged: bool) -> None:
    found.twice += 1
    found.again += was_acknowledged
    if copy.push_id != first.push_id and copy.push_id and first.push_id:
        found.other_ids += 1
        found.note(f"push {copy.number} came as {first.push_id} and as {copy.push_id}")


def _look_at_order(found: Account, newest: dict[tuple[int, bool], int], pushes: Sequence[Told], number: int) -> None:
    """Senders wait for the outcome of one push before the next to the same client; of a doubtful one there is none.

    Between pushes with ttl and those without no order is promised.
    """
    push = pushes[number]
    if push.outcome in RETRYABLE:
        return
    line = push.client, bool(push.ttl)
    before = newest.get(line, -1)
    if number < before:
        found.out_of_order += 1
        found.note(f"client {push.client} got push {number} ({push}) behind {before} ({pushes[before]})")
    newest[line] = max(number, before)


def _look_at_outcome(found: Account, number: int, push: Told, came: bool, acknowledged: bool) -> None:
    if push.outcome < 0:
        found.silent += 1
        found.note(f"push {number} to client {push.client} has no outcome")
        return
    outcome = Outcome(push.outcome)
    found.outcomes[outcome.name] = found.outcomes.get(outcome.name, 0) + 1
    about = f"push {number} to client {push.client}, ttl {push.ttl}, was {outcome.name}"
    if outcome is Outcome.UNKNOWN:
        found.doubtful += 1
    elif outcome is Outcome.ACKED and not acknowledged:
        found.missing_acknowledged += 1
        found.note(f"{about} and was not acknowledged")
    elif push.ttl and outcome in _WILL_COME and not came:
        found.missing_stored += 1
        found.note(f"{about} and did not come")
    elif came and outcome in _NEVER_COMES:
        found.untrue += 1
        found.note(f"{about} and came")
