"""What it costs to keep clients' sockets beyond their worker: `python -m benchmarks.guardians`.

Way (a), which is built: guardian and worker have one descriptor table, and the worker writes an entry into its ledger.
Way (b): the worker also sends a duplicate of each socket to a guardian with a table of its own, and tells of each end.
A worker accepts real loopback connections and closes them again; user and system time of worker and guardian together.
"""

import json
import os
import resource
import socket
import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.costs import memory
from benchmarks.machines import LOADING_CORE, MEASURED_CORE, describe, on_core
from gateway.connections import Connection, State
from gateway.guardian import fork_with_one_table
from gateway.ledgers import Ledger, create, open_ledger

CONNECTIONS, REPEATS = 10_000, 9
#: So many connect before the worker accepts them; the worker's turn of accepting is as long.
_TURN = 64
_NUMBER = struct.Struct("I")


class Way(NamedTuple):
    """`sent`: so many sockets go to the guardian in one message; 0: none go."""

    name: str
    ledger: bool
    one_table: bool
    sent: int


WAYS = (
    Way("accept and close alone", False, False, 0),
    Way("with an entry in the ledger, which either way needs", True, False, 0),
    Way("(a) the same, with one descriptor table", True, True, 0),
    Way("(b) the same, a message with each socket and each end", True, False, 1),
    Way("(b) with 64 in one message", True, False, _TURN),
)


def main() -> int:
    """Print a table; CPU is the median of all repeats."""
    machine = describe()
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"{CONNECTIONS} connections, median of {REPEATS}; CPU of worker and guardian, each on core {MEASURED_CORE}\n")
    print(f"{'':<60}{'us per connection':>20}{'spread':>16}{'bytes':>8}")
    found: dict[str, list[tuple[float, float]]] = {way.name: [] for way in WAYS}
    for _ in range(REPEATS):
        for way in WAYS:  # in turn: only figures of the same minutes compare
            found[way.name].append(measure(way))
    for name, runs in found.items():
        times = sorted(time for time, _ in runs)
        spread = f"{times[0]:.1f} .. {times[-1]:.1f}"
        print(f"{name:<60}{median(times):>20.1f}{spread:>16}{median(size for _, size in runs):>8.0f}")
    return 0


def measure(way: Way) -> tuple[float, float]:
    """(CPU us, bytes) per connection of worker and guardian together."""
    reader, writer = os.pipe()
    go_reader, go_writer = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0), backlog=_TURN) as listener:
        with on_core(MEASURED_CORE):
            guardian = os.fork()
            if guardian == 0:
                go_writer.close()
                _exit_after(lambda: _guard(way, listener, go_reader, writer))
        go_reader.close()
        os.close(writer)
        with on_core(LOADING_CORE):
            _connect(listener, go_writer)
    go_writer.close()
    _, status = os.waitpid(guardian, 0)
    with os.fdopen(reader) as report:
        parts = [json.loads(line) for line in report]
    if status or len(parts) != 2:
        raise RuntimeError("worker or guardian has failed")
    return sum(part["us"] for part in parts) / CONNECTIONS, sum(part["bytes"] for part in parts) / CONNECTIONS


def _connect(listener: socket.socket, worker: socket.socket) -> None:
    """The clients: connect in turns, and stay until the worker has closed them all."""
    clients: list[socket.socket] = []
    while len(clients) < CONNECTIONS:
        turn = min(_TURN, CONNECTIONS - len(clients))
        clients += [socket.create_connection(listener.getsockname()) for _ in range(turn)]
        worker.sendall(_NUMBER.pack(turn))
        worker.recv(1)
    worker.sendall(_NUMBER.pack(0))
    worker.recv(1)
    for client in clients:
        client.close()


def _exit_after(run: Callable[[], None]) -> None:
    status = 1
    try:
        run()
        status = 0
    finally:
        os._exit(status)


def _guard(way: Way, listener: socket.socket, go: socket.socket, report: int) -> None:
    """The guardian: forks the worker, and keeps the duplicates that it gets."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ledger = create(2 * CONNECTIONS)
    pid = fork_with_one_table() if way.one_table else os.fork()
    if pid == 0:
        _exit_after(lambda: _work(way, listener, go, report, ledger, theirs))
    if way.sent:
        theirs.close()  # in one table it would be the worker's too
    began, before = _cpu_us(), memory([os.getpid()]).private
    most = _keep_duplicates(ours, before) if way.sent else 0
    _, status = os.waitpid(pid, 0)
    os.write(report, json.dumps({"us": _cpu_us() - began, "bytes": most}).encode() + b"\n")
    if status:
        raise RuntimeError("the worker has failed")


def _keep_duplicates(worker: socket.socket, before: int) -> int:
    """Until the worker ends; bytes that this process grew by while it had them all."""
    kept: dict[int, int] = {}
    grown = 0
    while True:
        data, rights, _, _ = worker.recvmsg(4 * _TURN, socket.CMSG_SPACE(4 * _TURN))
        if not data:
            return grown
        numbers = array("I", data)
        if rights:
            kept.update(zip(numbers, array("i", rights[0][2]), strict=True))
            if len(kept) == CONNECTIONS:
                grown = memory([os.getpid()]).private - before
        else:
            for number in numbers:
                os.close(kept.pop(number))


def _work(
    way: Way, listener: socket.socket, go: socket.socket, report: int, ledger_fd: int, guardian: socket.socket
) -> None:
    """The worker: accepts turn by turn, binds, and closes all in the end."""
    ledger = open_ledger(ledger_fd) if way.ledger else None
    held: list[Connection] = []
    began = _cpu_us()
    while turn := _NUMBER.unpack(go.recv(_NUMBER.size))[0]:
        accepted = [_accept(listener) for _ in range(turn)]
        if way.sent:
            _pass(guardian, accepted, way.sent)
        for connection in accepted:
            _bind(ledger, connection)
        held += accepted
        go.send(b".")
    size = os.fstat(ledger_fd).st_blocks * 512 if ledger else 0
    together = max(way.sent, 1)
    for start in range(0, len(held), together):
        numbers = [connection.fd for connection in held[start : start + together]]
        _end(ledger, numbers)
        if way.sent:
            guardian.send(array("I", numbers))
    used = _cpu_us() - began
    go.send(b".")
    os.write(report, json.dumps({"us": used, "bytes": size}).encode() + b"\n")


def _accept(listener: socket.socket) -> Connection:
    fd, (host, port) = listener._accept()  # type: ignore[attr-defined]
    os.set_blocking(fd, False)
    return Connection(fd, f"{host}:{port}")


def _pass(guardian: socket.socket, accepted: Sequence[Connection], sent: int) -> None:
    for start in range(0, len(accepted), sent):
        numbers = [connection.fd for connection in accepted[start : start + sent]]
        guardian.sendmsg([array("I", numbers)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", numbers))])


def _bind(ledger: Ledger | None, connection: Connection) -> None:
    """What the ledger hears of a client: that it is there, and to whom it is bound."""
    if ledger:
        ledger.enter(connection)
    connection.token, connection.uid = b"token-%d" % connection.fd, "somebody"
    connection.protocol, connection.state = 2, State.BOUND
    if ledger:
        ledger.note(connection)


def _end(ledger: Ledger | None, numbers: list[int]) -> None:
    for number in numbers:
        if ledger:
            ledger.leave(number)
        os.close(number)


def _cpu_us() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e6


if __name__ == "__main__":
    sys.exit(main())
