"""Users over WebSocket and over TCP, and one sender that pushes to them; see loadtest/README.md.

Statistics: CONNECT (connect and SUB), PING, SENDER push (until its outcome) and PUSH send-to-receive
(until the client has it). A push that is lost, comes twice or out of order is a failure.
"""

# mypy: disallow-untyped-calls=False, disallow-untyped-decorators=False
# (locust's events have no types)

import os
import random
import time
from functools import partial
from typing import Any

import gevent
from gevent.event import AsyncResult
from locust import User, constant_pacing, events, task
from locust.env import Environment
from locust.exception import StopUser

from loadtest.clients import ClientFault, Message, PacketClient, WebSocketClient
from loadtest.ledgers import DeliveryFault, Ledger
from services.sender import Outcome, Push, SenderError
from services.sender.gevent import Sender
from shared.signals import Signal

#: Where senders connect; clients connect to locust's --host.
SENDER_ENDPOINT = os.environ.get("LOADTEST_SENDER", "tcp://127.0.0.1:6700")
PUSHES_PER_S = float(os.environ.get("LOADTEST_PUSHES_PER_S", "300"))

_TURNS_PER_S = 10
_ANSWER_TIMEOUT_S = 10
_LAST_PUSHES_S = 5

ledger = Ledger(time.monotonic)


def _report(environment: Environment, kind: str, name: str, seconds: float, fault: Exception | None = None) -> None:
    environment.events.request.fire(
        request_type=kind, name=name, response_time=seconds * 1000, response_length=0, exception=fault, context={}
    )


class _Client(User):
    """Binds a token of its own, says PING now and then, and takes what is pushed to it."""

    abstract = True
    make: type[WebSocketClient] | type[PacketClient]
    _numbers = iter(range(1 << 30))

    def wait_time(self) -> float:
        """Seconds until the next PING."""
        return random.uniform(8, 12)

    def on_start(self) -> None:
        self.token = f"{self.make.name}-{os.getpid()}-{next(self._numbers)}"
        self._answers: dict[str, AsyncResult[str]] = {}
        began = time.monotonic()
        try:
            host, _, port = (self.host or "127.0.0.1:6789").rpartition("//")[2].rpartition(":")
            self._client = self.make(host, int(port))
            self._reader = gevent.spawn(self._receive)
            status = self._ask(Signal.SUB, {"token": self.token})
            if '"status"' not in status or "200" not in status:
                raise ClientFault(f"SUB was answered {status[:64]}")
        except Exception as fault:
            _report(self.environment, "CONNECT", self.make.name, time.monotonic() - began, fault)
            raise StopUser from fault
        _report(self.environment, "CONNECT", self.make.name, time.monotonic() - began)
        ledger.open(self.token)

    def on_stop(self) -> None:
        ledger.close(self.token)
        if hasattr(self, "_reader"):
            self._reader.kill()
            self._client.close()

    @task
    def ping(self) -> None:
        began, fault = time.monotonic(), None
        try:
            self._ask(Signal.PING, {"interval": 60})
        except (OSError, ClientFault, gevent.Timeout) as error:
            fault = ClientFault(str(error) or type(error).__name__)
        _report(self.environment, "PING", self.make.name, time.monotonic() - began, fault)

    def _ask(self, signal: Signal, content: dict[str, Any]) -> str:
        """Says something and waits for the answer of the same name."""
        answer = self._answers[signal.name] = AsyncResult()
        self._client.send(signal, content)
        return str(answer.get(timeout=_ANSWER_TIMEOUT_S))

    def _receive(self) -> None:
        try:
            while True:
                self._take(self._client.receive())
        except Exception as fault:
            if not ledger.ending:
                _report(self.environment, "CONNECTION", self.make.name, 0, fault)

    def _take(self, message: Message) -> None:
        if message.signal == Signal.PUSH.name:
            try:
                _report(self.environment, "PUSH", "send-to-receive", ledger.take(self.token, message.body))
            except DeliveryFault as fault:
                _report(self.environment, "PUSH", "send-to-receive", 0, fault)
        elif message.signal in self._answers:
            self._answers.pop(message.signal).set(message.body)
        else:
            raise ClientFault(f"unexpected {message.signal}: {message.body[:64]}")


class WebSocketUser(_Client):
    make = WebSocketClient


class PacketUser(_Client):
    make = PacketClient


class SenderUser(User):
    """The back end: one per run, pushing to random users that are bound."""

    fixed_count = 1
    wait_time = constant_pacing(1 / _TURNS_PER_S)
    _sender: Sender | None = None

    def on_start(self) -> None:
        self._sender = Sender(SENDER_ENDPOINT)

    def on_stop(self) -> None:
        if self._sender:
            self._sender.close(0)

    @task
    def push(self) -> None:
        tokens = ledger.tokens
        if ledger.ending or not tokens or not self._sender:
            return
        for token in random.choices(tokens, k=round(PUSHES_PER_S / _TURNS_PER_S)):
            began = time.monotonic()
            try:
                ticket = self._sender.push_nowait(token, ledger.next_payload(token))
                ticket.add_done_callback(partial(self._told, began))
            except SenderError as fault:
                _report(self.environment, "SENDER", "push", 0, fault)

    def _told(self, began: float, push: Push) -> None:
        fault: Exception | None = push.error
        if fault is None and push.value not in (Outcome.SENT, Outcome.BUFFERED):
            fault = ClientFault(f"outcome {push.value.name if push.value is not None else None}")
        _report(self.environment, "SENDER", "push", time.monotonic() - began, fault)


@events.test_start.add_listener
def _begin(**_: Any) -> None:
    ledger.ending = False


@events.test_stopping.add_listener
def _end(environment: Environment, **_: Any) -> None:
    """No more pushes; what is under way must arrive before the users go."""
    ledger.ending = True
    deadline = time.monotonic() + _LAST_PUSHES_S
    while ledger.outstanding() and time.monotonic() < deadline:
        gevent.sleep(0.05)
    if lost := ledger.outstanding():
        _report(environment, "PUSH", "lost", 0, DeliveryFault(f"{lost} pushes did not arrive"))


@events.quitting.add_listener
def _judge(environment: Environment, **_: Any) -> None:
    """Exit status 1 for any failure, also for one found while the test was ending, and for a test of nothing."""
    total = environment.stats.total
    arrived = environment.stats.get("send-to-receive", "PUSH").num_requests
    if environment.runner and (total.num_failures or environment.runner.exceptions or not arrived):
        environment.process_exit_code = 1
