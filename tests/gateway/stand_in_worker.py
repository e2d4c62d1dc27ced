"""A worker module for tests of launcher and guardian; `STAND_IN` names a directory with its orders and its diary.

The file `order` says what a start does: `exit N`, `raise`, `wait` (SIGTERM and SIGINT: exit 0), `wait N` (exit N).
"""

import os
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType

_DIRECTORY = Path(os.environ["STAND_IN"])
_ORDER = (_DIRECTORY / "order").read_text().split()


def _note(name: str, text: object) -> None:
    with (_DIRECTORY / name).open("a") as diary:
        diary.write(f"{text}\n")


if _ORDER[0] == "import":
    _note("starts", os.getpid())
    time.sleep(60)


def main(index: int, client_listener: int, nginx_listener: int) -> int:
    """Do what the order says; its number is the exit status."""
    status = int(_ORDER[1]) if len(_ORDER) > 1 else 0
    _note("blocked", len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
    _note("handlers", {signal.getsignal(number).name for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)})  # type: ignore[union-attr]
    _note("listeners", [_name(client_listener), _name(nginx_listener), index])
    _note("site", "site-packages" in "".join(sys.path))
    if _ORDER[0] == "raise":
        _note("starts", os.getpid())
        raise ValueError("as ordered")
    if _ORDER[0] == "wait":
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


def _wait(status: int) -> None:
    def leave(number: int, frame: FrameType | None) -> None:
        _note("signals", signal.Signals(number).name)
        if not (_DIRECTORY / "stay").exists():
            sys.exit(status)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    _note("starts", os.getpid())
    while True:
        signal.pause()
