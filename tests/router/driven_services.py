"""Stand-in services and askers around a driven core."""

from typing import Any

import ujson

from shared.calls import (
    ASK1,
    CALL1,
    RETURN1,
    SERVE1,
    TOLD1,
    TOPICS1,
    Answer,
    Call,
    Topic,
    decode_answer,
    decode_call,
    encode_answer,
    encode_call,
)
from tests.router.driven_core import DrivenCore

FP, MS = Topic(9, 16), Topic(9, 18)


class DrivenServices(DrivenCore):
    """One worker `h/0`, which asks, and services by identity."""

    def __init__(self, *workers: str, **settings: Any) -> None:
        super().__init__(*(workers or ("h/0",)), **settings)
        self.asked = 0

    def tell(self, service: bytes, *frames: bytes) -> None:
        """A message of a service."""
        self.core.from_service(service, list(frames), self.now)
        self.turn()

    def serve(
        self, service: bytes, *topics: Topic, instance: str = "", idempotent: bool = False, window: int = 256
    ) -> None:
        """SERVE1 of a service called `chat`; its instance is named after its identity unless said."""
        listed = [{**topic._asdict(), "idempotent": idempotent} for topic in topics or (FP,)]
        said = {"name": "chat", "instance": instance or service.hex(), "topics": listed, "window": window}
        self.tell(service, SERVE1, ujson.dumps(said).encode())

    def call(self, topic: Topic = FP, key: str | None = "k", body: bytes = b"b", **head: Any) -> int:
        """ASK1 of the worker; its number."""
        self.asked += 1
        fields = {**topic._asdict(), "timeout_ms": 5000, **head} | ({} if key is None else {"key": key})
        self.say("h/0", encode_call(ASK1, self.asked, fields, body))
        return self.asked

    def given(self, service: bytes) -> list[Call]:
        """CALL1s that a service got since the last time."""
        return [decode_call(frames) for frames in self._take(service, CALL1)]

    def heard(self, service: bytes, kind: bytes) -> int:
        """How many messages of a kind a service got since the last time."""
        return len(self._take(service, kind))

    def _take(self, service: bytes, kind: bytes) -> list[list[bytes]]:
        taken = [frames for identity, frames in self.to_services if identity == service and frames[0] == kind]
        self.to_services = [each for each in self.to_services if each[0] != service or each[1][0] != kind]
        return taken

    def give_back(self, service: bytes, call: Call, code: int = 0, body: bytes = b"done") -> None:
        """RETURN1."""
        self.tell(service, *encode_answer(RETURN1, call.number, code, body))

    def told(self, worker: str = "h/0") -> list[Answer]:
        """TOLD1s that a worker got since the last time."""
        taken = [decode_answer(frames) for frames in self.messages(TOLD1, worker)]
        self.to_workers = [each for each in self.to_workers if each[1][0] != TOLD1]
        return taken

    def topics(self) -> list[list[list[int]]]:
        """TOPICS1s that the worker got."""
        return [ujson.loads(frames[1])["topics"] for frames in self.messages(TOPICS1, "h/0")]

    def count(self, name: str) -> int:
        return self.core.counters[name]
