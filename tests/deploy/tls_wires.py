"""A client's TLS connection, read like the plain one."""

import ssl
import time

from tests.clients.conversations import Conversation
from tests.clients.kinds import KINDS
from tests.clients.wires import DEADLINE_S, Wire


class TlsWire(Wire):
    """A `Wire` with TLS on it. Raises ssl.SSLError if the handshake or the certificate is bad."""

    def __init__(
        self, address: tuple[str, int], context: ssl.SSLContext, *, source: str = "", deadline: float = DEADLINE_S
    ) -> None:
        super().__init__(address, source=source, deadline=deadline)
        plain = self.socket
        try:
            self.socket = context.wrap_socket(plain, server_hostname="localhost")
        except (OSError, ValueError):
            plain.close()
            raise

    def is_open(self) -> bool:
        """Whether the peer has not closed; keeps what arrives, session tickets apart."""
        self.socket.settimeout(0)
        try:
            while data := self.socket.recv(1 << 18):
                self._received += data
        except ssl.SSLWantReadError:
            return True
        except OSError:
            pass
        return False

    def _receive(self, end: float) -> None:
        """As of `Wire`, but no select(): what is decrypted already shows nowhere in the kernel."""
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"nothing more from the server; unread so far: {bytes(self._received[:80])!r}")
        self.socket.settimeout(left)
        data = self.socket.recv(1 << 18)
        if not data:
            raise EOFError(f"the server closed; unread so far: {bytes(self._received[:80])!r}")
        self._received += data


def trusting(certificate: str) -> ssl.SSLContext:
    """What a client has that trusts one certificate, for the name localhost."""
    return ssl.create_default_context(cafile=certificate)


def connect_tls(
    kind: str, address: tuple[str, int], context: ssl.SSLContext, *, source: str = "", deadline: float = DEADLINE_S
) -> Conversation:
    """An open conversation over TLS, not yet bound."""
    wire = TlsWire(address, context, source=source, deadline=deadline)
    conversation = KINDS[kind](wire)
    try:
        conversation.open()
    except BaseException:
        wire.close()
        raise
    return conversation
