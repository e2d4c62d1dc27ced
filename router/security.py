"""CURVE on what listens on TCP: which keys get in, and with which scopes (docs/operations.md, section Keys)."""

import os
from collections.abc import Collection
from pathlib import Path

import zmq
from zmq.utils import z85

from router.counters import Counters
from router.multipart import Socket
from router.requesters import EVERY_SCOPE
from shared.errors import SettingsError
from shared.keys import SERVICE, WORKER, KeyPair, mode_fault, parse_key_pair, parse_permitted
from shared.settings import Settings, is_loopback

#: Where libzmq asks whether a key may connect (ZeroMQ RFC 27).
ZAP_ENDPOINT = "inproc://zeromq.zap.01"
SENDERS, WORKERS, SERVICES = b"senders", b"workers", b"services"  # its domains, one for each endpoint

_KEY_FILE, _PERMITTED_FILE = "curve_server_key_file", "curve_permitted_file"


class Guard:
    """The router's own keys, and who may connect with which scopes. Answers libzmq's questions (ZAP)."""

    def __init__(self, pair: KeyPair, permitted: dict[str, frozenset[str]], counters: Counters) -> None:
        self._pair = pair
        self._counters = counters
        # Scopes of one endpoint let nobody in at the other.
        self._scopes = {key: scopes & EVERY_SCOPE for key, scopes in permitted.items() if scopes & EVERY_SCOPE}
        self._workers = {key for key, scopes in permitted.items() if WORKER in scopes}
        self._services = {key for key, scopes in permitted.items() if SERVICE in scopes}

    def open(self, context: zmq.Context[Socket]) -> Socket:
        """The socket that libzmq asks; to be read by `answer`. It must exist before an endpoint is bound."""
        socket = context.socket(zmq.REP)
        socket.linger = 0
        socket.bind(ZAP_ENDPOINT)
        return socket

    def secure(self, socket: Socket, domain: bytes) -> None:
        """Make a socket, not bound yet, take CURVE connections only. `domain`: SENDERS, WORKERS or SERVICES."""
        socket.zap_domain = domain
        socket.curve_server = True
        socket.curve_publickey = self._pair.public.encode()
        socket.curve_secretkey = self._pair.secret.encode()

    def answer(self, socket: Socket) -> None:
        """Answer one question: version, request, domain, address, identity, mechanism, key. Raises zmq.Again."""
        frames = socket.recv_multipart(zmq.NOBLOCK)
        version, request = frames[0], frames[1] if len(frames) > 1 else b""
        key, permitted = "", self._permitted(frames[2] if len(frames) == 7 else b"")
        if permitted and frames[5] == b"CURVE" and len(frames[6]) == 32:
            key = z85.encode(frames[6]).decode()
        if key in permitted:
            socket.send_multipart([version, request, b"200", b"OK", key.encode(), b""])
        else:
            self._counters["keys_refused"] += 1
            socket.send_multipart([version, request, b"400", b"key is not permitted", b"", b""])

    def _permitted(self, domain: bytes) -> Collection[str]:
        """The keys that one endpoint takes; empty if there is no such."""
        return {SENDERS: self._scopes, WORKERS: self._workers, SERVICES: self._services}.get(domain, ())

    def scopes(self, first: zmq.Frame) -> frozenset[str]:
        """What the peer that sent a message (its first frame) may do."""
        try:
            return self._scopes.get(str(first.get("User-Id")), frozenset())
        except zmq.ZMQError:
            return frozenset()


def load_guard(settings: Settings, counters: Counters) -> Guard | None:
    """The guard of the endpoints, or None: no keys are set. Raises SettingsError.

    Without keys, senders, workers and services may come from this machine only.
    """
    if not settings.curve_server_key_file and not settings.curve_permitted_file:
        _check_loopback(settings, "sender_host", "senders")
        if settings.bus_port:
            _check_loopback(settings, "bus_host", "workers")
        if settings.service_port:
            _check_loopback(settings, "service_host", "services")
        return None
    for key in (_KEY_FILE, _PERMITTED_FILE):
        if not getattr(settings, key):
            raise SettingsError(key, f"must be set: {_KEY_FILE} and {_PERMITTED_FILE} go together")
    pair = parse_key_pair(_KEY_FILE, _read(_KEY_FILE, settings.curve_server_key_file, secret=True))
    if zmq.curve_public(pair.secret.encode()).decode() != pair.public:
        raise SettingsError(_KEY_FILE, "public is not the key of secret")
    return Guard(
        pair, parse_permitted(_PERMITTED_FILE, _read(_PERMITTED_FILE, settings.curve_permitted_file)), counters
    )


def _check_loopback(settings: Settings, setting: str, who: str) -> None:
    setting = setting if getattr(settings, setting) else "host"
    address = getattr(settings, setting)
    if not is_loopback(address):
        files = f"{_KEY_FILE} and {_PERMITTED_FILE}"
        raise SettingsError(setting, f"{address} is not loopback: {who} there need {files}")


def new_key_pair() -> KeyPair:
    """A new pair of keys."""
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


def _read(setting: str, path: str, secret: bool = False) -> str:
    try:
        with Path(path).open(encoding="utf-8") as file:
            fault = mode_fault(os.fstat(file.fileno()).st_mode) if secret else None
            if fault:
                raise SettingsError(setting, f"{path}: {fault}")
            return file.read()
    except OSError as error:
        raise SettingsError(setting, f"{path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise SettingsError(setting, f"{path}: not UTF-8") from None
