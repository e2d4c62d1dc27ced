"""Nothing that Kafka holds is lost: `python -m chaos.kafka --records 100000`.

Records for the clients of a fleet are written to a topic while the bridge and the broker are killed (SIGKILL) in turn
and started again, each twice. In the end the consumer lag is 0, every client has every record of its own, in order,
and what came twice is counted. Then as many records again, with nothing killed: how many a second, at what CPU time.
"""

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

import click

from benchmarks.machines import describe
from chaos.results import Result, lay_out, save
from tests.clients.crowd_processes import CrowdProcesses
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until
from tests.kafka.brokers import Broker

TOPIC, GROUP, PARTITIONS = "pushes", "chaos", 8
#: Clients, and how long the writing of the records takes, at least (seconds): it goes on while things are killed.
CLIENTS, WRITING_S = 240, 10
_PATIENCE_S = 300
#: Which part of the records is committed when it is killed.
_KILLS = ((0.15, "bridge"), (0.35, "broker"), (0.55, "bridge"), (0.75, "broker"))
_TICK = os.sysconf("SC_CLK_TCK")


class Writing(threading.Thread):
    """Writes records: number n is the `n // CLIENTS`-th of client `n % CLIENTS`. Waits while no broker is there."""

    def __init__(self, broker: Broker, first: int, records: int, seconds: float) -> None:
        super().__init__(daemon=True)
        self._broker, self._numbers, self._seconds = broker, range(first, first + records), seconds
        self.undelivered = 0

    def run(self) -> None:
        # An idempotent producer writes each once, in order, whatever happens to the broker.
        producer = self._broker.producer(**{"enable.idempotence": True, "message.timeout.ms": 0, "linger.ms": 5})
        began = time.monotonic()
        for done, number in enumerate(self._numbers):
            if done % 100 == 0:
                time.sleep(max(0.0, began + self._seconds * done / len(self._numbers) - time.monotonic()))
            key, value = f"crowd-{number % CLIENTS}", f"{number // CLIENTS}."
            while not _written(lambda key=key, value=value: producer.produce(TOPIC, key=key, value=value)):
                producer.poll(0.1)
        self.undelivered = producer.flush(_PATIENCE_S)


def _written(produce: Callable[[], None]) -> bool:
    try:
        produce()
    except BufferError:
        return False
    return True


class Run:
    """One fleet, one broker, one bridge."""

    def __init__(self, records: int, stack: ExitStack) -> None:
        self.records = records
        self.result = Result("kafka", f"{records:,} records for {CLIENTS} clients in {PARTITIONS} partitions.")
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self._broker = stack.enter_context(Broker())
        self._broker.make_topic(TOPIC, PARTITIONS)
        self._fleet = stack.enter_context(Fleet(workers=2))
        self._crowd = stack.enter_context(CrowdProcesses(self._fleet.client_port, CLIENTS, 1, self._folder))
        self._crowd.wait_until_bound()
        self._written = 0

    def break_things(self) -> None:
        """The records, the kills, and what came of it."""
        began = time.monotonic()
        self._start_bridge()
        writing = self._write(WRITING_S)
        for share, victim in _KILLS:
            wait_until(lambda share=share: self._committed() >= share * self.records, f"{share:.0%}", _PATIENCE_S)
            self._kill(victim)
            self.result.state(f"killed: {victim}, records committed before", max(0, self._committed()))
        writing.join()
        lag = self._wait_for_no_lag()
        self.result.state("seconds", time.monotonic() - began)
        self._judge(writing.undelivered, lag)

    def measure(self) -> None:
        """The same number of records, written before the bridge starts, and nothing is killed."""
        self._fleet.stop_service("kafka-bridge")
        self._write(0).join()
        self._start_bridge()
        wait_until(lambda: self._lag() < 0.95 * self.records, "the first records are pushed", _PATIENCE_S)
        pids = self._pids()
        left, began, before = self._lag(), time.monotonic(), {name: _cpu_s(pid) for name, pid in pids.items()}
        self._wait_for_no_lag()
        seconds = time.monotonic() - began
        self.result.state("undisturbed: records a second", left / seconds)
        for name, pid in pids.items():
            used = (_cpu_s(pid) - before[name]) / left * 1e6
            self.result.state(f"undisturbed: CPU us per record, {name}", used)

    # --- what is done

    def _start_bridge(self) -> None:
        self._fleet.start_kafka_bridge(kafka_brokers=self._broker.address, kafka_topics=TOPIC, kafka_group=GROUP)

    def _write(self, seconds: float) -> Writing:
        writing = Writing(self._broker, self._written, self.records, seconds)
        self._written += self.records
        writing.start()
        return writing

    def _kill(self, victim: str) -> None:
        if victim == "bridge":
            self._fleet.kill_service("kafka-bridge")
            self._start_bridge()
        else:
            self._broker.kill()
            self._broker.start()
            self._broker.wait_ready()

    def _lag(self) -> int:
        """What is written and not committed; all that ever will be while the broker does not say."""
        lag = self._broker.lag(TOPIC, GROUP, PARTITIONS)
        return lag if lag >= 0 else self._written

    def _committed(self) -> int:
        return self._broker.committed(TOPIC, GROUP, PARTITIONS)

    def _wait_for_no_lag(self) -> int:
        with suppress(TimeoutError):  # it is stated below
            wait_until(lambda: self._lag() == 0, "no lag", _PATIENCE_S)
        return self._lag()

    def _pids(self) -> dict[str, int]:
        workers = {f"worker {index}": self._fleet.worker_pid(index) for index in range(2)}
        return {"bridge": self._fleet.processes["kafka-bridge"].pid, "router": self._fleet.router_pid(), **workers}

    # --- what came of it

    def _judge(self, undelivered: int, lag: int) -> None:
        [report] = self._crowd.report([self.records], 10)
        received = self._crowd.received()
        per_client = [range(len(range(client, self.records, CLIENTS))) for client in range(CLIENTS)]
        missing = sum(len(set(per_client[client]) - set(received.get(client, []))) for client in range(CLIENTS))
        twice = sum(len(found) - len(set(found)) for found in received.values())
        result = self.result
        result.at_most("records that the producer could not write", undelivered, 0)
        result.at_most("lag in the end", lag, 0)
        result.at_most("clients disconnected", report["lost"], 0)
        result.state("received", sum(map(len, received.values())))
        result.at_most("records that did not come", missing, 0)
        result.at_most("out of order within a key", sum(map(out_of_order, received.values())), 0)
        result.state("came twice", twice)


def out_of_order(received: Sequence[int]) -> int:
    """How many came for the first time after a later one."""
    first = list(dict.fromkeys(received))
    latest, wrong = -1, 0
    for number in first:
        wrong += number < latest
        latest = max(latest, number)
    return wrong


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def run(records: int, measured: bool = True) -> Result:
    """All of it."""
    with ExitStack() as stack:
        one = Run(records, stack)
        one.break_things()
        if measured:
            one.measure()
        return one.result


@click.command(help=__doc__)
@click.option("--records", default=100_000, show_default=True, help="how many")
@click.option("--save", "saves", is_flag=True, help="write chaos/results/kafka-DATE.json and .md")
def main(records: int, saves: bool) -> None:
    today = datetime.now(UTC)
    about = {
        "date": f"{today:%Y-%m-%d %H:%M} UTC",
        "command": f"python -m chaos.kafka --records {records}",
    } | describe()
    result = run(records)
    print(lay_out(result))
    if saves:
        save(Path(__file__).parent / "results", f"kafka-{today:%Y-%m-%d}", about, [result])
    sys.exit(bool(result.broken()))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every `with` ends its processes
    main()
