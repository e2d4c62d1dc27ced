"""What a seed's fleet looks like, and which faults it meets."""

import random
from typing import NamedTuple

#: What happens to every fleet.
_DEPLOYS = ("drain", "restart", "slow_restart", "add", "remove")
#: Faults that cost nobody anything: no push without delivery, no connection.
DEPLOYS = (*_DEPLOYS, "slow_link", "slow_link", "slow_hand_over")
CRASHES = (
    "crash",
    "crash_in_move",
    "crash_in_move",
    "pause",
    "slow_link",
    "slow_hand_over",
    "kill_router",
    "pause_router",
    *_DEPLOYS,
)
LINKS = ("slow_link", "pause_router", "break_link", "break_hand_over", "restart", "pause", *_DEPLOYS)
ROUTERS = ("kill_router", "pause_router", "slow_link", "break_link", "crash", "slow_restart", "drain")
HOSTS = ("cut", "crash", "restart", "drain", "slow_link", "kill_router", "pause")


class Shape(NamedTuple):
    """One seed's fleet. `workers`: on each host."""

    name: str
    hosts: int
    workers: int
    routers: int
    clients: int
    senders: int
    faults: tuple[str, ...]
    strict: bool  # only deploys: nobody may notice

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.hosts} hosts of {self.workers} workers, {self.routers} routers, {self.clients} clients"
        )


def shape_of(chance: random.Random) -> Shape:
    """Drawn once for each seed."""
    name = chance.choice(["deploys", "crashes", "links", "routers", "hosts"])
    hosts = 2 if name == "hosts" else 1
    workers = chance.randint(2, 4) if hosts == 1 else chance.randint(1, 2)
    routers = chance.randint(2, 3) if name in ("routers", "deploys") else chance.randint(1, 2)
    clients, senders = chance.randint(8, 24), chance.randint(1, 3)
    faults = {"deploys": DEPLOYS, "crashes": CRASHES, "links": LINKS, "routers": ROUTERS, "hosts": HOSTS}[name]
    return Shape(name, hosts, workers, routers, clients, senders, faults, name == "deploys")
