"""What must be true when everything has been mended and is quiet."""

from shared.outcomes import Outcome
from simulator.clients import Client
from simulator.fleets import Fleet
from simulator.routers import Router


def check_quiet(fleet: Fleet) -> None:
    """No push is stuck, nobody waits for anything, every client is bound, and nothing is kept for nobody."""
    for sender in fleet.senders:
        for sent in list(sender.open.values())[:1]:
            fleet.world.broken("every push has an outcome", f"{sent.payload.partition(b'|')[2]!r} has none")
    for router in fleet.routers:
        _check_router(fleet, router)
    for seat in fleet.seats:
        if seat.guarded and seat.worker is not None:
            _check_worker(fleet, seat.name, seat.worker)
        elif seat.guarded:
            fleet.world.broken("no worker is stuck", f"{seat.name} does not run")
    for client in fleet.clients:
        present = client.present
        if client.wants and (present is None or present.bound_at is None):
            fleet.world.broken("every client is served", f"{client.token.decode()} is not bound: {present}")
    for payload, (outcome, _) in fleet.promises.outcomes.items():
        if outcome is Outcome.BUFFERED and payload not in fleet.promises.delivered:
            _check_buffered(fleet, payload)


def _check_router(fleet: Fleet, router: Router) -> None:
    broken = fleet.world.broken
    if router.core.unanswered:
        broken("no push is stuck", f"{router.name} owes {router.core.unanswered} answers")
    for worker in router.core.parts.membership.workers.values():
        if worker.in_flight or worker.held:
            broken("no push is stuck", f"{router.name} waits for {worker.name}: {worker.in_flight} {worker.held}")


def _check_worker(fleet: Fleet, name: str, worker: object) -> None:
    landing = getattr(worker, "_landing")  # noqa: B009  (the simulator looks into what it runs)
    hand_overs, held = landing.hand_overs, landing._deliveries.held
    found = {
        "held pushes": held.count,
        "clients under way": hand_overs.count,
        "clients that wait for an owner": len(landing._waiting),
    }
    for what, number in found.items():
        if number:
            fleet.world.broken("nothing is stuck", f"{name} has {number} {what}")


def _check_buffered(fleet: Fleet, payload: bytes) -> None:
    """What was BUFFERED has come, unless its connection has ended."""
    sent = fleet.promises.pushes[payload]
    client: Client = fleet.promises.clients[sent.token]
    ends = [connection.ended_at for connection in client.connections if connection.ended_at is not None]
    if not any(end >= sent.at for end in ends):
        fleet.world.broken("outcomes are true", f"{payload!r} was BUFFERED, and never came")


def probe(fleet: Fleet) -> list[bytes]:
    """One push to every token; to be judged by `check_probes` later."""
    chance = fleet.world.chance("probes")
    return [fleet.push(fleet.senders[0], client.token, chance) for client in fleet.clients]


def check_probes(fleet: Fleet, probes: list[bytes]) -> None:
    """Whoever is there got it, whoever is not is OFFLINE."""
    for payload in probes:
        told = fleet.promises.outcomes.get(payload)
        client = fleet.promises.clients[payload.split(b" ")[1]]
        good = (Outcome.SENT, Outcome.BUFFERED) if client.present else (Outcome.OFFLINE,)
        if client.kind.slow and client.present:
            good = (*good, Outcome.OVERLOADED)
        if told is None or told[0] not in good:
            name = told[0].name if told else "nothing"
            fleet.world.broken("after all faults everything works", f"{payload!r}: {name} (client: {client.present})")
