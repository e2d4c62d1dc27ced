"""Events that a receiver got, beside what clients know of their connections. Pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.guests import Visit
from chaos.results import Result

Event = Mapping[str, Any]

#: A connection that was bound so short (seconds) before its worker was killed, and has gone by then or with it, may
#: never have been told of.
UNTOLD_S = 0.3

#: Why nobody was told of a connection.
AT_A_KILL = "it was bound at most 0.3 s before the kill of a worker, and has gone with it"
BOTH_AWAY = "it came while the presence service was away, and its worker was killed before that was back"


@dataclass(slots=True)
class Account:
    """What is wrong. Each is a list of examples; all but `untold` and `repeats` ought to be empty."""

    missing: list[str] = field(default_factory=list)  # a client knows of it, and no event tells
    doubled: list[str] = field(default_factory=list)  # two ids tell of one and the same
    false: list[str] = field(default_factory=list)  # it did not happen
    gaps: list[str] = field(default_factory=list)  # of a token's sequence, or of the outbox's numbers
    disordered: list[str] = field(default_factory=list)  # of first arrivals
    untold: Counter[str] = field(default_factory=Counter)  # neither was told, as docs/events.md says, by why
    repeats: int = 0
    unknown_told: int = 0  # connections whose SUB was not answered, and of which events tell


@dataclass(slots=True)
class Breaks:
    """What was broken, and when (time.time())."""

    kills: list[float] = field(default_factory=list)  # of workers
    outages: list[tuple[float, float]] = field(default_factory=list)  # the presence service was away

    def excuse(self, visit: Visit) -> str:
        """Why a connection may have come and gone without anybody being told; empty: it may not."""
        bound, ended = visit.bound, visit.ended
        if bound is None or ended is None:
            return ""
        gone_by = [killed for killed in self.kills if visit.by_gateway or ended < killed + UNTOLD_S / 3]
        if any(-UNTOLD_S < bound - killed < UNTOLD_S / 3 for killed in gone_by):
            return AT_A_KILL
        outages = [(begin, end) for begin, end in self.outages if begin <= bound <= end]
        if any(bound <= killed <= end for killed in gone_by for _, end in outages):
            return BOTH_AWAY
        return ""


def account(visits: Sequence[Visit], events: Sequence[Event], breaks: Breaks) -> Account:
    """`events`: as they came, repeats too."""
    found = Account()
    once = _first_arrivals(events, found)
    _look_at_sequences(once, found)
    told = Counter((event["token"], event["address"], event["kind"]) for event in once)
    by_connection: dict[tuple[str, str], list[Visit]] = defaultdict(list)
    for visit in visits:
        by_connection[visit.token, visit.address].append(visit)
    for connection, its in by_connection.items():
        came, went = told.pop((*connection, "connected"), 0), told.pop((*connection, "disconnected"), 0)
        excused = list(filter(None, [breaks.excuse(visit) for visit in its]))
        _compare(connection, its, (came, went), excused, found)
    found.false += [f"{kind} of {token} at {address}" for token, address, kind in told]
    return found


def _first_arrivals(events: Sequence[Event], found: Account) -> list[Event]:
    once: dict[str, Event] = {}
    latest = 0
    for event in events:
        if event["kind"] not in ("connected", "disconnected"):
            raise ValueError(f"event of kind {event['kind']}")
        if event["id"] in once:
            found.repeats += 1
            continue
        once[event["id"]] = event
        if event["number"] < latest:
            found.disordered.append(f"{event['number']} behind {latest}")
        elif event["number"] > latest + 1:
            found.gaps.append(f"number {event['number']} behind {latest}")
        latest = max(latest, event["number"])
    return list(once.values())


def _look_at_sequences(once: Sequence[Event], found: Account) -> None:
    """Of each token: numbers without gaps, and whoever comes has gone before."""
    by_token: dict[str, list[Event]] = defaultdict(list)
    for event in once:
        by_token[event["token"]].append(event)
    for token, its in by_token.items():
        first = its[0]["token_sequence"]
        if [event["token_sequence"] for event in its] != list(range(first, first + len(its))):
            found.gaps.append(f"sequence of {token}")
        kinds = [event["kind"] for event in its]
        if kinds != [("connected", "disconnected")[number % 2] for number in range(len(its))]:
            found.false.append(f"{token}: {' '.join(kinds)}")


def _compare(
    connection: tuple[str, str],
    visits: Sequence[Visit],
    told: tuple[int, int],
    excused: Sequence[str],
    found: Account,
) -> None:
    """`told`: how often it was said that this connection has come, and has gone. `excused`: so often it need not be."""
    certain = [visit for visit in visits if visit.bound is not None]
    ended = sum(visit.ended is not None for visit in certain)
    doubtful, untold = len(visits) - len(certain), len(excused)
    where = f"{connection[0]} at {connection[1]}"
    for kind, count, least in (("connected", told[0], len(certain)), ("disconnected", told[1], ended)):
        if count < least - untold:
            found.missing.append(f"{kind} of {where}")
        elif count > least + doubtful:
            found.doubled.append(f"{kind} of {where}: {count}")
    not_told, gone_not_told = max(0, len(certain) - told[0]), max(0, ended - told[1])
    if not_told <= untold and gone_not_told <= untold:
        found.untold.update(excused[:not_told])
        if not_told != gone_not_told:
            found.missing.append(f"one of the two of {where}")
    found.unknown_told += max(0, told[0] - len(certain))


def state(found: Account, result: Result) -> None:
    """Put it into a result."""
    for name, examples in (
        ("comings and goings that no event tells of", found.missing),
        ("told with two ids", found.doubled),
        ("told, and did not happen", found.false),
        ("gaps in sequences and numbers", found.gaps),
        ("out of order", found.disordered),
    ):
        result.at_most(name, len(examples), 0)
        for example in examples[:3]:
            result.state(f"{name}, such as", example)
    for why in (AT_A_KILL, BOTH_AWAY):
        result.state(f"neither told: {why}", found.untold[why])
    result.state("events of connections whose SUB was not answered", found.unknown_told)
    result.state("events that came again, with the same id", found.repeats)
