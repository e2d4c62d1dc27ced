"""Who may read the stream by TCP: from this machine anybody, or whoever has a permitted key (docs/operations.md)."""

from pathlib import Path
from typing import Any

import zmq
from zmq.auth.thread import ThreadAuthenticator

from services.key_files import read_key_pair
from shared.errors import SettingsError
from shared.keys import ADMIN, PUSH, parse_permitted
from shared.settings import Settings, is_loopback

#: Whoever may ask routers who is connected (FIND1) may hear of it.
SCOPES = frozenset({PUSH, ADMIN})

_DOMAIN = "presence"
_KEY_FILE, _PERMITTED_FILE = "curve_server_key_file", "curve_permitted_file"


class Readers:
    """Answers libzmq's questions whether a key may connect, in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError."""
        self._pair = read_key_pair(_KEY_FILE, Path(settings.curve_server_key_file))
        if zmq.curve_public(self._pair.secret.encode()).decode() != self._pair.public:
            raise SettingsError(_KEY_FILE, "public is not the key of secret")
        permitted = parse_permitted(_PERMITTED_FILE, _read(_PERMITTED_FILE, settings.curve_permitted_file))
        self._keys = {key for key, scopes in permitted.items() if scopes & SCOPES}
        self._authenticator: ThreadAuthenticator | None = None

    def start(self, context: "zmq.Context[Any]") -> None:
        """Before an endpoint of this context is bound."""
        self._authenticator = ThreadAuthenticator(context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(_DOMAIN, self)

    def secure(self, socket: "zmq.Socket[bytes]") -> None:
        """Make a socket, not bound yet, take CURVE connections only."""
        socket.zap_domain = _DOMAIN.encode()
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = self._pair.public.encode(), self._pair.secret.encode()

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a public key (Z85) may connect. Called by pyzmq."""
        return key.decode() in self._keys

    def stop(self) -> None:
        """After the sockets are closed."""
        if self._authenticator:
            self._authenticator.stop()


def load_readers(settings: Settings) -> Readers | None:
    """None: there are no keys, and readers come from this machine only. Raises SettingsError."""
    if settings.curve_server_key_file or settings.curve_permitted_file:
        for key in (_KEY_FILE, _PERMITTED_FILE):
            if not getattr(settings, key):
                raise SettingsError(key, f"must be set: {_KEY_FILE} and {_PERMITTED_FILE} go together")
        return Readers(settings)
    address = settings.presence_listens_on
    if settings.presence_port and not is_loopback(address):
        setting = "presence_host" if settings.presence_host else "host"
        files = f"{_KEY_FILE} and {_PERMITTED_FILE}"
        raise SettingsError(setting, f"{address} is not loopback: readers of presence there need {files}")
    return None


def _read(setting: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise SettingsError(setting, f"{path}: {(why or str(error)).lower()}") from None
