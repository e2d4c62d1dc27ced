"""docs/images/dashboard*.png anew: `python -m tests.fleet.dashboard_screenshots`.

A fleet of four workers in which 2,000 clients get 500 pushes a second, as a wide window and a phone show it.
"""

import fcntl
import selectors
import socket
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from services.sender import Sender
from shared.startup.descriptors import raise_descriptor_limit
from tests.clients.kinds import connect
from tests.docs.documents import ROOT
from tests.examples.browsers import Browser, Window, chromium
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until

CLIENTS, PER_SECOND = 2_000, 500
KINDS = ("v0", "v1", "v2", "ws_snake")
IMAGES = ROOT / "docs" / "images"
#: Seconds of load before the pictures, so that charts have something to show.
LOAD_S = 25
#: File, dark, width, height.
PICTURES = (
    ("dashboard.png", False, 1280, 1000),
    ("dashboard-dark.png", True, 1280, 1000),
    ("dashboard-phone.png", False, 390, 1500),
    ("dashboard-phone-dark.png", True, 390, 1500),
)


class Crowd:
    """Clients that throw away what they get, and a sender that pushes to them in turn."""

    def __init__(self, fleet: Fleet, stack: ExitStack) -> None:
        self._selector, self._ended, self._endpoint = selectors.DefaultSelector(), threading.Event(), fleet.endpoint
        for number in range(CLIENTS):
            client = connect(KINDS[number % len(KINDS)], fleet.address)
            client.subscribe(f"client-{number}")
            # A wire waits by select(), which takes no descriptor above 1,023.
            moved = fcntl.fcntl(client.wire.socket, fcntl.F_DUPFD_CLOEXEC, 1024)
            client.wire.socket.close()
            self._selector.register(stack.enter_context(socket.socket(fileno=moved)), selectors.EVENT_READ)
        threads = [threading.Thread(target=work) for work in (self._read, self._push)]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(self._ended.set)

    def _read(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(0.2):
                key.fileobj.recv(65536)  # type: ignore[union-attr]

    def _push(self) -> None:
        step, at, began = PER_SECOND // 20, 0, time.monotonic()
        with Sender(self._endpoint) as sender:
            while not self._ended.wait(max(0.0, began + at / PER_SECOND - time.monotonic())):
                # One in 40 is for nobody.
                names = [f"client-{n % CLIENTS}" if n % 40 else f"nobody-{n}" for n in range(at, at + step)]
                list(sender.push_many([(name, f"push {at}") for name in names]))
                at += step


def main() -> None:
    """Takes them all."""
    with ExitStack() as stack:
        raise_descriptor_limit()
        fleet = stack.enter_context(Fleet(status=True, workers=4, services="all"))
        browser = stack.enter_context(Browser(chromium(), Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        stack.enter_context(_load(fleet))
        windows = [
            browser.open(f"http://{fleet.host}:{fleet.api_port}/", dark=dark, width=width, height=height)
            for _, dark, width, height in PICTURES
        ]
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > LOAD_S, "charts are full", LOAD_S + 10)
        IMAGES.mkdir(exist_ok=True)
        for (name, *_), window in zip(PICTURES, windows, strict=True):
            _take(window, IMAGES / name)


def _load(fleet: Fleet) -> ExitStack:
    stack = ExitStack()
    Crowd(fleet, stack)
    return stack


def _take(window: Window, path: Path) -> None:
    window.ask("Page.bringToFront")
    window.wait_for(f"document.querySelector('#now-connections').innerText === '{CLIENTS:,}'")
    print(path.name, window.text(".tile strong"), "wide:", window.run("document.documentElement.scrollWidth"))
    path.write_bytes(window.screenshot())


if __name__ == "__main__":
    main()
