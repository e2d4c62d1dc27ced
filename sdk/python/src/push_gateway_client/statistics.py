"""What a client has counted."""

from __future__ import annotations

from typing import NamedTuple


class Statistics(NamedTuple):
    """A snapshot."""

    connections: int
    pushes: int
    #: Copies that were recognised, and not given to the handler.
    duplicates: int
    acknowledged: int
    #: Pushes whose handler failed.
    failed: int
    #: Requests refused because of the full queue, and over their time.
    refused: int
    expired: int
