"""The parts of the core, built once and given to those that need several of them."""

from collections.abc import Callable
from dataclasses import dataclass

from router.answers import Answers
from router.calls import Calls
from router.claims import Claims
from router.connections import Connections
from router.counters import Counters, new_counters
from router.expansions import Expansions
from router.explanations import Explanations
from router.fan_outs import FanOuts
from router.membership import Membership
from router.memberships import Memberships
from router.outbox import Outbox
from router.overload import Admission
from router.pushes import Pushes
from router.repeats import Repeats
from router.sender_times import SenderTimes
from router.service_asks import ServiceAsks
from router.services import Services
from router.traces import Traces
from router.unreached import Unreached
from shared.places import router_endpoints
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Parts:
    """One router's parts. `started`: monotonic seconds."""

    settings: Settings
    started: float
    outbox: Outbox
    counters: Counters
    sender_times: SenderTimes
    connections: Connections
    service_connections: Connections
    membership: Membership
    memberships: Memberships
    claims: Claims
    admission: Admission
    repeats: Repeats
    answers: Answers
    pushes: Pushes
    expansions: Expansions
    fan_outs: FanOuts
    calls: Calls
    explanations: Explanations
    services: Services
    asks: ServiceAsks


def build_parts(settings: Settings, started_ms: int, position: int, now: float, unix_us: Callable[[], int]) -> Parts:
    """The parts of a router that started at `started_ms` (Unix milliseconds), which is `now` (monotonic seconds).

    `position`: its place in the list of all routers. `unix_us`: what time it is, in Unix microseconds.
    """
    outbox, counters = Outbox(), new_counters()
    membership = Membership(settings, started_ms, position, now, outbox)
    memberships = Memberships(membership, outbox)
    claims = Claims(membership, outbox)
    admission = Admission(settings.pending_requests_max, settings.pending_bytes_max, settings.overload_hold_s)
    repeats = Repeats(settings.repeat_window_s, settings.repeat_window_requests, settings.repeat_bytes_max)
    answers = Answers(outbox, admission, repeats, counters)
    services = Services(settings, started_ms, outbox, counters, membership)
    traces = Traces(settings.recent_messages_max, settings.recent_bytes_max, counters)
    pushes = Pushes(answers, membership, claims, outbox, counters, traces, settings.bus_window_batches)
    if settings.keeps_events:
        pushes.unreached = Unreached(services, counters, lambda at: started_ms + int((at - now) * 1000))
    calls = Calls(answers, membership, claims, outbox, counters)
    return Parts(
        settings=settings,
        started=now,
        outbox=outbox,
        counters=counters,
        sender_times=SenderTimes(counters, unix_us),
        connections=Connections(),
        service_connections=Connections(of_services=True),
        membership=membership,
        memberships=memberships,
        claims=claims,
        admission=admission,
        repeats=repeats,
        answers=answers,
        pushes=pushes,
        expansions=Expansions(answers, pushes, services, admission, counters, _stored_max(settings)),
        fan_outs=FanOuts(answers, membership, memberships, services, outbox, counters, traces),
        calls=calls,
        explanations=Explanations(settings.host_name, calls, membership, claims, pushes, repeats, traces),
        services=services,
        asks=ServiceAsks(settings, services, membership, outbox, counters),
    )


def _stored_max(settings: Settings) -> int:
    """Pushes that may wait at a worker for the message cache: the share of one router."""
    return settings.held_pushes_max // max(1, len(router_endpoints(settings)))
