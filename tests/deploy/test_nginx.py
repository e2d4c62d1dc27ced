"""Clients behind a real nginx with deploy/nginx.conf, TLS on."""

import os
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shared import places
from tests.clients.conversations import Conversation
from tests.clients.kinds import KINDS
from tests.clients.senders import SENT, RawSender
from tests.clients.wires import Wire
from tests.deploy.nginx_process import CONFIGURATION, Nginx, missing
from tests.deploy.tls_wires import TlsWire, connect_tls, trusting
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until

pytestmark = pytest.mark.skipif(bool(missing()) and not os.environ.get("CI"), reason=missing() or "-")


class Front:
    """A fleet with nginx before it, and another fleet as the host for when the first does not answer."""

    def __init__(self, fleet: Fleet, other: Fleet, nginx: Nginx) -> None:
        self.fleet, self.other, self.nginx = fleet, other, nginx
        self.context = trusting(str(nginx.certificate))

    def connect(self, kind: str, source: str = "") -> Conversation:
        return connect_tls(kind, self.nginx.address, self.context, source=source)


@pytest.fixture
def front() -> Iterator[Front]:
    with (
        Fleet(workers=2, worker_heartbeat_ms=100) as fleet,
        Fleet(workers=1, worker_heartbeat_ms=100, trusted_proxies="127.0.0.1/32") as other,
        Nginx(sockets_of(fleet), other.address) as nginx,
    ):
        yield Front(fleet, other, nginx)


def sockets_of(fleet: Fleet) -> list[Path]:
    return [places.nginx_path(fleet.settings, index) for index in range(fleet.settings.workers)]


class Crowd:
    """Two bound clients of every kind through nginx, on all workers; a push to each shows that it is there still."""

    def __init__(self, front: Front, stack: ExitStack, prefix: str = "c") -> None:
        self._sender = stack.enter_context(RawSender(front.fleet.endpoint))
        names = [(f"{prefix}-{kind}-{number}", kind) for kind in KINDS for number in range(2)]
        self._clients = {name: stack.enter_context(front.connect(kind)) for name, kind in names}
        for name, client in self._clients.items():
            client.subscribe(name)
        self._pushes = 0

    def check(self) -> None:
        """Each gets the one push that is for it, on the connection that it has had from the start."""
        self._pushes += 1
        for name, client in self._clients.items():
            payload = b"push %d" % self._pushes
            assert self._sender.push(name, payload) == SENT
            assert client.read_push().body == payload
            assert client.ping(60) == 60


def test_every_kind_of_client_with_its_real_address(front: Front) -> None:
    with ExitStack() as stack:
        sender = stack.enter_context(RawSender(front.fleet.endpoint))
        for number, kind in enumerate(KINDS):
            client = stack.enter_context(front.connect(kind, source=f"127.0.0.{10 + number}"))
            client.subscribe(kind)
            assert sender.find(kind)["address"] == client.wire.local_address
            assert client.wire.local_address.startswith(f"127.0.0.{10 + number}:")
        Crowd(front, stack).check()


def test_a_reload_drops_nobody(front: Front) -> None:
    """Old processes serve who is there, new ones who comes; a second reload too."""
    with ExitStack() as stack:
        crowd = Crowd(front, stack)
        old = set(front.nginx.workers)
        assert front.nginx.reload()
        assert old & set(front.nginx.workers), "no old process has kept its clients"
        crowd.check()
        later = Crowd(front, stack, "later")
        front.nginx.reload()
        for one in (crowd, later, Crowd(front, stack, "last")):
            one.check()
    wait_until(lambda: not old & set(front.nginx.workers), "the old processes gone with their clients")


def test_restarts_of_workers_drop_nobody(front: Front) -> None:
    """Drained and started, in turn; then one killed."""
    with ExitStack() as stack:
        crowd = Crowd(front, stack)
        for index in range(2):
            assert front.fleet.stop_worker(index) == 0
            crowd.check()
            Crowd(front, stack, f"without-{index}").check()  # nginx goes past the one that is not there
            front.fleet.start_worker(index)
            front.fleet.wait_ready()
            crowd.check()
        front.fleet.kill_worker(0)
        front.fleet.wait_ready()
        crowd.check()


def test_the_other_host_when_no_worker_is_left(front: Front) -> None:
    """Over TCP, with the real address, which it believes because it trusts this host."""
    for index in range(2):
        front.fleet.stop_worker(index)
    with RawSender(front.other.endpoint) as sender, front.connect("v2", source="127.0.0.9") as client:
        client.subscribe("moved")
        assert sender.find("moved")["address"] == client.wire.local_address
    front.fleet.start_worker(0)
    front.fleet.wait_ready(1)


def plain_packet(front: Front) -> bytes:
    """No TLS at all."""
    with Wire(front.nginx.address) as wire:
        wire.write(b"\x02\x00\x00\x00" * 64)
        return wire.read_to_end()


def plain_http(front: Front) -> bytes:
    with Wire(front.nginx.address) as wire:
        wire.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return wire.read_to_end()


def an_old_version(front: Front) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(str(front.nginx.certificate))
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.options |= ssl.OP_NO_TLSv1_2 | ssl.OP_NO_TLSv1_3
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        TlsWire(front.nginx.address, context)


def a_proxy_header_of_its_own(front: Front) -> None:
    """Inside TLS: nginx has named the client already, a second header ends it."""
    with TlsWire(front.nginx.address, front.context) as wire:
        wire.write(b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n")
        assert wire.read_to_end() == b""


def a_proxy_header_before_tls(front: Front) -> None:
    with Wire(front.nginx.address) as wire:
        wire.write(b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n")
        assert b"192.0.2" not in wire.read_to_end()


def resets(front: Front) -> None:
    for _ in range(50):
        wire = Wire(front.nginx.address)
        wire.write(b"\x16\x03\x01\x02\x00\x01")
        wire.reset()


BAD_CLIENTS = [plain_packet, plain_http, an_old_version, a_proxy_header_of_its_own, a_proxy_header_before_tls, resets]


@pytest.mark.filterwarnings("ignore:ssl.OP_NO_:DeprecationWarning")
def test_bad_clients_cost_only_themselves(front: Front) -> None:
    with ExitStack() as stack:
        crowd = Crowd(front, stack)
        halves = [stack.enter_context(Wire(front.nginx.address, deadline=30)) for _ in range(50)]
        for half in halves:
            half.write(b"\x16\x03\x01\x02\x00\x01")  # a ClientHello that never goes on
        nginx = front.nginx.workers
        for bad in BAD_CLIENTS:
            bad(front)
            crowd.check()
        for half in halves:
            half.read_to_end()  # ssl_handshake_timeout
        crowd.check()
        assert front.nginx.workers == nginx, "an nginx process died"


def test_a_client_that_does_not_trust_the_certificate(front: Front) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        TlsWire(front.nginx.address, ssl.create_default_context())
    with front.connect("v2") as client:
        client.subscribe("trusts")


def test_timeouts_fit_the_settings(front: Front) -> None:
    """nginx must not close a silent client before its worker does."""
    text = CONFIGURATION.read_text()
    minutes = int(text.partition("proxy_timeout ")[2].partition("m;")[0])
    assert minutes * 60 > 1.5 * front.fleet.settings.heartbeat_max_s
