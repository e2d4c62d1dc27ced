"""The ring: which worker owns which slot."""

from collections.abc import Sequence
from typing import NamedTuple

from uhashring import HashRing

from shared.tokens import SLOTS


class Epoch(NamedTuple):
    """Version of the ring, compared as a pair."""

    started_ms: int  # start time of the deciding router, Unix milliseconds
    counter: int


NO_EPOCH = Epoch(0, 0)


def owners_of_slots(live: Sequence[str]) -> list[str]:
    """The owner of each of the 4,096 slots among the live workers (`host/index`).

    The result depends on the set of names alone, not on their order. Empty when nobody is live.
    uhashring gets slot number and name as `str`: it hashes `str` and `bytes` differently.
    """
    if not live:
        return []
    ring = HashRing(nodes=sorted(live), hash_fn="ketama")
    return [ring.get_node(str(slot)) for slot in range(SLOTS)]
