"""One seed: its fleet, its load, its faults, its end."""

import traceback
from collections import Counter
from typing import NamedTuple

from simulator.endings import check_probes, check_quiet, probe
from simulator.faults import LAST_S, Faults
from simulator.fleets import Fleet
from simulator.shapes import shape_of
from simulator.worlds import BEGINS_AT, Violation, World, enter

#: The load ends a moment after the last fault; then there is quiet for as long as any time-out lasts.
_LOAD_S, _MENDED_S, _QUIET_S, _PROBES_S = LAST_S + 1.5, LAST_S + 2.0, LAST_S + 16.0, LAST_S + 22.0


class Result(NamedTuple):
    """What one seed showed."""

    seed: int
    shape: str
    steps: int
    seconds: float  # of virtual time
    faults: Counter[str]
    counts: Counter[str]
    violations: list[Violation]
    events: list[str]
    digest: int


def run(seed: int, trace: bool = False) -> Result:
    """Run one seed. The same seed gives the same, on every machine."""
    world = World(seed, trace)
    enter(world)
    shape = shape_of(world.chance("shape"))
    fleet = Fleet(world, shape)
    faults = Faults(fleet)
    faults.plan()
    _load(fleet)
    try:
        _phases(fleet)
    except Exception:
        world.broken("no error in router or simulator", traceback.format_exc())
    events = [str(event) for event in world.trace] if trace else world.last_events()
    counts = fleet.promises.counts
    return Result(
        seed, str(fleet.shape), world.steps, world.now - BEGINS_AT, faults.counts, counts, world.violations, events,
        world.digest,
    )  # fmt: skip


def _phases(fleet: Fleet) -> None:
    world = fleet.world
    world.run_until(BEGINS_AT + _MENDED_S)
    fleet.mend()
    world.run_until(BEGINS_AT + _QUIET_S)
    if not world.violations:
        check_quiet(fleet)
    probes = probe(fleet)
    world.run_until(BEGINS_AT + _PROBES_S)
    if not world.violations:
        check_probes(fleet, probes)


def _load(fleet: Fleet) -> None:
    """Clients come, go and are replaced; senders push, some tokens more than others."""
    world, chance = fleet.world, fleet.world.chance("load")
    for client in fleet.clients:
        world.at(BEGINS_AT + chance.uniform(0.3, 1.5), client.connect)
        for _ in range(chance.randint(0, 4)):
            world.at(BEGINS_AT + chance.uniform(1.5, _LOAD_S), client.ping)
        if chance.random() < 0.15:
            world.at(BEGINS_AT + chance.uniform(2, _LOAD_S), client.leave)
        elif chance.random() < 0.25:
            world.at(BEGINS_AT + chance.uniform(2, _LOAD_S), client.connect)
    for _ in range(chance.randint(60, 220)):
        sender, client = chance.choice(fleet.senders), chance.choice(fleet.clients)
        at = BEGINS_AT + chance.uniform(1.0, _LOAD_S)
        for burst in range(chance.choice([1, 1, 1, 4])):
            world.at(at + burst * 0.0001, fleet.push, sender, client.token, chance)
