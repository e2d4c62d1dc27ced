"""Ways to cut a byte stream, so that a parser can be shown to give the same events for each."""

from collections.abc import Iterator

from hypothesis import strategies as st


def bytewise(data: bytes) -> list[bytes]:
    """One byte at a time."""
    return [data[at : at + 1] for at in range(len(data))]


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    """`data` cut at the given places."""
    start = 0
    for place in [*sorted(places), len(data)]:
        yield data[start:place]
        start = place


def places(size: int) -> st.SearchStrategy[list[int]]:
    """Up to eight places to cut `size` bytes."""
    return st.lists(st.integers(0, size), max_size=8)
