"""What goes wrong, and when: drawn from the seed before anything happens."""

from collections import Counter
from collections.abc import Callable

from simulator.bus import Link
from simulator.fleets import Fleet
from simulator.routers import Router
from simulator.unix_sockets import UnixSocket
from simulator.workers import Seat
from simulator.worlds import BEGINS_AT

_SIGTERM = 15
#: Faults come in this time (seconds after the beginning); then everything is mended.
FIRST_S, LAST_S = 2.0, 10.0


class Faults:
    """Injects faults into a fleet. `counts`: how many of each kind."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._world = fleet, fleet.world
        self._chance = fleet.world.chance("faults")
        self.counts: Counter[str] = Counter()
        self._kinds: dict[str, Callable[[], bool]] = {
            "crash": self._crash,
            "crash_in_move": self._crash_in_move,
            "pause": self._pause,
            "drain": self._drain,
            "restart": self._restart,
            "slow_restart": self._slow_restart,
            "add": self._add,
            "remove": self._remove,
            "slow_link": self._slow_link,
            "slow_hand_over": self._slow_hand_over,
            "break_link": self._break_link,
            "break_hand_over": self._break_hand_over,
            "kill_router": self._kill_router,
            "pause_router": self._pause_router,
            "kill_guardian": self._kill_guardian,
            "cut": self._cut,
        }

    def plan(self) -> None:
        """Draw them all."""
        chance = self._chance
        for _ in range(chance.randint(2, 7)):
            kind = chance.choice(self._fleet.shape.faults)
            self._world.at(BEGINS_AT + chance.uniform(FIRST_S, LAST_S), self._inject, kind)

    def _inject(self, kind: str) -> None:
        if self._kinds[kind]():
            self.counts[kind] += 1
            self._push_meanwhile()

    def _push_meanwhile(self) -> None:
        """What comes while something goes wrong shows most."""
        fleet, chance = self._fleet, self._chance
        for _ in range(20):
            sender, client = chance.choice(fleet.senders), chance.choice(fleet.clients)
            self._world.after(chance.expovariate(20.0), fleet.push, sender, client.token, chance)

    # --- workers

    def _seats(self) -> list[Seat]:
        """Those with a worker that runs and has not been told to leave."""
        return [seat for seat in self._fleet.seats if seat.guarded and seat.process.runs and not seat.told]

    def _some(self, least_left: int = 0) -> Seat | None:
        seats = self._seats()
        return self._chance.choice(seats) if len(seats) > least_left else None

    def _crash(self) -> bool:
        """kill -9, in the middle of what it does or between two turns."""
        seat = self._some()
        if seat is None:
            return False
        if self._chance.random() < 0.7:
            seat.process.dies_in = self._chance.randint(0, 80)
        else:
            seat.process.kill()
        return True

    def _crash_in_move(self) -> bool:
        """A worker dies while it gives clients or takes them; the ring changes so that it does."""
        if not self._add() and not self._restart():
            return False
        for seat in self._seats():
            if self._chance.random() < 0.7:
                seat.process.dies_after[self._chance.choice(["give", "take"])] = self._chance.choice(
                    [0, 1, 1, 2, 3, 5, 9]
                )
                self._world.after(2.0, seat.process.dies_after.clear)
        return True

    def _pause(self) -> bool:
        seat = self._some()
        if seat is None:
            return False
        process = seat.process
        process.stop()
        self._fleet.promises.doubt()
        self._world.after(self._chance.choice([0.1, 0.5, 1.5, 3.5]), process.go_on)
        return True

    def _others(self, seat: Seat) -> int:
        return sum(other.host is seat.host for other in self._seats())

    def _leave(self, back: Callable[[Seat], None] | None) -> bool:
        """SIGTERM to one that is not the last of its host."""
        seat = self._some(1)
        if seat is None or self._others(seat) < 2:
            return False
        seat.ended = back or (lambda seat: None)
        seat.signal(_SIGTERM)
        return True

    def _restart(self) -> bool:
        pause = self._chance.uniform(0.2, 1.0)
        return self._leave(lambda seat: self._world.after(pause, self._open_again, seat))

    def _slow_restart(self) -> bool:
        """The same, while messages of a router to it take their time."""
        if not self._restart():
            return False
        for router in self._routers():
            for seat in self._fleet.seats:
                for link in router.links_of(seat.name) if seat.told and self._chance.random() < 0.5 else ():
                    self._slow_down(link)
        return True

    def _drain(self) -> bool:
        pause = self._chance.uniform(2, 5)
        return self._leave(lambda seat: self._world.after(pause, self._open_again, seat))

    def _open_again(self, seat: Seat) -> None:
        if not seat.guarded and not seat.process.alive:
            seat.open()

    def _remove(self) -> bool:
        return self._leave(None)

    def _add(self) -> bool:
        fleet = self._fleet
        at = self._chance.randrange(len(fleet.hosts))
        index = sum(seat.host is fleet.hosts[at] for seat in fleet.seats)
        if index > 5:
            return False
        fleet.add_seat(at, index, fleet.hosts[at])
        return True

    def _kill_guardian(self) -> bool:
        seat = self._some(1)
        if seat is None or self._others(seat) < 2:
            return False
        seat.kill_guardian()
        seat.ended = lambda seat: self._world.after(0.5, self._open_again, seat)
        return True

    # --- links

    def _slow_link(self) -> bool:
        seat = self._some()
        if seat is None:
            return False
        links = [link for router in self._routers() for link in router.links_of(seat.name)]
        if not links:
            return False
        self._slow_down(self._chance.choice(links))
        return True

    def _slow_down(self, link: Link) -> None:
        # in a fleet that only deploys nothing is so slow that a successor is there before the last words of its
        # predecessor: that is a crash to the router
        link.slow = self._chance.choice([0.02, 0.1] if self._fleet.shape.strict else [0.02, 0.1, 0.4])
        self._world.after(self._chance.uniform(0.3, 2), setattr, link, "slow", 0.0)

    def _break_link(self) -> bool:
        seat = self._some()
        if seat is None:
            return False
        links = [link for router in self._routers() for link in router.links_of(seat.name)]
        if not links:
            return False
        self._fleet.promises.doubt()
        self._chance.choice(links).breaks()
        return True

    def _hand_over_sockets(self) -> list[UnixSocket]:
        sockets = [
            file
            for seat in self._seats()
            for _, file in seat.descriptors.items()
            if isinstance(file, UnixSocket) and file.peer is not None
        ]
        return sockets

    def _break_hand_over(self) -> bool:
        sockets = self._hand_over_sockets()
        if not sockets:
            return False
        self._fleet.promises.doubt()
        self._chance.choice(sockets).breaks()
        return True

    def _slow_hand_over(self) -> bool:
        """A worker gets no processor time for a moment: what others give it waits."""
        seat = self._some()
        if seat is None:
            return False
        seat.process.stop()
        self._world.after(self._chance.uniform(0.02, 0.15), seat.process.go_on)
        return True

    # --- routers and hosts

    def _routers(self) -> list[Router]:
        return [router for router in self._fleet.routers if router.alive]

    def _kill_router(self) -> bool:
        routers = self._routers()
        if not routers:
            return False
        router = self._chance.choice(routers)
        assert router.process is not None
        router.process.kill()
        self._fleet.promises.doubt()
        router.clock_back_ms = self._chance.choice([0, 0, 5_000, 3_600_000])
        self._world.after(self._chance.uniform(0.1, 2.5), router.start)
        return True

    def _pause_router(self) -> bool:
        routers = self._routers()
        if not routers:
            return False
        process = self._chance.choice(routers).process
        assert process is not None
        process.stop()
        self._fleet.promises.doubt()
        self._world.after(self._chance.choice([0.1, 0.5, 1.5, 3.0]), process.go_on)
        return True

    def _cut(self) -> bool:
        fleet = self._fleet
        if len(fleet.hosts) < 2 or fleet.network.is_cut:
            return False
        fleet.promises.doubt()
        fleet.network.cut_off(self._chance.choice(fleet.hosts).name)
        fleet.promises.cut_at = self._world.now
        self._world.after(self._chance.choice([0.3, 1.5, 4.0]), fleet.heal)
        return True
