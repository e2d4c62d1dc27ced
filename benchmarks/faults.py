"""What makes a measurement worthless."""


class BenchmarkFault(Exception):
    """The figure cannot be had or cannot be trusted; the text says why."""
