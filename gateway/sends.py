"""Sending to clients' sockets, which do not block: in C where that could be compiled, else in Python.

send(fd, data)                      bytes taken; raises OSError, BlockingIOError where it takes none
send_each(fds, data, words, place)  the same to each: `send_each_in_python`
"""

import os

__all__ = ["LANGUAGE", "Data", "send", "send_each", "send_each_in_python", "send_in_python"]

Data = bytes | bytearray | memoryview


send_in_python = os.write


def send_each_in_python(fds: list[int], data: Data, words: "memoryview[int]", place: int, /) -> list[tuple[int, int]]:
    """Send the same to each; (index, bytes taken) of those that did not take all of it, 0 where the send failed.

    `words`: C ints. While a socket is sent to, its descriptor stands in the one at `place`; behind it all, -1.
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
            if taken != size:
                rest.append((index, taken))
    finally:
        words[place] = -1
    return rest


try:
    from gateway._sends import send, send_each
except ImportError:  # no C compiler where it was installed
    send, send_each = send_in_python, send_each_in_python
    LANGUAGE = "Python"
else:
    LANGUAGE = "C"
