"""The guardian: parent of one worker, which it starts, starts again when it dies, and outlives.

Run by path with the standard library alone; it imports nothing that the worker runs, so a worker that is
started again has the code that is on disk then. It holds the worker's listeners, port lock and pid file open.

**Clients outlive their worker.** Guardian and worker have one descriptor table between them (clone with
CLONE_FILES), so every client's socket that the worker accepts is the guardian's too, at no cost, and `close()` stays
`close()`. When the worker dies the guardian closes at once whatever is not in the ledger (the links to routers would
look alive), and starts a new one, which finds its clients in the ledger. Here only what the ledger's header and the
first byte of each slot say is known of it (gateway/ledgers.py).

    guardian.py INDEX CLIENT_FD NGINX_FD LEDGER_FD TIMEOUT_MS ROOT MODULE

TIMEOUT_MS: a worker whose loop has not turned for so long is killed. ROOT is the directory that `MODULE`
(gateway.worker) is found in if it is not installed. Exit status: 0 the worker left as it should; 2 it refused its
settings; 3 it died again and again, and its clients are with others; 1 it died while it was leaving.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import struct
import sys
import time
from collections import deque

PASSED_ON = {signal.SIGTERM, signal.SIGINT}

#: Exit status of a worker that refuses its settings: starting it again would change nothing.
BAD_SETTINGS = 2
#: The worker is left down: starting it again would do the same again.
LEFT_DOWN = 3

#: So many deaths within so long (seconds), and the worker is started once more only, to give its clients away.
DEATHS_MAX, DEATHS_WITHIN_S = 5, 10.0
LONGEST_PAUSE_S = 1.0
#: How often the guardian looks whether the worker's loop turns, and how long a start may take (seconds).
LOOK_S, START_S = 0.5, 60.0

#: Variable by which it is told how to write lines: `plain` or `json`.
LOG_FORMAT = "GUARDIAN_LOG_FORMAT"

#: Of a worker that starts, until it serves.
START_NICENESS = -15

_CLONE_FILES, _CHILD_SETTID, _CHILD_CLEARTID = 0x400, 0x0100_0000, 0x0020_0000
_CLONE = {"x86_64": 56, "aarch64": 220}
_PR_GET_TID_ADDRESS = 40

_BEAT_AT, _USED_AT = 72, 84  # in the ledger's header
_SLOTS = struct.Struct("3I")  # from byte 8 on: offset of the first slot, bytes of a slot, slots


def main(arguments: list[str]) -> int:
    """Guard the worker until it leaves; the exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {*PASSED_ON, signal.SIGCHLD})
    return Guardian(arguments).run()


class Guardian:
    """The restart policy. Signals are blocked and fetched one by one, so none can come at a wrong moment."""

    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments
        self.name = f"worker {arguments[0]}"
        self.told: list[signal.Signals] = []  # what was passed on
        self._own = open_descriptors()  # listeners, lock, pid file, ledger, log
        self._ledger = int(arguments[3])
        # one descriptor, so that it can look which are open when the worker has used up all others
        self._spare = os.open("/dev/null", os.O_RDONLY)
        self._own.add(self._spare)
        self._looks_max = max(2, round(int(arguments[4]) / 1000 / LOOK_S))
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX)

    def run(self) -> int:
        if self._told_within(0):
            return 0
        while True:
            status = self._wait(self._start(evacuate=False))
            if self.told == [signal.SIGTERM] and status not in (0, BAD_SETTINGS):
                log("WARNING", f"{self.name} {ending(status)} while it was leaving: giving its clients away")
                self._clean_up()
                status = self._wait(self._start(evacuate=True))
            if self.told:
                return self._left(status)
            if status == 0 or (status == BAD_SETTINGS and not self._has_clients()):
                return status
            self._clean_up()
            pause = self._pause(status)
            if pause is None:
                return self._evacuate()
            told = self._told_within(pause)
            if told:
                return self._leave_without_worker(told)

    def _start(self, evacuate: bool) -> int:
        os.pwrite(self._ledger, bytes(8), _BEAT_AT)
        while True:
            try:
                return start_worker([*self.arguments, "evacuate" if evacuate else "serve"])
            except OSError as error:  # no memory, or too many processes: the clients can wait
                log("ERROR", f"{self.name} cannot be started: {error.strerror}")
                time.sleep(LONGEST_PAUSE_S)

    def _pause(self, status: int) -> float | None:
        """Seconds until the next start; None: it has died too often."""
        if status == BAD_SETTINGS:
            log("ERROR", f"{self.name} refuses its settings, which have changed: its clients wait for better ones")
            return LONGEST_PAUSE_S
        now = time.monotonic()
        self._deaths.append(now)
        recent = sum(now - death < DEATHS_WITHIN_S for death in self._deaths)
        if recent >= DEATHS_MAX:
            log("ERROR", f"{self.name} {ending(status)}, {recent} times within {DEATHS_WITHIN_S:.0f} s: left down")
            return None
        pause = back_off(recent)
        log("WARNING", f"{self.name} {ending(status)}: starting it again" + (f" in {pause:.2f} s" if pause else ""))
        return pause

    def _evacuate(self) -> int:
        """Once more, without serving anybody: it gives its clients to the other workers and leaves."""
        status = self._wait(self._start(evacuate=True))
        if status and not self.told:
            log("ERROR", f"{self.name} {ending(status)} while it gave its clients away")
        return LEFT_DOWN

    def _wait(self, pid: int) -> int:
        """Exit status of the worker, or minus the signal that killed it. Signals are passed on meanwhile."""
        started, last, still = time.monotonic(), bytes(8), 0
        while True:
            got = signal.sigtimedwait({*PASSED_ON, signal.SIGCHLD}, LOOK_S)
            if got is None:
                beat = os.pread(self._ledger, 8, _BEAT_AT)
                waits = beat == last and (any(beat) or time.monotonic() - started > START_S)
                last, still = beat, still + 1 if waits else 0
                if still >= self._looks_max:
                    log("ERROR", f"{self.name} stands still: killed")
                    os.kill(pid, signal.SIGKILL)
                    still = 0
            elif got.si_signo in PASSED_ON:
                self.told.append(signal.Signals(got.si_signo))
                os.kill(pid, got.si_signo)
            else:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    return os.waitstatus_to_exitcode(status)

    def _told_within(self, seconds: float) -> signal.Signals | None:
        """A signal to stop that comes while there is no worker."""
        got = signal.sigtimedwait(PASSED_ON, seconds)
        return signal.Signals(got.si_signo) if got else None

    def _leave_without_worker(self, told: signal.Signals) -> int:
        """The worker's clients are given away (SIGTERM), or told to return (SIGINT), by a last one."""
        self.told.append(told)
        pid = self._start(evacuate=True)
        if told == signal.SIGINT:
            os.kill(pid, told)  # waits until it has a handler
        return self._left(self._wait(pid))

    def _has_clients(self) -> bool:
        return any(self._kinds())

    def _left(self, status: int) -> int:
        if status == 0:
            return 0
        log("ERROR", f"{self.name} {ending(status)} while it was leaving")
        return 1

    def _clean_up(self) -> None:
        """Close whatever a dead worker has left but its clients' sockets; forget sockets that are closed."""
        kinds = self._kinds()
        os.close(self._spare)
        found = open_descriptors()
        for descriptor in found - self._own:
            if descriptor >= len(kinds) or not kinds[descriptor]:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        os.dup2(os.open("/dev/null", os.O_RDONLY), self._spare)
        first, size, _ = self._slots()
        for descriptor, kind in enumerate(kinds):
            if kind and descriptor not in found:
                os.pwrite(self._ledger, b"\0", first + descriptor * size)

    def _kinds(self) -> bytes:
        """The first byte of every slot: 0 if the descriptor is no client's."""
        first, size, used = self._slots()
        kinds = bytearray()
        while len(kinds) < used:
            chunk = os.pread(self._ledger, size * 4096, first + len(kinds) * size)
            kinds += chunk[: (used - len(kinds)) * size : size]
        return bytes(kinds)

    def _slots(self) -> tuple[int, int, int]:
        """Where the first is, their size, and how many were ever in use."""
        first, size, _ = _SLOTS.unpack(os.pread(self._ledger, _SLOTS.size, 8))
        used = int.from_bytes(os.pread(self._ledger, 4, _USED_AT), sys.byteorder)
        return first, size, used


def open_descriptors() -> set[int]:
    """The descriptors that are open now."""
    listed = {int(name) for name in os.listdir("/proc/self/fd")}
    return {descriptor for descriptor in listed if is_open(descriptor)}


def is_open(descriptor: int) -> bool:
    """False for the one that the listing itself was read from."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def back_off(recent: int) -> float:
    """Seconds until the next start: none after a first death, then 0.1, 0.2, 0.4 ... 1."""
    return min(LONGEST_PAUSE_S, 0.05 * 2 ** (recent - 1)) if recent > 1 else 0.0


def ending(status: int) -> str:
    """How a worker ended, in words."""
    if status >= 0:
        return f"exited with status {status}"
    number = -status
    names = [known.name for known in signal.Signals if known == number]
    return f"was killed by {names[0] if names else f'signal {number}'}"


def log(level: str, text: str) -> None:
    """One line like those of `logging`, which would double this process's size."""
    if os.environ.get(LOG_FORMAT) == "json":
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        said = text.replace("\\", "\\\\").replace('"', '\\"')
        line = f'{{"time":"{stamp}","level":"{level}","logger":"gateway.guardian","message":"{said}"}}\n'
    else:
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {level} gateway.guardian: {text}\n"
    with contextlib.suppress(OSError):  # a full disk or a closed pipe must not end it, and its clients with it
        os.write(2, line.encode())


def start_worker(arguments: list[str]) -> int:
    """Fork the worker; its pid."""
    pid = fork_with_one_table()
    if pid == 0:
        status = 1
        try:
            status = run_worker(arguments)
        finally:
            os._exit(status)
    return pid


def fork_with_one_table() -> int:
    """os.fork(), but parent and child have one descriptor table: what either opens or closes, both do.

    The C library's fork() cannot do that, so this does the rest of its work for a process that has no thread: Python's
    own hooks, and (by the address that the kernel knows) the thread id that the library keeps for the child.
    On a machine whose number of clone(2) is not known here it is os.fork(), and a dead worker's clients are gone.
    """
    number = _CLONE.get(platform.machine())
    if number is None:
        return os.fork()
    libc, python = ctypes.PyDLL(None, use_errno=True), ctypes.pythonapi
    thread_id = ctypes.c_void_p()
    libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(thread_id), 0, 0, 0)
    flags = _CLONE_FILES | signal.SIGCHLD
    if thread_id.value:
        flags |= _CHILD_SETTID | _CHILD_CLEARTID
    none, tls = ctypes.c_void_p(), ctypes.c_void_p()
    last = (thread_id, tls) if number == _CLONE["x86_64"] else (tls, thread_id)
    python.PyOS_BeforeFork()
    pid = int(libc.syscall(ctypes.c_long(number), ctypes.c_ulong(flags), none, none, *last))
    if pid == 0:
        python.PyOS_AfterFork_Child()
        return 0
    python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return pid


def run_worker(arguments: list[str]) -> int:
    """In the child: give it site-packages and call `main` of its module.

    Signals to leave stay blocked until the worker has handlers for them: they must not end it with its clients.
    """
    import importlib  # noqa: PLC0415  (the guardian itself needs neither)
    import site  # noqa: PLC0415
    import traceback  # noqa: PLC0415

    for number in (*PASSED_ON, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    with contextlib.suppress(OSError):  # where it is permitted: clients wait; `gateway.worker` goes back to the usual
        os.setpriority(os.PRIO_PROCESS, 0, START_NICENESS)
    index, client_listener, nginx_listener, ledger, _, root, module, task = arguments
    try:
        site.main()
        if root not in sys.path:
            sys.path.append(root)
        worker = importlib.import_module(module)
        descriptors = [int(client_listener), int(nginx_listener), int(ledger)]
        status = worker.main(int(index), *descriptors, guardian=os.getppid(), evacuate=task == "evacuate")
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    flush()
    return int(status or 0)


def flush() -> None:
    """What interpreter shutdown would have written."""
    logging = sys.modules.get("logging")
    if logging:
        logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
