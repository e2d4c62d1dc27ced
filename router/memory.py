"""The router's own memory, and when it is too much.

ZeroMQ does not bound an unfinished multipart message, so a sender that sends frames without end fills the router's
memory before the router sees any of it. Closing the endpoint frees it; senders connect again by themselves.
"""

import ctypes
import os

_STATM = "/proc/self/statm"
_STATM_BYTES = 128
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

PERIOD_S = 1.0


class ResidentMemory:
    """Resident memory of this process. Stays open: it must answer when senders' connections use up every descriptor."""

    def __init__(self) -> None:
        self._statm = os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)

    def bytes(self) -> int:
        """So much is resident now."""
        return int(os.pread(self._statm, _STATM_BYTES, 0).split()[1]) * _PAGE_BYTES


def give_back() -> None:
    """Let the C library give freed memory back to the kernel, where it knows how (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class MemoryWatch:
    """Says when the sender endpoint is to be reopened: memory is over the limit, and more than a reopening left.

    Without the second condition, memory that is not the endpoint's would have it reopened for ever.
    """

    def __init__(self, limit_bytes: int, now: float) -> None:
        self._limit = self._threshold = limit_bytes
        self.next_look = now + PERIOD_S  # monotonic seconds
        self.just_reopened = False

    def over(self, now: float, resident: int) -> bool:
        """Whether to reopen at `resident` bytes. The look after that only sees what is left: closing takes a moment."""
        self.next_look = now + PERIOD_S
        left = resident + self._limit // 4
        if self.just_reopened:
            self._threshold = max(self._limit, left)
            self.just_reopened = False
            return False
        self._threshold = max(self._limit, min(self._threshold, left))
        self.just_reopened = resident > self._threshold
        return self.just_reopened
