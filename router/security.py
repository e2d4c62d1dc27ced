"""CURVE on the sender endpoint: which keys get in, and with which scopes (docs/operations.md, section Keys)."""

import os
from pathlib import Path

import zmq
from zmq.utils import z85

from router.counters import Counters
from router.multipart import Socket
from router.requesters import EVERY_SCOPE
from shared.errors import SettingsError
from shared.keys import KeyPair, mode_fault, parse_key_pair, parse_permitted
from shared.settings import Settings, is_loopback

#: Where libzmq asks whether a key may connect (ZeroMQ RFC 27).
ZAP_ENDPOINT = "inproc://zeromq.zap.01"
ZAP_DOMAIN = b"senders"

_KEY_FILE, _PERMITTED_FILE = "curve_server_key_file", "curve_permitted_file"


class Guard:
    """The router's own keys, and who may connect with which scopes. Answers libzmq's questions (ZAP)."""

    def __init__(self, pair: KeyPair, permitted: dict[str, frozenset[str]], counters: Counters) -> None:
        self._pair = pair
        self._counters = counters
        # Scopes of other endpoints let nobody in here.
        self._scopes = {key: scopes & EVERY_SCOPE for key, scopes in permitted.items() if scopes & EVERY_SCOPE}

    def open(self, context: zmq.Context[Socket]) -> Socket:
        """The socket that libzmq asks; to be read by `answer`. It must exist before the sender endpoint is bound."""
        socket = context.socket(zmq.REP)
        socket.linger = 0
        socket.bind(ZAP_ENDPOINT)
        return socket

    def secure(self, socket: Socket) -> None:
        """Make a socket, not bound yet, take CURVE connections only."""
        socket.zap_domain = ZAP_DOMAIN
        socket.curve_server = True
        socket.curve_publickey = self._pair.public.encode()
        socket.curve_secretkey = self._pair.secret.encode()

    def answer(self, socket: Socket) -> None:
        """Answer one question: version, request, domain, address, identity, mechanism, key. Raises zmq.Again."""
        frames = socket.recv_multipart(zmq.NOBLOCK)
        version, request = frames[0], frames[1] if len(frames) > 1 else b""
        key = ""
        if len(frames) == 7 and frames[2] == ZAP_DOMAIN and frames[5] == b"CURVE" and len(frames[6]) == 32:
            key = z85.encode(frames[6]).decode()
        if key in self._scopes:
            socket.send_multipart([version, request, b"200", b"OK", key.encode(), b""])
        else:
            self._counters["keys_refused"] += 1
            socket.send_multipart([version, request, b"400", b"key is not permitted", b"", b""])

    def scopes(self, first: zmq.Frame) -> frozenset[str]:
        """What the peer that sent a message (its first frame) may do."""
        try:
            return self._scopes.get(str(first.get("User-Id")), frozenset())
        except zmq.ZMQError:
            return frozenset()


def load_guard(settings: Settings, counters: Counters) -> Guard | None:
    """The guard of the sender endpoint, or None: no keys are set. Raises SettingsError.

    Without keys, senders may come from this machine only.
    """
    if not settings.curve_server_key_file and not settings.curve_permitted_file:
        if not is_loopback(settings.senders_listen_on):
            key = "sender_host" if settings.sender_host else "host"
            files = f"{_KEY_FILE} and {_PERMITTED_FILE}"
            raise SettingsError(key, f"{settings.senders_listen_on} is not loopback: senders there need {files}")
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
