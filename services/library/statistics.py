"""The figures of a service."""

from dataclasses import dataclass


@dataclass(slots=True)
class Statistics:
    """Counters since the start."""

    calls: int = 0  # that came
    retries: int = 0  # of these: another instance may have done them
    answered: int = 0  # returned by a handler, refusals included
    refused: int = 0
    failed: int = 0  # a handler raised, or returned what is no answer
    expired: int = 0  # waited here longer than anybody waits for the answer
    lost: int = 0  # their router was gone before the answer
    asks: int = 0  # calls of its own
    regroups_unheard: int = 0  # of which a router had not heard within a second
    links_lost: int = 0
    strays: int = 0  # messages that could not be read
