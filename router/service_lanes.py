"""Which instance gets which call, and when.

Calls of one topic and key are a lane. While an instance has calls of it, the rest of the lane goes there too; else it
goes to the instance that rendezvous hashing of the key names, so that keys are spread evenly and few of them move when
instances come and go. A call without a key goes to the instance that has least to do. What an instance has no room for
waits: lanes take turns, a call each.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from hashlib import blake2b

from router.service_calls import Lane, ServiceCall
from router.service_members import Service
from shared.calls import Topic


class _Served:
    """A topic: the instances that take calls of it, lanes that no instance has, and how many calls wait."""

    __slots__ = ("services", "unplaced", "waiting")

    def __init__(self) -> None:
        self.services: list[Service] = []
        self.unplaced: OrderedDict[Lane, None] = OrderedDict()
        self.waiting = 0


class ServiceLanes:
    """All lanes. `changed`: other topics may be served than before. `given`: calls to be sent to their instances."""

    def __init__(self) -> None:
        self.changed = False
        self.given: list[ServiceCall] = []
        self._lanes: dict[tuple[Topic, str], Lane] = {}
        self._topics: dict[Topic, _Served] = {}

    def serves(self, topic: Topic) -> bool:
        """Whether any instance takes calls of a topic."""
        served = self._topics.get(topic)
        return served is not None and bool(served.services)

    def waiting(self, topic: Topic) -> int:
        """How many calls of a topic wait."""
        served = self._topics.get(topic)
        return 0 if served is None else served.waiting

    def topics(self) -> list[tuple[int, int, bool]]:
        """(signal, sub_signal, idempotent) of all topics that are served, in order."""
        return [
            (*topic, all(service.topics[topic] for service in served.services))
            for topic, served in sorted(self._topics.items(), key=lambda item: item[0])
            if served.services
        ]

    # calls

    def lane(self, topic: Topic, key: str | None) -> Lane:
        """The lane of a call that is about to be put."""
        if key is None:
            return Lane(topic, None)
        lane = self._lanes.get((topic, key))
        if lane is None:
            lane = self._lanes[topic, key] = Lane(topic, key)
        return lane

    def put(self, call: ServiceCall) -> None:
        """A new call."""
        call.lane.waiting.append(call)
        self._served(call.lane.topic).waiting += 1
        self._go_on(call.lane)

    def withdraw(self, call: ServiceCall) -> None:
        """A call that waits does so no longer."""
        call.lane.waiting.remove(call)
        self._served(call.lane.topic).waiting -= 1
        if not call.lane.waiting:
            self._unqueue(call.lane)
        self._settle(call.lane)

    def free(self, call: ServiceCall, service: Service) -> None:
        """An instance is done with a call."""
        del service.calls[call.number]
        call.service = None
        call.lane.outstanding -= 1
        self._settle(call.lane)
        self._fill(service)

    # instances

    def add(self, service: Service, topics: dict[Topic, bool]) -> None:
        """It takes calls of these topics from now on."""
        service.topics = topics
        self.changed = True
        for topic in topics:
            served = self._served(topic)
            served.services.append(service)
            for lane in list(served.unplaced):
                self._unqueue(lane)
                self._go_on(lane)
        for lane in dict.fromkeys(call.lane for call in service.calls.values()):
            self._go_on(lane)

    def retire(self, service: Service) -> None:
        """It takes no new calls; it answers those that it has."""
        self.changed = True
        for topic in service.topics:
            served = self._topics.get(topic)
            if served is not None and service in served.services:
                served.services.remove(service)
                self._forget_if_idle(topic)
        service.topics = {}
        for lane in list(service.ready):
            self._unqueue(lane)
            self._settle(lane)

    def drop(self, service: Service, again: Callable[[ServiceCall], bool]) -> list[ServiceCall]:
        """It is gone. Calls that may go `again` go first in their lanes; the others are returned."""
        self.retire(service)
        calls, service.calls = list(service.calls.values()), {}
        lost = []
        for call in reversed(calls):
            call.service = None
            call.lane.outstanding -= 1
            if again(call):
                call.lane.waiting.appendleft(call)
                self._served(call.lane.topic).waiting += 1
            else:
                lost.append(call)
        for lane in dict.fromkeys(call.lane for call in calls):
            self._settle(lane)
        return lost[::-1]

    # how lanes go on

    def _go_on(self, lane: Lane) -> None:
        """Give what there is room for; the rest waits for its turn, or until its instance has answered and retires."""
        if lane.queue is not None:
            return
        if lane.service is None:
            lane.service = self._choose(lane)
        service = lane.service
        if service is None:
            self._queue(lane, self._served(lane.topic).unplaced)
            return
        if service.takes(lane.topic):
            while lane.waiting and service.has_room:
                self._give(lane, service)
            if lane.waiting:
                self._queue(lane, service.ready)

    def _choose(self, lane: Lane) -> Service | None:
        services = self._served(lane.topic).services
        if lane.key is None:
            return min((each for each in services if each.has_room), key=lambda each: len(each.calls), default=None)
        if len(services) < 2:
            return services[0] if services else None
        key = lane.key.encode(errors="surrogatepass")
        return max(services, key=lambda each: _weight(key, each.instance))

    def _give(self, lane: Lane, service: Service) -> None:
        call = lane.waiting.popleft()
        self._served(lane.topic).waiting -= 1
        lane.outstanding += 1
        call.service = service
        service.calls[call.number] = call
        self.given.append(call)

    def _fill(self, service: Service) -> None:
        """It has room: the lanes whose oldest call has waited longest, among those whose turn it is, give one each."""
        while service.has_room and not service.leaving:
            lane = min(self._heads(service), key=lambda lane: lane.waiting[0].number, default=None)
            if lane is None:
                return
            self._unqueue(lane)
            lane.service = service
            self._give(lane, service)
            if lane.waiting:
                self._queue(lane, service.ready)

    def _heads(self, service: Service) -> Iterator[Lane]:
        """The lanes whose turn it is."""
        if service.ready:
            yield next(iter(service.ready))
        for topic in service.topics:
            unplaced = self._topics[topic].unplaced
            if unplaced:
                yield next(iter(unplaced))

    def _settle(self, lane: Lane) -> None:
        """Something of it was answered or taken out: it is free to go elsewhere, or at its end."""
        if lane.outstanding or lane.queue is not None:
            return
        lane.service = None
        if lane.waiting:
            self._go_on(lane)
            return
        if lane.key is not None:
            self._lanes.pop((lane.topic, lane.key), None)
        self._forget_if_idle(lane.topic)

    def _queue(self, lane: Lane, queue: OrderedDict[Lane, None]) -> None:
        lane.queue = queue
        queue[lane] = None

    def _unqueue(self, lane: Lane) -> None:
        if lane.queue is not None:
            del lane.queue[lane]
            lane.queue = None

    def _served(self, topic: Topic) -> _Served:
        served = self._topics.get(topic)
        if served is None:
            served = self._topics[topic] = _Served()
        return served

    def _forget_if_idle(self, topic: Topic) -> None:
        served = self._topics.get(topic)
        if served is not None and not served.services and not served.waiting:
            del self._topics[topic]


def _weight(key: bytes, instance: str) -> bytes:
    return blake2b(key, digest_size=8, key=instance.encode()).digest()
