"""Delivering pushes: a batch from the bus in, one outcome byte per push out."""

from collections.abc import Callable, Container

import ujson

from gateway.claims import Claims
from gateway.client_loop import ClientLoop
from gateway.connections import SPECIAL, Connection, Granted, Protocol
from gateway.encoders import Encoder
from gateway.frames import FIN, Opcode, frame_header
from gateway.held_pushes import HeldPush, HeldPushes
from gateway.keeping import OVERLOADED, REFUSED, TOO_LARGE, Keeping, Placed
from gateway.ledgers import WRITING
from gateway.ownership import Ownership
from gateway.text_messages import Style, text_prefix
from gateway.traces import Traces
from shared.bus import ENTRY, HELD, OPTIONS, ORIGIN, REPEATABLE, STALE, Batch, Segment
from shared.errors import BodyError, TooLargeError
from shared.outcomes import Outcome
from shared.packets import BODY_MAX, encode_header
from shared.push_ids import push_id
from shared.rings import Epoch
from shared.signals import V0_SIGNALS, Signal, SubSignal
from shared.tokens import slot_of, token_fault

#: Outcomes after which a copy of the push would be a second delivery.
_DELIVERED = (Outcome.SENT, Outcome.BUFFERED, Outcome.ACKED)

_MESSAGE_ID_MAX = 65_535
#: Ids of a token's last pushes are remembered this long (ticks), and so many.
RECENT_TICKS = 30
RECENT_MAX = 64

#: A router says RING1 within this time (ticks) of what went back to it, or never.
_RETURNED_TICKS = 30

_TEXT_BYTE = FIN | Opcode.TEXT
_STYLES = Granted.CAMEL | Granted.LOWER


class Deliveries:
    """Looks tokens up, encodes and writes; remembers push ids; holds what is to wait for its client."""

    def __init__(
        self,
        clients: ClientLoop,
        encoder: Encoder,
        ownership: Ownership,
        held: HeldPushes,
        traces: Traces,
        *,
        payload_max: int,
        window: int,
    ) -> None:
        self._clients = clients
        self._encoder = encoder
        self._ownership = ownership
        self.held = held
        self.away: Container[bytes] = ()  # tokens whose clients have been given away, but may come back
        self.claims = Claims()
        self.unclaim: Callable[[bytes], None] = lambda token: None  # a claimed token's client is not here any more
        self.payload_max = payload_max
        self.window = window
        self.keeping: Keeping
        self.traces = traces
        self._plain_prefix = text_prefix(Signal.PUSH, SubSignal.NONE, Style(False, False)) + '0,"content":'
        self.takes_back: Callable[[int], bool] = lambda router: True  # whether a router understands STALE
        #: By router, tokens of pushes that went back to it as STALE. Until it has routed those again, and said so by
        #: RING1, later ones that were under way go back too: the client may have come here meanwhile.
        self._returned: dict[int, set[bytes]] = {}
        self._returned_at = 0  # tick of the last one
        self._remembering: dict[int, list[Connection]] = {}
        clients.each_tick(self._forget)

    def deliver_batch(self, batch: Batch, router: int = 0) -> bytearray:
        """Deliver each push of a batch of that router, in order; one outcome byte each.

        HELD: it waits for its client, or is being stored. KEPT: it was sent, and its acknowledgement is waited for.
        STALE: its client is with another worker.

        The loop is flat: at 25 us of budget per push, a call more costs 0.1 us (`make bench`, pushes).
        """
        outcomes = bytearray()
        add = outcomes.append
        by_token, write, write_rest = self._clients.table.by_token, self._clients.send_bytes, self._clients.write_rest
        entries = ENTRY.iter_unpack(batch.entries)
        words = self._clients.ledger.words
        returned = self._returned.get(router)
        data, start = batch.data, 0
        all_terms, origins = iter(batch.terms), iter(batch.origins)
        for segment in batch.segments:
            plain = segment.signal == Signal.PUSH and not segment.sub_signal and not segment.flags & ~ORIGIN
            terms = next(all_terms) if segment.flags & OPTIONS else None
            origin = next(origins) if segment.flags & ORIGIN else None
            for _ in range(segment.pushes):
                token_bytes, payload_bytes, position = next(entries)
                middle = start + token_bytes
                end = middle + payload_bytes
                token = data[start:middle]
                payload = data[middle:end]
                start = end
                connection = by_token.get(token)
                if connection is None or (returned and token in returned):
                    push = HeldPush(router, batch.number, len(outcomes), segment, position, payload, terms, origin)
                    add(self._absent(token, push, batch.epoch))
                    continue
                if terms is not None or connection.stored is not None:
                    push = HeldPush(router, batch.number, len(outcomes), segment, position, payload, terms, origin)
                    add(self.keeping.deliver(connection, push))
                    continue
                frame = self._plain_frame(connection, payload) if plain and connection.output is None else None
                if frame is None:
                    add(self.deliver(connection, segment, position, payload))
                    continue
                words[WRITING] = connection.fd
                try:
                    taken = write(connection.fd, frame)
                except OSError:
                    taken = 0
                add(0 if taken == len(frame) else write_rest(connection, frame, taken))  # Outcome.SENT
        words[WRITING] = -1
        return outcomes

    def _plain_frame(self, connection: Connection, payload: bytes) -> bytes | None:
        """The bytes of a PUSH for a client that asked for nothing special; None for others, and where it is refused."""
        if connection.granted & SPECIAL or len(payload) > self.payload_max:
            return None
        if connection.protocol == Protocol.WS_TEXT:
            if connection.window_bits or connection.granted & _STYLES:
                return None
            try:
                text = ujson.dumps(payload.decode(), ensure_ascii=False, escape_forward_slashes=False)
            except UnicodeDecodeError:
                return None
            message = f"{self._plain_prefix}{text}}}".encode()
            return frame_header(_TEXT_BYTE, len(message)) + message
        if connection.protocol <= Protocol.V2 and len(payload) <= BODY_MAX[connection.protocol]:
            return encode_header(connection.protocol, Signal.PUSH, 0, 0, len(payload)) + payload
        return None

    def deliver(self, connection: Connection, segment: Segment, position: int, payload: bytes) -> int:
        """One push to one connection, with everything that it may have asked for; the outcome."""
        return self.place(connection, segment, position, payload).outcome

    def place(self, connection: Connection, segment: Segment, position: int, payload: bytes) -> Placed:
        """The same, and what it became on the wire."""
        if len(payload) > self.payload_max:
            return TOO_LARGE
        if connection.protocol == Protocol.V0 and segment.signal not in V0_SIGNALS:
            return REFUSED
        if not segment.flags & REPEATABLE:
            return self._send(connection, segment, position, payload)
        key = segment.id_prefix + position.to_bytes(2, "big")
        if connection.recent and key in connection.recent:
            self._clients.counters["copies_dropped"] += 1
            return Placed(connection.recent[key][0], copy=True)
        placed = self._send(connection, segment, position, payload)
        if placed.outcome in _DELIVERED and connection.fd >= 0:
            self._remember(connection, key, placed.outcome)
        return placed

    def _send(self, connection: Connection, segment: Segment, position: int, payload: bytes) -> Placed:
        plain = segment.signal == Signal.PUSH and not segment.sub_signal
        frame = self._plain_frame(connection, payload) if plain else None
        if frame is not None:
            return Placed(self._clients.write(connection, frame), 0, len(frame))
        message_id = 0
        if connection.granted & Granted.ACK and segment.signal == Signal.PUSH:
            message_id = self._next_message_id(connection)
            if not message_id:
                return OVERLOADED
        shown = push_id(segment.id_prefix, position)
        try:
            data = self._encoder.push(connection, segment.signal, segment.sub_signal, message_id, payload, shown)
        except TooLargeError:
            return TOO_LARGE
        except BodyError:
            return REFUSED
        outcome = self._clients.write(connection, data)
        if message_id and outcome in _DELIVERED:
            connection.last_message_id = message_id
            if connection.unacknowledged is None:
                connection.unacknowledged = set()
            connection.unacknowledged.add(message_id)
            self._clients.ledger.note_window(connection)
            self.traces.shown(connection.token or b"", message_id, segment.id_prefix, position)
        return Placed(outcome, message_id, len(data))

    def _next_message_id(self, connection: Connection) -> int:
        """1..65535, wrapping, none that is unacknowledged; 0 when the window is full."""
        waiting = connection.unacknowledged or ()
        if len(waiting) >= self.window:
            return 0
        message_id = connection.last_message_id % _MESSAGE_ID_MAX + 1
        while message_id in waiting:
            message_id = message_id % _MESSAGE_ID_MAX + 1
        return message_id

    # --- clients that are not here

    def _absent(self, token: bytes, push: HeldPush, epoch: Epoch) -> int:
        """The outcome of a push, routed by the ring of `epoch`, whose token is not here."""
        if token_fault(token):
            return Outcome.REFUSED
        if token in self._returned.get(push.router, ()):
            return STALE
        ours = self._ownership.owns(token) and token not in self.claims.foreign
        if not self._is_coming(token, ours):
            if not ours and token in self.claims.mine:
                self.unclaim(token)
            # routed by an older ring: by this one, of which its router is about to hear, it may be another's
            if not ours or epoch < self._ownership.epoch:
                return self._give_back(token, push)[1]
            if self._ownership.is_settled(token):
                return self.keeping.absent(token, push) if push.terms is not None else Outcome.OFFLINE
        if self.held.hold(token, push):
            self._clients.counters["pushes_held"] += 1
            return HELD
        self._clients.counters["held_overflows"] += 1
        return Outcome.UNAVAILABLE

    def _give_back(self, token: bytes, push: HeldPush) -> tuple[HeldPush, int]:
        """Its router is to route it again."""
        if self.takes_back(push.router):
            self.returned_to(push.router).add(token)
            self._returned_at = self._clients.wheel.tick
        return push, STALE

    def returned_to(self, router: int) -> set[bytes]:
        """Tokens of which all pushes of this router go back."""
        return self._returned.setdefault(router, set())

    def fenced(self, router: int, slots: Container[int]) -> None:
        """RING1 as fence: what comes for these slots now, the router has routed behind all that went back to it.

        For others it may have been sent before the router knew that something comes back.
        """
        returned = self._returned.get(router)
        if returned and slots:
            returned -= {token for token in returned if slot_of(token) in slots}

    def _is_coming(self, token: bytes, ours: bool) -> bool:
        """Whether pushes for an absent token find their way here, and its client is about to be here (again)."""
        if token in self.away:
            return ours or token in self.claims.mine
        return token in self.claims.pending or token in self.claims.handed

    def release(self, connection: Connection, most: int | None = None) -> list[tuple[HeldPush, int]]:
        """Deliver what waited for a connection that has just been bound, or is live again; outcomes for LATE1.

        `most`: no more pushes than that.
        """
        pushes = self.held.take(connection.token or b"", most) if self.held.count else []
        return self._known([(push, self._deliver_held(connection, push)) for push in pushes])

    def _deliver_held(self, connection: Connection, push: HeldPush) -> int:
        if push.terms is not None or connection.stored is not None:
            return self.keeping.deliver(connection, push)
        return self.deliver(connection, push.segment, push.position, push.payload)

    @staticmethod
    def _known(late: list[tuple[HeldPush, int]]) -> list[tuple[HeldPush, int]]:
        """Without those that are HELD as before: for another reason, now."""
        return [each for each in late if each[1] != HELD]

    def give_up(self, outcome: int) -> list[tuple[HeldPush, int]]:
        """Nobody else will come but those who are away or await a claim: what is held for others gets `outcome`.

        What waits behind a replay goes on waiting.
        """
        by_token = self._clients.table.by_token
        return self._known(
            [
                self._give_up(token, push, outcome)
                for token in self.held.tokens()
                if token not in self.away
                and token not in self.claims.pending
                and token not in self.claims.handed
                and token not in by_token
                for push in self.held.take(token)
            ]
        )

    def _give_up(self, token: bytes, push: HeldPush, outcome: int) -> tuple[HeldPush, int]:
        if outcome == STALE:
            return self._give_back(token, push)
        if outcome == Outcome.OFFLINE and push.terms is not None:
            return push, self.keeping.absent(token, push)
        return push, outcome

    def end_waiting(self, token: bytes) -> list[tuple[HeldPush, int]]:
        """The client of a token has ended, and no other has come: what waited behind its replay is for nobody here."""
        ours = self._ownership.owns(token) and token not in self.claims.foreign
        if not self.held.has(token) or token in self._clients.table.by_token or self._is_coming(token, ours):
            return []
        if ours and not self._ownership.is_settled(token):
            return []
        outcome = Outcome.OFFLINE if ours else STALE
        return self._known([self._give_up(token, push, outcome) for push in self.held.take(token)])

    def give_up_stale(self) -> list[tuple[HeldPush, int]]:
        """A new ring: what is held for tokens that are not for this worker any more is STALE."""
        claimed = self.claims.mine
        tokens = [token for token in self.held.tokens() if not self._ownership.owns(token) and token not in claimed]
        return [self._give_back(token, push) for token in tokens for push in self.held.take(token)]

    def stale(self, token: bytes) -> list[tuple[HeldPush, int]]:
        """The client of a token is with another worker: what was held for it is STALE."""
        return [self._give_back(token, push) for push in self.held.take(token)]

    # --- ids of recent pushes

    def _remember(self, connection: Connection, key: bytes, outcome: int) -> None:
        tick = self._clients.wheel.tick
        if connection.recent is None:
            connection.recent = {}
            self.watch(connection, tick + RECENT_TICKS)
        elif len(connection.recent) >= RECENT_MAX:
            del connection.recent[next(iter(connection.recent))]
        connection.recent[key] = (outcome, tick)

    def watch(self, connection: Connection, tick: int) -> None:
        """Look at `tick` which of a connection's remembered ids are too old."""
        self._remembering.setdefault(tick, []).append(connection)

    def _forget(self, tick: int) -> None:
        if tick - self._returned_at > _RETURNED_TICKS:
            self._returned.clear()  # of a router that has gone without RING1
        for due in [when for when in self._remembering if when <= tick]:
            for connection in self._remembering.pop(due):
                self._forget_of(connection, tick)

    def _forget_of(self, connection: Connection, tick: int) -> None:
        if connection.fd < 0 or not connection.recent:
            connection.recent = None
            return
        young = {key: value for key, value in connection.recent.items() if tick - value[1] < RECENT_TICKS}
        connection.recent = young or None
        if young:
            self.watch(connection, next(iter(young.values()))[1] + RECENT_TICKS)
