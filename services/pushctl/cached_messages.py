"""`pushctl cached`: what the message cache keeps for a token."""

from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic
from typing import Any, TypeVar

import click

from services.library import PublishError, Service
from services.pushctl import options
from services.pushctl.faults import FAILED, UNREACHABLE, Fault
from shared.cached_messages import (
    Clear,
    Cleared,
    Failed,
    Message,
    Messages,
    Operation,
    Read,
    call_key,
    decode_results,
    encode_operations,
    prefix_and_position,
    topic_of,
)
from shared.push_ids import push_id
from shared.settings import Settings
from shared.startup.environment import read_settings

R = TypeVar("R")

#: So much is read at a time.
_MOST, _MOST_BYTES = 100, 256 << 10
_PREVIEW = 60


@click.command()
@click.argument("token", metavar="TOKEN")
@click.option("--purge", is_flag=True, help="Take all of them out: nobody will get them.")
@options.timeout(10, "How long to wait for the message cache.")
@options.as_json
def cached(token: str, purge: bool, timeout: float, as_json: bool) -> None:
    """List what the message cache keeps for TOKEN, the oldest first. On a host of the fleet."""
    encoded = options.checked_name(token)
    settings = read_settings()
    service = Service("pushctl", settings)
    service.start()
    try:
        asked = _Asking(service, settings, encoded, monotonic() + timeout)
        if purge:
            number = asked.ask(Clear(encoded), Cleared).number
            options.print_json({"purged": number}) if as_json else click.echo(f"{number} taken out")
        else:
            _list(asked.read_all(), as_json)
    finally:
        service.stop(0)


def kept_for(token: str, settings: Settings, timeout: float) -> list[dict[str, Any]]:
    """What is kept for a token, as `--json` tells it. Raises Fault."""
    service = Service("pushctl", settings)
    service.start()
    try:
        asked = _Asking(service, settings, token.encode(), monotonic() + timeout)
        return [_fields(message) for message in asked.read_all()]
    finally:
        service.stop(0)


def _list(messages: Iterator[Message], as_json: bool) -> None:
    if as_json:
        options.print_json([_fields(message) for message in messages])
        return
    for message in messages:
        fields = _fields(message)
        click.echo("\t".join([str(fields[name]) for name in ("seq", "id", "expires", "bytes", "begins")]))


def _fields(message: Message) -> dict[str, Any]:
    expires = datetime.fromtimestamp(message.expires // 1000, UTC).isoformat()
    return {
        "seq": message.seq,
        "id": push_id(*prefix_and_position(message.key)),
        "signal": message.signal,
        "sub_signal": message.sub_signal,
        "expires": expires,
        "bytes": len(message.payload),
        "begins": ascii(message.payload[:_PREVIEW].decode("utf-8", "replace"))[1:-1],
    }


class _Asking:
    """Operations on one token."""

    def __init__(self, service: Service, settings: Settings, token: bytes, deadline: float) -> None:
        self._service, self._token, self._deadline = service, token, deadline
        self._topic = topic_of(token, settings.message_caches)

    def read_all(self) -> Iterator[Message]:
        after, more = 0, True
        while more:
            found = self.ask(Read(self._token, after, _MOST, _MOST_BYTES), Messages)
            yield from found.messages
            after, more = found.messages[-1].seq if found.messages else after, found.more

    def ask(self, operation: Operation, kind: type[R]) -> R:
        """The result of this class. Raises Fault."""
        left = max(0.1, self._deadline - monotonic())
        body, key = encode_operations([operation]), call_key(self._topic)
        answer = self._service.ask(self._topic, body, key=key, timeout_s=left)
        if answer.code == PublishError.NOT_IMPLEMENTED:
            raise Fault("no message cache runs", UNREACHABLE)
        if answer.code == PublishError.TIMED_OUT:
            raise Fault("the message cache does not answer: is the fleet running?", UNREACHABLE)
        if answer.code != 0:
            raise Fault(f"the message cache answered with code {answer.code:#x}", FAILED)
        (result,) = decode_results(answer.body)
        if isinstance(result, Failed):
            raise Fault(f"the message cache cannot: {result.message}", FAILED)
        if not isinstance(result, kind):
            raise Fault(f"the message cache answered {type(result).__name__}", FAILED)
        return result
