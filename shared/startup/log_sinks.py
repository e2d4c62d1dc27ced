"""Where log lines go: into a bounded buffer, which a thread writes. Whoever logs never waits for a disk or a pipe."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate

#: Bytes that may wait to be written; what comes on top is dropped and counted.
BUFFER_BYTES = 1 << 20
#: Lines are written together: so long after the first of them (seconds).
_PAUSE_S = 0.02
#: How long the end of the process waits for what is left.
_FLUSH_S = 1.0


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Threads that are started meanwhile get no signals."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Sink(logging.Handler):
    """Writes lines to a descriptor. Its thread starts with the first line."""

    def __init__(self, descriptor: int = 2, buffer_bytes: int = BUFFER_BYTES) -> None:
        super().__init__()
        self._descriptor, self._most = descriptor, buffer_bytes
        self._lines: list[bytes] = []
        self._bytes = 0
        self._untold = self._dropped = 0
        self._is_amid = False  # only a part of the last line was written
        self._guard = threading.Lock()
        self._some, self._none = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.put(self.format(record))
        except Exception:  # a record that cannot be formatted is our bug, and no reason to fail
            self.put(f"unreadable log record of {record.name} in {record.pathname}:{record.lineno}")

    def put(self, line: str) -> None:
        """A line to be written, unless the buffer is full."""
        data = line.encode(errors="backslashreplace") + b"\n"
        with self._guard:
            if self._bytes + len(data) > self._most:
                self._untold += 1
                self._dropped += 1
                return
            self._lines.append(data)
            self._bytes += len(data)
        if self._thread is None:
            self._start()
        if not self._some.is_set():
            self._none.clear()
            self._some.set()

    def take_dropped(self) -> int:
        """How many lines were dropped since the last call."""
        with self._guard:
            dropped, self._dropped = self._dropped, 0
        return dropped

    def flush(self) -> None:
        """Wait until everything is written, a second at most. Called at the end of the process."""
        if self._thread is not None and self._thread.is_alive():
            self._none.wait(_FLUSH_S)

    # --- the thread

    def _start(self) -> None:
        """Its thread takes no signals: they are for the others."""
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        with signals_blocked():
            self._thread.start()

    def _run(self) -> None:
        while True:
            self._some.wait()
            time.sleep(_PAUSE_S)
            self._write()

    def _write(self) -> None:
        with self._guard:
            lines, untold = self._lines, self._untold
            self._lines, self._untold = [], 0
        size = sum(map(len, lines))
        if untold:
            lines.append(self._line_about(untold))
        lost = len(lines) - self._written(lines)
        with self._guard:
            if lost:
                lost -= untold > 0  # the line about those before is no line that was dropped: it comes again
                self._dropped += lost
                self._untold += lost + untold
            self._bytes -= size  # not before: the bound holds for what is on its way, too
            if not self._lines:
                self._some.clear()
                self._none.set()

    def _written(self, lines: list[bytes]) -> int:
        """Write these; how many got there whole."""
        lead = b"\n" if self._is_amid else b""
        data, at = lead + b"".join(lines), 0
        try:
            while at < len(data):
                at += os.write(self._descriptor, memoryview(data)[at:])
        except OSError:  # a full disk, a closed pipe
            pass
        if at:
            self._is_amid = not data.endswith(b"\n", 0, at)
        _, *ends = accumulate(map(len, lines), initial=len(lead))
        return sum(end <= at for end in ends)

    def _line_about(self, untold: int) -> bytes:
        text = f"{untold} log lines were dropped: they could not be written, or not as fast as they came"
        return (
            self.format(logging.makeLogRecord({"name": __name__, "msg": text, "levelname": "WARNING"})).encode() + b"\n"
        )
