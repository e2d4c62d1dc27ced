"""A proxy on the bus that counts: workers connect to it (router_list), and it to the router, as each of them."""

import threading
from collections import Counter
from types import TracebackType
from typing import Self

import zmq

from shared import bus


class BusProxy:
    """Between workers and router: a ROUTER towards the workers, towards the router one DEALER per worker.

    Counts what the router sends down: `messages` PUSHES1 per worker, `fan_outs` ALL1 per worker and payload, and in
    `pushes` how often each push went down, as (worker, token, payload up to its first `.`).
    """

    def __init__(self, worker_endpoint: str, router_endpoint: str) -> None:
        self.messages: Counter[str] = Counter()
        self.pushes: Counter[tuple[str, bytes, bytes]] = Counter()
        self.fan_outs: Counter[tuple[str, bytes]] = Counter()
        self._router_endpoint = router_endpoint
        self._context = zmq.Context()
        self._workers = self._context.socket(zmq.ROUTER)
        self._workers.set_hwm(0)
        self._workers.router_handover = True
        self._workers.bind(worker_endpoint)
        self._links: dict[bytes, zmq.Socket[bytes]] = {}
        self._poller = zmq.Poller()
        self._poller.register(self._workers, zmq.POLLIN)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bus proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(10)
        self._context.destroy(linger=0)

    def _run(self) -> None:
        while not self._stop.is_set():
            ready = dict(self._poller.poll(50))
            if self._workers in ready:
                self._take_up()
            for worker, link in list(self._links.items()):
                if link in ready:
                    self._take_down(worker, link)

    def _take_up(self) -> None:
        """What workers say goes to the router under their own names."""
        for _ in range(1000):
            try:
                worker, *frames = self._workers.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._link(worker).send_multipart(frames)

    def _take_down(self, worker: bytes, link: "zmq.Socket[bytes]") -> None:
        for _ in range(1000):
            try:
                frames = link.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if frames[0] == bus.PUSHES1:
                self._count(worker.decode(), bus.decode_batch(frames))
            elif frames[0] == bus.ALL1:
                self.fan_outs[worker.decode(), bus.decode_fan_out(frames).payload] += 1
            self._workers.send_multipart([worker, *frames])

    def _link(self, worker: bytes) -> "zmq.Socket[bytes]":
        link = self._links.get(worker)
        if link is None:
            link = self._links[worker] = self._context.socket(zmq.DEALER)
            link.set_hwm(0)
            link.routing_id = worker
            link.connect(self._router_endpoint)
            self._poller.register(link, zmq.POLLIN)
        return link

    def _count(self, worker: str, batch: bus.Batch) -> None:
        self.messages[worker] += 1
        at = 0
        for token_bytes, payload_bytes, _ in bus.unpack_entries(batch):
            middle = at + token_bytes
            end = middle + payload_bytes
            self.pushes[worker, batch.data[at:middle], batch.data[middle:end].partition(b".")[0]] += 1
            at = end
