"""A stage of two hosts: a router and workers on each, half of the clients on either, the bus between them encrypted."""

from pathlib import Path
from typing import Any

import zmq

from chaos.crowds import Place
from chaos.fleets import Fleet
from chaos.networks import Hosts, within
from chaos.results import Result
from chaos.stages import Plan, Stage, end_fleet
from shared import keys
from tests.fleet.ports import free_ports

WORKERS = 2  # on each host
_HEARTBEAT_MS, _TIMEOUT_MS = 500, 2000


class TwoHosts(Stage):
    """To be made by a process that is on the first host. `folder` is for keys."""

    def __init__(self, plan: Plan, result: Result, hosts: Hosts, folder: Path) -> None:
        self._hosts = hosts
        bus_port = free_ports(1)[0]
        common: dict[str, Any] = {
            "workers": WORKERS,
            "bus_port": bus_port,
            "router_list": ",".join(f"tcp://{address}:{bus_port}" for address in hosts.addresses),
            "worker_heartbeat_ms": _HEARTBEAT_MS,
            "worker_timeout_ms": _TIMEOUT_MS,
            **write_keys(folder),
        }
        first, second = hosts.addresses
        self.second = Fleet(plan.tree, host_name="second", bus_host=second, sender_host=second, **common)
        self.second.within = within(hosts.names[1])
        super().__init__(plan, result, host_name="first", bus_host=first, sender_host=first, **common)

    def places(self) -> list[Place]:
        return [Place(self.fleet.address), Place(self.second.address, within(self._hosts.names[1]))]

    def endpoints(self) -> list[str]:
        return self.fleet.endpoints + self.second.endpoints

    def pids(self) -> list[int]:
        return self.fleet.pids + self.second.pids

    def worker_names(self) -> list[str]:
        return [fleet.name_of(index) for fleet in (self.fleet, self.second) for index in range(WORKERS)]

    def start(self) -> None:
        self.second.start()
        self.fleet.start()
        self.await_all(60)

    def await_all(self, seconds: float) -> None:
        """Until the first host's router has the workers of both."""
        self.fleet.wait_ready(2 * WORKERS, seconds=seconds)

    def end(self) -> None:
        end_fleet(self.fleet, self.result)
        end_fleet(self.second, self.result)


def write_keys(folder: Path) -> dict[str, str]:
    """Key files for routers, workers and senders; the settings that name them."""
    pairs: dict[str, keys.KeyPair] = {}
    for name in ("router", "worker", "sender"):
        public, secret = zmq.curve_keypair()
        pairs[name] = keys.KeyPair(public.decode(), secret.decode())
        path = folder / f"{name}.key"
        path.touch(0o600)
        path.write_text(keys.format_key_pair(pairs[name]))
    permitted = {
        pairs["worker"].public: frozenset({keys.WORKER}),
        pairs["sender"].public: frozenset({keys.PUSH, keys.ADMIN}),
    }
    (folder / "permitted.json").write_text(keys.format_permitted(permitted))
    return {
        "curve_server_key_file": str(folder / "router.key"),
        "curve_permitted_file": str(folder / "permitted.json"),
        "worker_key_file": str(folder / "worker.key"),
        "status_key_file": str(folder / "sender.key"),
    }
