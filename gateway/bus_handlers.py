"""What a worker does with the router's messages, and what it tells the router."""

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gateway.client_loop import ClientLoop
from gateway.connections import Connection
from gateway.connections import Protocol as ClientProtocol
from gateway.counters import outcome_counter
from gateway.deliveries import Deliveries
from gateway.encoders import Encoder
from gateway.fan_outs import FanOuts
from gateway.held_pushes import HeldPush
from gateway.landing import Landing
from gateway.ownership import Ownership
from gateway.tables import PROTOCOL_NAMES
from shared import __version__, bus
from shared.errors import BusError
from shared.outcomes import Outcome
from shared.reasons import CloseReason

logger = logging.getLogger(__name__)

_SENT = bytes((Outcome.SENT,))
_COUNTED = [(bytes((outcome,)), outcome_counter(outcome)) for outcome in Outcome]


class Sending(Protocol):
    """The bus link, as far as it is needed here."""

    def send(self, frames: Sequence[bytes]) -> bool: ...


class BusHandlers:
    """One method for each kind of message."""

    def __init__(
        self,
        clients: ClientLoop,
        ownership: Ownership,
        deliveries: Deliveries,
        fan_outs: FanOuts,
        landing: Landing,
        link: Sending,
        encoder: Encoder,
        hand_over_path: str,
    ) -> None:
        self._clients = clients
        self._ownership = ownership
        self._deliveries = deliveries
        self._fan_outs = fan_outs
        self._landing = landing
        self._link = link
        self._encoder = encoder
        self._hand_over_path = hand_over_path
        self._incarnation = os.urandom(8).hex()
        self._waiting_calls: list[tuple[int, dict[str, Any]]] = []
        fan_outs.report = self._report
        landing.late = self._say_late
        landing.settled = self._answer_waiting_calls
        self._handlers: dict[bytes, Callable[[list[bytes]], None]] = {
            bus.PUSHES1: self._pushes,
            bus.ALL1: self._all,
            bus.RING1: self._ring,
            bus.CALL1: self._call,
            bus.WHO1: lambda frames: self.say_ready(),
        }

    def receive(self, frames: list[bytes]) -> None:
        """One message from the router."""
        handler = self._handlers.get(frames[0])
        try:
            if handler is None:
                raise BusError(f"unknown message {frames[0][:16]!r}")
            handler(frames)
        except BusError as error:
            self._clients.counters["bus_errors"] += 1
            logger.warning("bus: %s", error)

    def _pushes(self, frames: list[bytes]) -> None:
        batch = bus.decode_batch(frames)
        outcomes = self._deliveries.deliver_batch(batch)
        self._link.send(bus.encode_outcomes(batch.number, outcomes))
        counters = self._clients.counters
        counters["batches"] += 1
        sent = outcomes.count(_SENT)
        counters["pushes_sent"] += sent
        if sent < len(outcomes):
            for byte, counter in _COUNTED[1:]:
                counters[counter] += outcomes.count(byte)

    def _all(self, frames: list[bytes]) -> None:
        self._clients.counters["fan_outs"] += 1
        self._fan_outs.start(bus.decode_fan_out(frames))

    def _ring(self, frames: list[bytes]) -> None:
        if self._ownership.follow(bus.decode_ring(frames)):
            logger.info(
                "ring %d.%d: %d workers, %d slots here",
                *self._ownership.epoch,
                len(self._ownership.live),
                self._ownership.share,
            )
            self._landing.ring_changed()

    # --- calls

    def _call(self, frames: list[bytes]) -> None:
        number, body = bus.decode_numbered(frames)
        tokens = body.get("tokens")
        if body.get("call") not in ("find", "kick") or not isinstance(tokens, list):
            raise BusError("unknown call")
        if all(self._can_answer(_token(text)) for text in tokens):
            self._answer_call(number, body)
        else:
            self._waiting_calls.append((number, body))

    def _can_answer(self, token: bytes) -> bool:
        return token in self._clients.table.by_token or self._ownership.is_settled(token)

    def _answer_waiting_calls(self) -> None:
        calls, self._waiting_calls = self._waiting_calls, []
        for number, body in calls:
            self._answer_call(number, body)

    def _answer_call(self, number: int, body: dict[str, Any]) -> None:
        answer = self._find if body["call"] == "find" else self._kick
        by_token = self._clients.table.by_token
        answers = [answer(by_token.get(_token(text))) for text in body["tokens"]]
        self._link.send(bus.encode_numbered(bus.REPLY1, number, {"answers": answers}))

    def _find(self, connection: Connection | None) -> dict[str, Any]:
        if connection is None:
            return {"online": False}
        return {
            "online": True,
            "worker": self._ownership.name,
            "protocol": PROTOCOL_NAMES[ClientProtocol(connection.protocol)],
            "address": connection.address,
            "since": connection.binding,
            "uid": connection.uid,
        }

    def _kick(self, connection: Connection | None) -> bool:
        if connection is None:
            return False
        words = self._encoder.last_words(connection, CloseReason.KICKED)
        self._clients.close(connection, CloseReason.KICKED, words)
        return True

    # --- what the worker says

    def say_ready(self) -> None:
        """Who this worker is; said at start and whenever a router asks."""
        body = {
            "worker": self._ownership.name,
            "incarnation": self._incarnation,
            "pid": os.getpid(),
            "hand_over": self._hand_over_path,
            "leaving": self._landing.leaving,
            "version": __version__,
            "fan_out": self._fan_outs.latest,
        }
        self._link.send(bus.encode_control(bus.READY1, body))

    def say_beat(self) -> None:
        """This worker's figures; hearing them a router knows that it lives."""
        body = {
            "connections": self._clients.table.figures(),
            "counters": self._clients.counters,
            "epoch": list(self._ownership.epoch),
        }
        self._link.send(bus.encode_control(bus.BEAT1, body))

    def say_leaving(self) -> None:
        self._link.send(bus.encode_control(bus.BYE1, {"leaving": True}))

    def say_gone(self) -> None:
        self._link.send(bus.encode_control(bus.BYE1, {"gone": True}))

    def _report(self, number: int, counts: dict[str, int]) -> None:
        self._link.send(bus.encode_numbered(bus.COUNTS1, number, counts))

    def _say_late(self, late: list[tuple[HeldPush, int]]) -> None:
        batches: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for push, outcome in late:
            batches[push.batch].append((push.place, outcome))
            self._clients.counters[outcome_counter(Outcome(outcome))] += 1
        for number, pairs in batches.items():
            self._link.send(bus.encode_late(number, pairs))


def _token(text: Any) -> bytes:
    """A token out of JSON; what is none gives bytes that no client is bound to."""
    return str(text).encode(errors="surrogatepass")
