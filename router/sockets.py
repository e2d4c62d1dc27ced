"""The router's two sockets, with the options that bound them and the errors of binding them by setting."""

import errno
import os

import zmq

from router.multipart import Socket
from router.security import Guard
from shared.errors import SettingsError
from shared.settings import Settings

#: Messages that ZeroMQ reads ahead per sender, at most; fewer if they could fill a quarter of the memory setting.
#: 8 cost a quarter more CPU per push than 32, and 256 are no better.
_RECEIVE_QUEUE = 32
#: Answers that ZeroMQ queues for a sender that does not read them.
_ANSWER_QUEUE = 2_000
_BACKLOG = 1_024

#: A sender's machine that vanished is noticed after about a minute.
_KEEPALIVE_IDLE_S, _KEEPALIVE_PERIOD_S, _KEEPALIVE_COUNT = 30, 10, 3


def open_bus(context: zmq.Context[Socket], endpoint: str) -> Socket:
    """The bus, bound; nobody else may connect. Raises SettingsError (`data_dir`).

    Its queues have no mark: what is under way to a worker is bounded by its window and by the unanswered requests.
    """
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    socket.router_mandatory = True
    socket.router_handover = True  # a restarted worker comes under its old identity
    socket.sndhwm = 0
    before = os.umask(0o077)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        raise SettingsError("data_dir", f"{endpoint}: {error.strerror.lower()}") from None
    finally:
        os.umask(before)
    return socket


def open_senders(context: zmq.Context[Socket], endpoint: str, settings: Settings, guard: Guard | None) -> Socket:
    """The sender endpoint, bound. Raises SettingsError (`sender_port`, `host`)."""
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    socket.router_mandatory = True
    socket.maxmsgsize = settings.max_frame_bytes
    read_ahead = settings.router_memory_bytes // 4 // settings.max_frame_bytes
    socket.rcvhwm, socket.sndhwm = min(_RECEIVE_QUEUE, max(1, read_ahead)), _ANSWER_QUEUE
    socket.backlog = _BACKLOG
    socket.tcp_keepalive = 1
    socket.tcp_keepalive_idle, socket.tcp_keepalive_intvl = _KEEPALIVE_IDLE_S, _KEEPALIVE_PERIOD_S
    socket.tcp_keepalive_cnt = _KEEPALIVE_COUNT
    socket.ipv6 = "[" in endpoint
    if guard is not None:
        guard.secure(socket)
    try:
        socket.bind(endpoint.replace("//localhost:", "//127.0.0.1:"))
    except zmq.ZMQError as error:
        socket.close()
        raise _why_not(error, endpoint, settings) from None
    return socket


def _why_not(error: zmq.ZMQError, endpoint: str, settings: Settings) -> SettingsError:
    address = endpoint.removeprefix("tcp://")
    if error.errno == errno.EADDRINUSE:
        return SettingsError("sender_port", f"address {address} is in use")
    if error.errno == errno.EACCES:
        return SettingsError("sender_port", f"address {address} is not permitted to this user")
    key = "sender_host" if settings.sender_host else "host"
    return SettingsError(key, f"cannot listen on {address}: {error.strerror.lower()}")
