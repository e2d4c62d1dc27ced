"""The output of a process, line by line, with deadlines."""

import queue
import subprocess
import threading


class Lines:
    """Reads it in a thread, which ends with the process."""

    def __init__(self, popen: "subprocess.Popen[str]") -> None:
        self._popen, self._lines = popen, queue.Queue[str]()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stdout
        for line in self._popen.stdout:
            self._lines.put(line)

    def next(self, seconds: float) -> str | None:
        """None: there is none within this time."""
        try:
            return self._lines.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None

    def join(self) -> None:
        self._reader.join()
