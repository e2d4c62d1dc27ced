"""Which fan-outs a client has seen, or a worker has begun: the last number of each router. Pure."""

from gateway.connections import FanOutsSeen


def seen_of(seen: FanOutsSeen, router: int) -> int:
    """The last number seen of one router; 0: none."""
    return seen[router] if router < len(seen) else 0


def with_seen(seen: FanOutsSeen, router: int, number: int) -> FanOutsSeen:
    """The same with another number for one router."""
    longer = seen + (0,) * (router + 1 - len(seen))
    return (*longer[:router], number, *longer[router + 1 :])


def merged(seen: FanOutsSeen, other: FanOutsSeen) -> FanOutsSeen:
    """The greater number of each router; `other` itself, if none of `seen` is greater."""
    if len(seen) > len(other):
        other += (0,) * (len(seen) - len(other))
    greater = tuple([max(seen_of(seen, router), number) for router, number in enumerate(other)])
    return other if greater == other else greater
