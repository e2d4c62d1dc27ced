"""What the kernel knows of the bytes that a client has been sent."""

import fcntl
import struct
import termios

_INT = struct.Struct("i")
_EMPTY = bytes(_INT.size)


def unacknowledged_bytes(fd: int) -> int:
    """Bytes in a socket's send queue that the peer's kernel has not acknowledged (SIOCOUTQ). Raises OSError.

    Of a Unix socket (nginx on this host), those that the peer has not read, as the kernel counts them.
    """
    return int(_INT.unpack(fcntl.ioctl(fd, termios.TIOCOUTQ, _EMPTY))[0])
