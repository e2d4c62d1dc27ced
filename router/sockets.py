"""The router's sockets, with the options that bound them and the errors of binding them by setting."""

import errno
import os

import zmq

from router.multipart import Socket
from router.security import SENDERS, SERVICES, WORKERS, Guard
from router.service_members import WINDOW_MAX
from shared.errors import SettingsError
from shared.settings import Settings, is_loopback

#: Messages that ZeroMQ reads ahead per sender, at most; fewer if they could fill a quarter of the memory setting.
#: 8 cost a quarter more CPU per push than 32, and 256 are no better.
_RECEIVE_QUEUE = 32
#: Answers that ZeroMQ queues for a sender that does not read them.
_ANSWER_QUEUE = 2_000
#: Messages for a service that does not read; beyond its window that is answers to what it asks. Then it is dead.
_SERVICE_QUEUE = WINDOW_MAX + 16_384
_BACKLOG = 1_024

#: A worker's answer about one token of a FIND1, at most; the longest frame on the bus has one for each target.
_ANSWER_BYTES = 1_024

#: A machine that vanished is noticed after about a minute.
_KEEPALIVE_IDLE_S, _KEEPALIVE_PERIOD_S, _KEEPALIVE_COUNT = 30, 10, 3


def open_bus(context: zmq.Context[Socket], endpoint: str) -> Socket:
    """The bus, bound; nobody else may connect. Raises SettingsError (`data_dir`).

    Its queues have no mark: what is under way to a worker is bounded by its window and by the unanswered requests.
    """
    return _bind_ipc(_new_bus(context), endpoint)


def _bind_ipc(socket: Socket, endpoint: str) -> Socket:
    before = os.umask(0o077)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        raise SettingsError("data_dir", f"{endpoint}: {error.strerror.lower()}") from None
    finally:
        os.umask(before)
    return socket


def _new_bus(context: zmq.Context[Socket]) -> Socket:
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    socket.router_mandatory = True
    socket.router_handover = True  # a restarted worker comes under its old identity
    socket.sndhwm = 0
    return socket


def open_tcp_bus(context: zmq.Context[Socket], endpoint: str, settings: Settings, guard: Guard | None) -> Socket:
    """The bus for workers of other hosts, bound. Raises SettingsError (`bus_port`, `bus_host`, `host`).

    On loopback everybody on this machine may connect. Elsewhere the guard decides.
    """
    socket = _new_bus(context)
    socket.maxmsgsize = max(settings.max_frame_bytes, _ANSWER_BYTES * settings.max_targets)
    if guard is not None and not is_loopback(settings.bus_listens_on):
        guard.secure(socket, WORKERS)
    host = "bus_host" if settings.bus_host else "host"
    return _bind_tcp(socket, endpoint, "bus_port", host)


def open_senders(context: zmq.Context[Socket], endpoint: str, settings: Settings, guard: Guard | None) -> Socket:
    """The sender endpoint, bound. Raises SettingsError (`sender_port`, `host`)."""
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    socket.router_mandatory = True
    socket.maxmsgsize = settings.max_frame_bytes
    socket.rcvhwm, socket.sndhwm = _read_ahead(settings), _ANSWER_QUEUE
    socket.backlog = _BACKLOG
    if guard is not None:
        guard.secure(socket, SENDERS)
    return _bind_tcp(socket, endpoint, "sender_port", "sender_host" if settings.sender_host else "host")


def open_services(context: zmq.Context[Socket], endpoint: str, settings: Settings) -> Socket:
    """The endpoint for services of this host, bound; nobody else may connect. Raises SettingsError (`data_dir`)."""
    return _bind_ipc(_new_services(context, settings), endpoint)


def open_tcp_services(context: zmq.Context[Socket], endpoint: str, settings: Settings, guard: Guard | None) -> Socket:
    """The endpoint for services elsewhere, bound. Raises SettingsError (`service_port`, `service_host`, `host`).

    On loopback everybody on this machine may connect. Elsewhere the guard decides.
    """
    socket = _new_services(context, settings)
    if guard is not None and not is_loopback(settings.services_listen_on):
        guard.secure(socket, SERVICES)
    return _bind_tcp(socket, endpoint, "service_port", "service_host" if settings.service_host else "host")


def _new_services(context: zmq.Context[Socket], settings: Settings) -> Socket:
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    socket.router_mandatory = True
    socket.router_handover = True  # a restarted service may come under its old identity
    socket.maxmsgsize = settings.max_frame_bytes
    socket.rcvhwm, socket.sndhwm = _read_ahead(settings), _SERVICE_QUEUE
    return socket


def _read_ahead(settings: Settings) -> int:
    return min(_RECEIVE_QUEUE, max(1, settings.router_memory_bytes // 4 // settings.max_frame_bytes))


def _bind_tcp(socket: Socket, endpoint: str, port_setting: str, host_setting: str) -> Socket:
    socket.tcp_keepalive = 1
    socket.tcp_keepalive_idle, socket.tcp_keepalive_intvl = _KEEPALIVE_IDLE_S, _KEEPALIVE_PERIOD_S
    socket.tcp_keepalive_cnt = _KEEPALIVE_COUNT
    socket.ipv6 = "[" in endpoint
    try:
        socket.bind(endpoint.replace("//localhost:", "//127.0.0.1:"))
    except zmq.ZMQError as error:
        socket.close()
        raise _why_not(error, endpoint.removeprefix("tcp://"), port_setting, host_setting) from None
    return socket


def _why_not(error: zmq.ZMQError, address: str, port_setting: str, host_setting: str) -> SettingsError:
    if error.errno == errno.EADDRINUSE:
        return SettingsError(port_setting, f"address {address} is in use")
    if error.errno == errno.EACCES:
        return SettingsError(port_setting, f"address {address} is not permitted to this user")
    return SettingsError(host_setting, f"cannot listen on {address}: {error.strerror.lower()}")
