"""A worker module for tests of launcher and guardian; `STAND_IN` names a directory with its orders and its diary.

The file `order` says what a start does: `exit N`, `raise`, `wait` (SIGTERM and SIGINT: exit 0), `wait N` (exit N),
`beat` (the loop turns for a moment, then stands still), `open` (open a file and a client's socket, then wait).
"""

import os
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType

from gateway.connections import Connection
from gateway.ledgers import Ledger, open_ledger

_DIRECTORY = Path(os.environ["STAND_IN"])
_ORDER = (_DIRECTORY / "order").read_text().split()


def _note(name: str, text: object) -> None:
    with (_DIRECTORY / name).open("a") as diary:
        diary.write(f"{text}\n")


if _ORDER[0] == "import":
    _note("starts", os.getpid())
    time.sleep(0.3)


def main(index: int, client_listener: int, nginx_listener: int, ledger: int, *, guardian: int, evacuate: bool) -> int:
    """Do what the order says; its number is the exit status."""
    _note("tasks", "evacuate" if evacuate else "serve")
    assert guardian == os.getppid()
    status = int(_ORDER[1]) if len(_ORDER) > 1 else 0
    _note("blocked", len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
    _note("handlers", {signal.getsignal(number).name for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)})  # type: ignore[union-attr]
    _note("listeners", [_name(client_listener), _name(nginx_listener), index])
    _note("site", "site-packages" in "".join(sys.path))
    if _ORDER[0] == "raise":
        _note("starts", os.getpid())
        raise ValueError("as ordered")
    if _ORDER[0] == "beat":
        os.pwrite(ledger, b"\x01" * 8, 72)
    if _ORDER[0] == "open":
        _open(open_ledger(ledger))
    if _ORDER[0] in ("wait", "beat", "open", "import"):
        _wait(status)
    _note("starts", os.getpid())
    print("left", flush=False)  # the guardian's child must flush it
    return status


def _name(descriptor: int) -> object:
    if descriptor < 0:
        return None
    listener = socket.socket(fileno=descriptor)
    try:
        return listener.getsockname()
    finally:
        listener.detach()


def _open(ledger: Ledger) -> None:
    """Note what is open now, then open three descriptors more; one is in the ledger as a client's socket."""
    here, _ = socket.socketpair()
    _note("open", sorted(os.readlink(f"/proc/self/fd/{entry.fd}") for entry in ledger.entries()))
    _note("all", len(os.listdir("/proc/self/fd")))
    connection = Connection(os.dup(here.fileno()), "test")
    ledger.enter(connection)
    _note("client", os.readlink(f"/proc/self/fd/{connection.fd}"))
    gone = Connection(os.dup(here.fileno()), "gone")
    ledger.enter(gone)
    os.close(gone.fd)


def _wait(status: int) -> None:
    def leave(number: int, frame: FrameType | None) -> None:
        _note("signals", signal.Signals(number).name)
        if not (_DIRECTORY / "stay").exists():
            sys.exit(status)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    _note("starts", os.getpid())
    while True:
        signal.pause()
