"""The guardian: parent of one worker, which it starts, starts again when it dies, and outlives.

Run by path with the standard library alone; it imports nothing that the worker runs, so a worker that is
started again has the code that is on disk then. It holds the worker's listeners, port lock and pid file open.

    guardian.py INDEX CLIENT_FD NGINX_FD ROOT MODULE

ROOT is the directory that `MODULE` (gateway.worker) is found in if it is not installed. Exit status: 0 the
worker left as it should; 2 it refused its settings; 1 it died too often, or while it was leaving.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

PASSED_ON = {signal.SIGTERM, signal.SIGINT}

#: Exit status of a worker that refuses its settings: starting it again would change nothing.
BAD_SETTINGS = 2

#: A death is quick if it comes within this time (seconds) of the start.
QUICK_S = 1.0
QUICK_DEATHS_MAX = 10
LONGEST_PAUSE_S = 5.0


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

    def run(self) -> int:
        quick_deaths = 0
        while not self._told_within(0):
            started = time.monotonic()
            status = self._wait(start_worker(self.arguments))
            if self.told:
                return self._left(status)
            if status in (0, BAD_SETTINGS):
                return status
            quick_deaths = quick_deaths + 1 if time.monotonic() - started < QUICK_S else 0
            if quick_deaths >= QUICK_DEATHS_MAX:
                log("ERROR", f"{self.name} {ending(status)}, {quick_deaths} times at once: giving up")
                return 1
            pause = back_off(quick_deaths)
            log("WARNING", f"{self.name} {ending(status)}: starting it again" + (f" in {pause:.1f} s" if pause else ""))
            if pause and self._told_within(pause):
                break
        return 0

    def _wait(self, pid: int) -> int:
        """Exit status of the worker, or minus the signal that killed it. Signals are passed on meanwhile."""
        while True:
            got = signal.sigwaitinfo({*PASSED_ON, signal.SIGCHLD}).si_signo
            if got in PASSED_ON:
                self.told.append(signal.Signals(got))
                os.kill(pid, got)
                continue
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)

    def _told_within(self, seconds: float) -> bool:
        """Whether a signal to stop comes while there is no worker."""
        return signal.sigtimedwait(PASSED_ON, seconds) is not None

    def _left(self, status: int) -> int:
        # A worker that was still starting had no handler yet: the signal passed on ended it, and that is as asked.
        if status == 0 or -status in self.told:
            return 0
        log("ERROR", f"{self.name} {ending(status)} while it was leaving")
        return 1


def back_off(quick_deaths: int) -> float:
    """Seconds until the next start: none after a death that was not quick, then 0.1, 0.2, 0.4 ... 5."""
    return min(LONGEST_PAUSE_S, 0.05 * 2**quick_deaths) if quick_deaths else 0.0


def ending(status: int) -> str:
    """How a worker ended, in words."""
    if status >= 0:
        return f"exited with status {status}"
    number = -status
    names = [known.name for known in signal.Signals if known == number]
    return f"was killed by {names[0] if names else f'signal {number}'}"


def log(level: str, text: str) -> None:
    """One line like those of `logging`, which would double this process's size."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    os.write(2, f"{stamp} {level} gateway.guardian: {text}\n".encode())


def start_worker(arguments: list[str]) -> int:
    """Fork the worker; its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = run_worker(arguments)
        finally:
            os._exit(status)
    return pid


def run_worker(arguments: list[str]) -> int:
    """In the child: give it a plain process's signals and site-packages, and call `main` of its module."""
    import importlib  # noqa: PLC0415  (the guardian itself needs neither)
    import site  # noqa: PLC0415
    import traceback  # noqa: PLC0415

    for number in (*PASSED_ON, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    index, client_listener, nginx_listener, root, module = arguments
    try:
        site.main()
        if root not in sys.path:
            sys.path.append(root)
        status = importlib.import_module(module).main(int(index), int(client_listener), int(nginx_listener))
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
