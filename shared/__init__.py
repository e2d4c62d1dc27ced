"""Layer 1: the words of the system as types, and its codecs. Pure: no clock, socket, environment or logging."""

__version__ = "0.1.0"
