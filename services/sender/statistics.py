"""What a sender has done so far."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot; counts since the sender was made."""

    pushes: int  # answered
    requests: int  # sent, repeats included
    repeated: int  # of these, sent before
    turned_away: int  # answered `overloaded`
    routers_lost: int
    strays: int  # answers that nobody waited for, or that could not be read
