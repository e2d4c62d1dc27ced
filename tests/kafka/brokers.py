"""One Kafka broker in KRaft mode, on ports of its own, that can be killed and started again with what it has."""

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.fleet.ports import free_ports
from tests.fleet.processes import Started, wait_until
from tests.kafka.jars import jars

_UP_S = 60
_JAVA = ("java", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


class Broker:
    """A context manager: started and ready inside, gone after it."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="kafka", dir="/tmp"))
        self.port, controller = free_ports(2)
        self.address = f"127.0.0.1:{self.port}"
        self._class_path = f"{jars()}/*"
        self._properties = self.directory / "server.properties"
        self._properties.write_text(_properties(self.directory, self.port, controller))
        self._process: Started | None = None
        self._format()

    def _format(self) -> None:
        name = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = [*_JAVA, "-cp", self._class_path, "kafka.tools.StorageTool", "format", "-t", name]
        subprocess.run([*command, "-c", str(self._properties)], check=True, capture_output=True, timeout=_UP_S)

    def __enter__(self) -> Self:
        self.start()
        self.wait_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error:
            print(self.log[-4000:])
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        """Starts it, without waiting."""
        command = [*_JAVA, "-cp", self._class_path, "kafka.Kafka", str(self._properties)]
        self._process = Started("kafka", command, os.environ, self.directory / "kafka.log", self.directory)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.send(signal.SIGKILL)
            self._process.kill()

    @property
    def log(self) -> str:
        return self._process.log if self._process else ""

    def wait_ready(self) -> None:
        """Until it answers."""
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": "0"})

        def answers() -> bool:
            try:
                return bool(admin.list_topics(timeout=1).brokers)
            except KafkaException:
                return False

        wait_until(answers, "the broker answers", _UP_S)

    # --- what is in it

    def make_topic(self, name: str, partitions: int = 1, **options: str) -> str:
        """A new topic; its name."""
        admin = AdminClient({"bootstrap.servers": self.address})
        config = {key.replace("_", "."): value for key, value in options.items()}
        admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(30)
        return name

    def producer(self, **options: Any) -> Producer:
        return Producer({"bootstrap.servers": self.address, "log_level": "0", **options})

    def produce(self, topic: str, *records: tuple[Any, ...]) -> None:
        """Records (key, value) or (key, value, headers), written when this returns."""
        producer = self.producer()
        for record in records:
            key, value, *rest = record
            producer.produce(topic, key=key, value=value, headers=rest[0] if rest else None)
        assert producer.flush(30) == 0

    def lag(self, topic: str, group: str, partitions: int = 1) -> int:
        """Records that a group has not committed; -1 when the broker does not say."""
        offsets = self._offsets(topic, group, partitions)
        return sum(end - committed for committed, end in offsets) if offsets else -1

    def committed(self, topic: str, group: str, partitions: int = 1) -> int:
        """Records that it has committed; -1 when the broker does not say."""
        offsets = self._offsets(topic, group, partitions)
        return sum(committed for committed, _ in offsets) if offsets else -1

    def _offsets(self, topic: str, group: str, partitions: int) -> list[tuple[int, int]]:
        """(committed, end) of each partition."""
        reader = Consumer({"bootstrap.servers": self.address, "group.id": group, "log_level": "0"})
        try:
            places = reader.committed([TopicPartition(topic, number) for number in range(partitions)], timeout=10)
            ends = [reader.get_watermark_offsets(place, timeout=10)[1] for place in places]
            return [(max(0, place.offset), end) for place, end in zip(places, ends, strict=True)]
        except KafkaException:
            return []
        finally:
            reader.close()

    def read(self, topic: str, count: int, seconds: float = 30) -> list[Any]:
        """The first `count` records of a topic."""
        group = f"reader-{uuid.uuid4().hex}"
        options = {"bootstrap.servers": self.address, "group.id": group, "auto.offset.reset": "earliest"}
        reader = Consumer({**options, "enable.auto.commit": False, "log_level": "0"})
        found: list[Any] = []
        try:
            reader.subscribe([topic])

            def come() -> bool:
                message = reader.poll(0.2)
                if message is not None and not message.error():
                    found.append(message)
                return len(found) >= count

            wait_until(come, f"{count} records in {topic}", seconds)
        finally:
            reader.close()
        return found


def _properties(directory: Path, port: int, controller: int) -> str:
    lines = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": directory / "data",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "auto.create.topics.enable": "false",
    }
    return "".join([f"{name}={value}\n" for name, value in lines.items()])
