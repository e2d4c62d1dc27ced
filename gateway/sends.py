"""Sending to clients' sockets, which do not block: in C where that could be compiled, else in Python.

send(fd, data)                      bytes taken; raises OSError, BlockingIOError where it takes none
send_each(fds, data, words, place, marks, mark)  the same to each: `send_each_in_python`
"""

import os
from collections.abc import Callable

__all__ = ["LANGUAGE", "TORN", "Data", "SendEach", "send", "send_each", "send_each_in_python", "send_in_python"]

Data = bytes | bytearray | memoryview
SendEach = Callable[[list[int], Data, "memoryview[int]", int, "memoryview[int]", int], list[tuple[int, int]]]

#: The mark of a descriptor that has taken a part of what was sent, until the rest is in its out-buffer.
TORN = 0xFFFF_FFFF


send_in_python = os.write


def send_each_in_python(
    fds: list[int], data: Data, words: "memoryview[int]", place: int, marks: "memoryview[int]", mark: int, /
) -> list[tuple[int, int]]:
    """Send the same to each; (index, bytes taken) of those that did not take all of it, 0 where the send failed.

    `words`: C ints. While a socket is sent to, its descriptor stands in the one at `place`; behind it all, -1.
    `marks`: C unsigned ints, one for each descriptor; those that took all get `mark`, those that took
    a part TORN.
    """
    if not isinstance(fds, list):
        raise TypeError(f"descriptors come in a list, not {type(fds).__name__}")
    rest = []
    size = memoryview(data).nbytes
    try:
        for index, fd in enumerate(fds):
            words[place] = fd
            try:
                taken = os.write(fd, data)
            except OSError:
                rest.append((index, 0))
                continue
            if fd < len(marks):
                marks[fd] = mark if taken == size else TORN
            if taken != size:
                rest.append((index, taken))
    finally:
        words[place] = -1
    return rest


try:
    from gateway._sends import MARKS, send, send_each
except ImportError:  # no C compiler where it was installed, or what it made is of an older version
    send, send_each = send_in_python, send_each_in_python
    LANGUAGE = "Python"
else:
    assert MARKS
    LANGUAGE = "C"
