"""A real router process, and a stand-in worker that talks ZeroMQ to it."""

import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq

from shared import bus, bus_rings
from shared.bus import Batch
from tests.clients.senders import RawSender
from tests.fleet.ports import free_ports
from tests.fleet.processes import DEADLINE_S, Started, wait_until

ROOT = Path(__file__).resolve().parents[2]


class RouterProcess:
    """`python -m router.main` with its own ports and data directory."""

    def __init__(self, data_dir: Path | None = None, index: int = 0, **settings: object) -> None:
        self.data_dir = data_dir or Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
        self._owns_dir = data_dir is None
        client, sender, api = free_ports(3)
        merged = {
            "client_port": client, "sender_port": sender, "api_port": api, "data_dir": self.data_dir, "workers": 1,
            "host_name": "h", **settings,
        }  # fmt: skip
        self.sender_port = int(str(merged["sender_port"])) + index
        self.bus_endpoint = f"ipc://{self.data_dir}/run/bus-{index}.sock"
        self.environ = {f"PUSH_{key.upper()}": str(value) for key, value in merged.items()}
        self._logs = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
        command = [sys.executable, "-m", "router.main", "--index", str(index)]
        self.process = Started("router", command, self.environ, self._logs / "log", ROOT)

    @property
    def sender_endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self.sender_port}"

    @property
    def log(self) -> str:
        return self.process.log

    def __enter__(self) -> Self:
        wait_until(lambda: "serves senders" in self.log or not self.process.running, "router started")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        shutil.rmtree(self._logs)
        if self._owns_dir:
            shutil.rmtree(self.data_dir)

    def sender(self, name: str = "", **options: int | bytes) -> RawSender:
        """A connected sender."""
        return RawSender(self.sender_endpoint, name, **options)

    def refusal(self) -> tuple[int, str]:
        """Exit status and output of a router that does not start."""
        with self:
            return self.process.wait(), self.log


class StandInWorker:
    """A worker as far as the router can tell; live when it is made. `news`: the ring that says so."""

    def __init__(
        self,
        router: RouterProcess,
        name: str = "h/0",
        incarnation: str = "a",
        endpoint: str = "",
        keys: dict[str, bytes] | None = None,
        **more: object,
    ) -> None:
        self.name = name
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.identity = name.encode()
        for option, value in (keys or {}).items():
            setattr(self.socket, option, value)
        self.socket.connect(endpoint or router.bus_endpoint)
        body = {"worker": name, "incarnation": incarnation, "pid": 1, "hand_over": f"/run/{name}.sock", **more}
        self.send(bus.encode_control(bus.READY1, body))
        self.news = bus_rings.decode_ring(self.receive(bus.RING1))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """As if the process had been killed."""
        self.context.destroy(linger=0)

    def send(self, frames: Iterable[bytes]) -> None:
        self.socket.send_multipart(list(frames))

    def receive(self, kind: bytes) -> list[bytes]:
        """The next message of that kind; others are passed over."""
        while True:
            if not self.socket.poll(int(DEADLINE_S * 1000)):
                raise TimeoutError(f"no {kind.decode()} for {self.name}")
            frames = self.socket.recv_multipart()
            if frames[0] == kind:
                return frames

    def batch(self) -> Batch:
        """The next batch."""
        return bus.decode_batch(self.receive(bus.PUSHES1))

    def serve(self, outcome: int = 0) -> Batch:
        """Take a batch and give every push the same outcome."""
        batch = self.batch()
        self.send(bus.encode_outcomes(batch.number, bytes([outcome]) * (len(batch.entries) // bus.ENTRY.size)))
        return batch
