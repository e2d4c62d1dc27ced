"""A process that accepts until no descriptor is left: `python -m tests.gateway.scarce_descriptors`.

Prints JSON: what was seen while there were none, and after some became free.
"""

import json
import logging
import os
import resource
import socket
import sys

from gateway.acceptors import Acceptor
from tests.gateway.parts import Parts, descriptors, turns, until

FREE = 10


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def main() -> None:
    log = Lines()
    logging.getLogger().addHandler(log)
    parts = Parts()
    acceptor = Acceptor(parts.loop, 600, [])
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    listener.setblocking(False)
    acceptor.listen(listener, proxied=False)
    # all in the backlog before the limit falls: the clients' ends are in this process too
    ends = [parts.call_in(listener.getsockname()) for _ in range(2 * FREE)]
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # another worker
    open_now = max(descriptors()) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + FREE, open_now + FREE))
    counters = parts.counters
    until(lambda: counters["accept_pauses"])
    held = parts.loop.table.count
    caller.connect(parts.path)
    served = ends[0].ask(3)
    cpu = sum(os.times()[:2])
    for _ in range(5):
        parts.advance()
        turns()
    busy = sum(os.times()[:2]) - cpu
    pauses = counters["accept_pauses"]
    for end in ends[:4]:
        end.close()
    until(lambda: parts.loop.table.count == held - 4)
    parts.advance()
    until(lambda: parts.loop.table.count == held + 4)
    parts.advance(60)
    turns()
    for end in ends[4:]:
        end.close()
    until(lambda: parts.listener.links)
    print(json.dumps({
        "held": held,
        "served": served,
        "busy": busy,
        "pauses": pauses,
        "accepted": counters["accepted"],
        "internal_errors": counters["internal_errors"],
        "warnings": log.lines,
    }))  # fmt: skip
    parts.directory.cleanup()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
