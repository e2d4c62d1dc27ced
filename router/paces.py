"""How many members of stored pushes to many are under way. Pure.

Each of them waits at a worker for the message cache, and how many may wait there is bounded. So a page of members is
asked for when there is room for it; requests for which there is none wait in turn. A slow cache slows them down, and
fails none of them.
"""

from typing import Generic, TypeVar

T = TypeVar("T")


class Pace(Generic[T]):
    """Of all requests (T) together."""

    def __init__(self, most: int) -> None:
        self._most, self._under_way = most, 0
        self._waiting: dict[T, None] = {}

    def enter(self, request: T, members: int) -> bool:
        """Take room for so many; False: the request waits now. With nothing under way there is always room."""
        is_next = not self._waiting or self.first() is request
        if not is_next or (self._under_way and self._under_way + members > self._most):
            self._waiting[request] = None
            return False
        self._waiting.pop(request, None)
        self._under_way += members
        return True

    def first(self) -> T | None:
        """Whose turn it is; None: nobody waits."""
        return next(iter(self._waiting), None)

    def leave(self, request: T) -> None:
        """It does not wait any more."""
        self._waiting.pop(request, None)

    def add(self, members: int) -> None:
        """So many more, or less, are under way."""
        self._under_way += members
