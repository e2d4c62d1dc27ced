"""What a worker does with the routers' messages, and what it tells them."""

import logging
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from time import monotonic, time_ns
from typing import Any, NamedTuple

import ujson

from gateway.calls import Calls
from gateway.client_loop import ClientLoop
from gateway.connections import Connection
from gateway.counters import outcome_counter
from gateway.deliveries import Deliveries
from gateway.encoders import Encoder
from gateway.explanations import Explanations, found
from gateway.fan_outs import FanOuts
from gateway.fan_outs_seen import seen_of
from gateway.held_pushes import HeldPush
from gateway.kept_pushes import KeptPushes
from gateway.landing import Landing
from gateway.membership_asks import MembershipAsks
from gateway.memberships import Memberships
from gateway.ownership import Ownership
from gateway.push_logs import PushLogs
from gateway.router_links import RouterLinks
from shared import __version__, bus, bus_claims, bus_rings
from shared.calls import REGROUP1, TOLD1, TOPICS1
from shared.durations import Durations
from shared.errors import BusError
from shared.outcomes import Outcome
from shared.reasons import CloseReason
from shared.traces import wanted_of

logger = logging.getLogger(__name__)

_SENT = bytes((Outcome.SENT,))
_STALE, _UNAVAILABLE = bytes((bus.STALE,)), bytes((Outcome.UNAVAILABLE,))
_COUNTED = [(bytes((outcome,)), outcome_counter(outcome)) for outcome in Outcome]


#: A ring that takes more bytes (some hundreds of workers) is not noted for a successor.
_NOTED_RING_MAX = 2_000


class Process(NamedTuple):
    """Which process a worker is."""

    incarnation: str  # random: one for each run
    pid: int
    started: int  # clock ticks since the machine's start, field 22 of /proc/PID/stat
    hand_over_path: str


class BusHandlers:
    """One method for each kind of message. `router` is the place of the one that sent it in this worker's list."""

    def __init__(
        self,
        clients: ClientLoop,
        ownership: Ownership,
        deliveries: Deliveries,
        fan_outs: FanOuts,
        landing: Landing,
        routers: RouterLinks,
        encoder: Encoder,
        process: Process,
        calls: Calls,
        kept: KeptPushes,
        memberships: Memberships,
        asks: MembershipAsks,
        explanations: Explanations,
    ) -> None:
        self._explanations = explanations
        self._calls = calls
        self._memberships, self._asks = memberships, asks
        self._want_members: set[int] = set()  # routers that know MEMBERS1
        self._kept = kept
        self._clients = clients
        self._ownership = ownership
        self._deliveries = deliveries
        self._fan_outs = fan_outs
        self._landing = landing
        self._routers = routers
        self._encoder = encoder
        self._process = process
        self._delivery_times = Durations()
        self.push_logs = PushLogs()
        clients.blamed = self.push_logs.blamed
        self._waiting_calls: list[tuple[int, int, dict[str, Any]]] = []  # router, number, call
        fan_outs.report = self._report
        landing.late = kept.late.say = self._say_late
        kept.late.say_dropped = self._say_dropped
        kept.replays.note = self.push_logs.replayed
        deliveries.takes_back = routers.knows_stale
        landing.settled = self._settled
        landing.moving.heard = landing.claiming.heard = lambda: routers.heard
        landing.claiming.say = routers.send_all
        claiming = landing.claiming
        self._handlers: dict[bytes, Callable[[int, list[bytes]], None]] = {
            bus.PUSHES1: self._pushes,
            bus.ALL1: self._all,
            bus.RING1: self._ring,
            bus.CALL1: self._call,
            bus.WHO1: self._asked,
            bus.ALIVE1: self._alive,
            bus.CLAIMED1: lambda router, frames: claiming.claimed(router, bus.decode_numbered(frames)[0]),
            bus.TAKEN1: self._taken,
            bus.FREED1: lambda router, frames: claiming.freed(_claims(frames)),
            bus.NOTED1: self._noted,
            TOPICS1: self._topics,
            TOLD1: calls.told,
            REGROUP1: asks.regroup,
        }

    def receive(self, router: int, frames: list[bytes]) -> None:
        """One message from a router."""
        handler = self._handlers.get(frames[0])
        try:
            if self._routers.note(router) and frames[0] != bus.WHO1:
                self.say_ready(router)  # it may have lost sight of this worker
            if handler is None:
                raise BusError(f"unknown message {frames[0][:16]!r}")
            handler(router, frames)
        except BusError as error:
            self._clients.counters["bus_errors"] += 1
            logger.warning("bus: %s", error)

    def _pushes(self, router: int, frames: list[bytes]) -> None:
        began = monotonic()
        batch = bus.decode_batch(frames)
        outcomes = self._deliveries.deliver_batch(batch, router)
        if not self._routers.knows_stale(router):
            outcomes = outcomes.replace(_STALE, _UNAVAILABLE)
        ended = monotonic()  # before the answer: nobody may have it earlier than that
        when = (time_ns() // 1000 - int((ended - began) * 1e6), time_ns() // 1000) if batch.origins else None
        self._routers.send(router, bus.encode_outcomes(batch.number, outcomes, when))
        if batch.origins:
            self.push_logs.batch(batch, outcomes)
        counters = self._clients.counters
        counters["batches"] += 1
        sent = outcomes.count(_SENT)
        counters["pushes_sent"] += sent
        if sent < len(outcomes):
            for byte, counter in _COUNTED[1:]:
                counters[counter] += outcomes.count(byte)
            counters["pushes_stale"] += outcomes.count(_STALE)
        self._delivery_times.add(ended - began, len(outcomes))
        self._deliveries.traces.batch(router, batch.number, frames, began, ended, bytes(outcomes))

    def _all(self, router: int, frames: list[bytes]) -> None:
        self._clients.counters["fan_outs"] += 1
        fan_out = bus.decode_fan_out(frames)
        self.push_logs.fan_out(router, fan_out)
        self._deliveries.traces.to_many(router, fan_out, monotonic())
        self._fan_outs.start(router, fan_out)

    def _ring(self, router: int, frames: list[bytes]) -> None:
        news = bus_rings.decode_ring(frames)
        self._deliveries.fenced(router, bus_rings.fenced_slots(frames))
        followed = self._ownership.follow(news)
        if followed:
            logger.info(
                "ring %d.%d: %d workers, %d slots here",
                *self._ownership.epoch,
                len(self._ownership.live),
                self._ownership.share,
            )
        self._landing.moving.fence(router, news.epoch)
        if followed:
            self._note_ring()
            self._spread(range(len(self._routers)))
            self._landing.ring_changed()
        else:
            self._spread([router])

    def _note_ring(self) -> None:
        """For a successor: it tells a router that has started meanwhile, too, who there is."""
        ring = zlib.compress(ujson.dumps(bus_rings.ring_fields(self._ownership.news)).encode(), 1)
        self._clients.ledger.note_own(ring=ring if len(ring) <= _NOTED_RING_MAX else b"")

    def _noted_ring(self) -> dict[str, Any] | None:
        """The ring that a predecessor followed."""
        noted = self._clients.ledger.own.get("ring")
        return ujson.loads(zlib.decompress(noted)) if noted else None

    def _taken(self, router: int, frames: list[bytes]) -> None:
        body = bus.decode_control(frames)
        if body.get("whole"):
            self._landing.claiming.forget_others()
        self._landing.claiming.taken(bus_claims.decode_claims(body), router)

    def _asked(self, router: int, frames: list[bytes]) -> None:
        """WHO1. A router that has started anew knows nothing of what went back to the one before, or was asked."""
        if not bus.decode_control(frames).get("known"):
            self._deliveries.returned_to(router).clear()
            self._calls.lost(router)
        self.say_ready(router)

    def _spread(self, routers: Iterable[int]) -> None:
        """Tell the ring to those of the routers that have not told it themselves."""
        for router in self._landing.moving.behind(routers):
            self._routers.send(router, bus_rings.encode_ring(self._ownership.news, bus.NEWS1))

    def _alive(self, router: int, frames: list[bytes]) -> None:
        body = bus.decode_control(frames)
        self._routers.alive(router, body.get("router"))
        if body.get("members") and router not in self._want_members:
            self._want_members.add(router)
            self._memberships.ready(router)
        self._memberships.notes(router, bool(body.get("notes")))

    def _noted(self, router: int, frames: list[bytes]) -> None:
        number, body = bus.decode_numbered(frames)
        self._memberships.noted(router, number, again=bool(body.get("again")))

    def _topics(self, router: int, frames: list[bytes]) -> None:
        self._calls.told_topics(router, frames)
        self._kept.storing.look()
        self._asks.topics_changed()

    # --- calls

    def _call(self, router: int, frames: list[bytes]) -> None:
        number, body = bus.decode_numbered(frames)
        if body.get("call") == "explain":
            answer = self._explanations.explain(wanted_of(body))
            self._routers.send(router, bus.encode_numbered(bus.REPLY1, number, {"answers": [answer]}))
            return
        tokens = body.get("tokens")
        if body.get("call") not in ("find", "kick") or not isinstance(tokens, list):
            raise BusError("unknown call")
        if all(self._can_answer(_token(text)) for text in tokens):
            self._answer_call(router, number, body)
        else:
            self._waiting_calls.append((router, number, body))

    def _can_answer(self, token: bytes) -> bool:
        return token in self._clients.table.by_token or self._ownership.is_settled(token)

    def _settled(self) -> None:
        self._answer_waiting_calls()
        self._memberships.changed()

    def _answer_waiting_calls(self) -> None:
        calls, self._waiting_calls = self._waiting_calls, []
        for call in calls:
            self._answer_call(*call)

    def _answer_call(self, router: int, number: int, body: dict[str, Any]) -> None:
        answer = self._find if body["call"] == "find" else self._kick
        by_token = self._clients.table.by_token
        answers = [answer(by_token.get(_token(text))) for text in body["tokens"]]
        self._routers.send(router, bus.encode_numbered(bus.REPLY1, number, {"answers": answers}))

    def _find(self, connection: Connection | None) -> dict[str, Any]:
        return found(connection, self._ownership.name)

    def _kick(self, connection: Connection | None) -> bool:
        if connection is None:
            return False
        words = self._encoder.last_words(connection, CloseReason.KICKED)
        self._clients.close(connection, CloseReason.KICKED, words)
        return True

    # --- what the worker says

    def say_ready(self, router: int) -> None:
        """Who this worker is, and all its claims; said at start, and to a router that asks or has been away."""
        body = {
            "worker": self._ownership.name,
            "incarnation": self._process.incarnation,
            "pid": self._process.pid,
            "started": self._process.started,
            "hand_over": self._process.hand_over_path,
            "leaving": self._landing.leaving,
            "version": __version__,
            "stores": True,
            "targets": True,
            "origins": True,
            "explains": True,
            "resumed": self._fan_outs.marks.resumed,
            "fan_out": seen_of(self._fan_outs.for_new, router),
            "routers": self._routers.positions,
            "claims": len(self._deliveries.claims.mine),
        }
        ring = bus_rings.ring_fields(self._ownership.news) if self._ownership.known else self._noted_ring()
        if ring:
            body["ring"] = ring
        self._routers.send(router, bus.encode_control(bus.READY1, body))
        self._landing.claiming.repeat(lambda frames: self._routers.send(router, frames))
        self._asks.ask_all()
        if router in self._want_members:
            self._memberships.ready(router)

    def say_ready_to_all(self) -> None:
        """Said at start."""
        for router in range(len(self._routers)):
            self.say_ready(router)

    def say_beat(self) -> None:
        """This worker's figures; hearing them a router knows that it lives."""
        body = {
            "connections": self._clients.table.figures(),
            "counters": self._clients.counters,
            "epoch": list(self._ownership.epoch),
            "routers": self._routers.positions,
            "delivery_times": self._delivery_times.fields(),
            "queues": {"held": self._deliveries.held.count, "cache": self._kept.storing.waiting},
            "acknowledgement_times": self._kept.acknowledgements.times.fields(),
        }
        self._routers.send_all(bus.encode_control(bus.BEAT1, body))

    def say_leaving(self) -> None:
        self._routers.send_all(bus.encode_control(bus.BYE1, {"leaving": True}))

    def say_gone(self) -> None:
        self._fan_outs.finish()
        self._routers.send_all(bus.encode_control(bus.BYE1, {"gone": True}))

    def _report(self, router: int, number: int, counts: dict[str, int]) -> None:
        at = monotonic()
        self._routers.send(router, bus.encode_numbered(bus.COUNTS1, number, counts))
        self.push_logs.counts(router, number, counts)
        self._deliveries.traces.counted(router, number, counts, at)

    def _say_dropped(self, router: int, batch: int, dropped: dict[int, int]) -> None:
        body = {"dropped": {str(place): count for place, count in dropped.items()}}
        self._routers.send(router, bus.encode_numbered(bus.DETAIL1, batch, body))

    def _say_late(self, late: list[tuple[HeldPush, int]]) -> None:
        batches: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for push, outcome in late:
            if outcome == bus.STALE and not self._routers.knows_stale(push.router):
                outcome = Outcome.UNAVAILABLE
            batches[push.router, push.batch].append((push.place, outcome))
            self.push_logs.late(push, outcome)
            if outcome == bus.KEPT:
                continue
            counter = "pushes_stale" if outcome == bus.STALE else outcome_counter(Outcome(outcome))
            self._clients.counters[counter] += 1
        at = monotonic()
        for (router, number), pairs in batches.items():
            self._routers.send(router, bus.encode_late(number, pairs))
            self._deliveries.traces.settled(router, number, pairs, at)


def _claims(frames: list[bytes]) -> list[bus_claims.Claim]:
    return bus_claims.decode_claims(bus.decode_control(frames))


def _token(text: Any) -> bytes:
    """A token out of JSON; what is none gives bytes that no client is bound to."""
    return str(text).encode(errors="surrogatepass")
