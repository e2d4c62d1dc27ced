"""The client: a subscription on a wire, with the clock."""

from time import monotonic

from services.clients.subscriptions import Delivery, Options, Subscription, farewell
from services.clients.wires import BODY_LIMIT_BYTES, Wire
from shared.errors import ClientError, RemoteError
from shared.packets import Packet


class Client:
    """A subscribed client. It answers and beats only while `receive` runs: call it again and again."""

    def __init__(self, wire: Wire, token: str | None, options: Options = Options()) -> None:  # noqa: B008  (frozen)
        self._wire = wire
        self._subscription = Subscription(token, options)

    @property
    def token(self) -> str | None:
        """The token that it is bound to; the gateway's choice if none was asked for."""
        return self._subscription.token

    @property
    def granted(self) -> frozenset[str]:
        """What the gateway granted of what SUB asked for."""
        return self._subscription.granted

    def subscribe(self, timeout: float) -> None:
        """Says SUB and waits for the answer. Raises ClientError: refused, ended, or silent for `timeout` seconds."""
        until = monotonic() + timeout
        while not self._subscription.bound:
            if monotonic() >= until:
                raise ClientError("silent", f"the gateway did not answer SUB within {timeout:g} s")
            self._step(until)
        self._wire.base64 = "base64" in self.granted

    def receive(self, timeout: float) -> Delivery | None:
        """The next push, acknowledged if that was granted; None after `timeout` seconds. Raises ClientError."""
        until = monotonic() + timeout
        while True:
            delivery = self._step(until)
            if delivery is not None or monotonic() >= until:
                return delivery

    def close(self, clear_session: bool = False) -> None:
        """Says DISCONNECT and closes."""
        try:
            self._wire.send(farewell(clear_session))
        except ClientError:
            pass  # it has ended already
        finally:
            self._wire.close()

    def _step(self, until: float) -> Delivery | None:
        subscription = self._subscription
        self._send_due()
        timeout = max(0.0, min(until, subscription.next_deadline()) - monotonic())
        received = self._wire.receive(timeout)
        if received is None:
            return None
        delivery = subscription.receive_packet(_plain(received), monotonic())
        try:
            self._send_due()
        except ClientError:
            if delivery is None:
                raise
            # The push counts; the next call finds the connection ended.
        return delivery

    def _send_due(self) -> None:
        """Raises ClientError, if the connection is gone with what the gateway said last."""
        for packet in self._subscription.packets_to_send(monotonic()):
            try:
                self._wire.send(packet)
            except ClientError as error:
                raise self._last_word() or error from None

    def _last_word(self) -> ClientError | None:
        """The DISCONNECT that may lie unread behind a broken connection."""
        try:
            while (received := self._wire.receive(0.0)) is not None:
                self._subscription.receive_packet(_plain(received), monotonic())
        except ClientError as error:
            return None if error.reason == "peer_closed" else error
        return None


def _plain(packet: Packet) -> Packet:
    """The packet without flags. Raises ClientError if its body cannot be read."""
    if packet.encrypted:
        raise ClientError("bad_body", "the gateway sent an encrypted body without a session key")
    if not packet.compressed:
        return packet
    from shared.bodies import inflate  # noqa: PLC0415  (brings in the ciphers; few clients ask for `deflate`)

    try:
        return packet._replace(body=inflate(packet.body, BODY_LIMIT_BYTES), compressed=False)
    except RemoteError as error:
        raise ClientError("bad_body", f"the gateway sent a body that does not inflate: {error}") from None
