"""`pushctl push-file`."""

import os
import sys
from base64 import b64decode
from collections import Counter, deque
from collections.abc import Iterator
from time import monotonic
from typing import Any, BinaryIO

import click
import ujson

from services.pushctl import options
from services.pushctl.faults import FAILED
from services.pushctl.pushes import GOOD

#: So many wrong lines are told one by one.
_TOLD_MAX = 10
#: Seconds in which a router answers that is there.
_LOOK_S = 10.0


@click.command("push-file")
@click.argument("file", type=click.File("rb"))
@click.option("--failed", type=click.File("wb"), help="Write the lines that failed to this file, to be tried again.")
@click.option("--in-flight", type=click.IntRange(1, 10_000), default=64, show_default=True, help="Requests in flight.")
@options.timeout(60, "How long to try each push; a router is looked for as long, 10 s at most.")
@options.sender_options
@options.as_json
@click.pass_context
def push_file(
    ctx: click.Context,
    file: BinaryIO,
    failed: BinaryIO | None,
    in_flight: int,
    timeout: float,
    way: options.Way,
    as_json: bool,
) -> None:
    """Push every line of FILE (`-`: standard input), and print how many had which outcome.

    A line is JSON, {"token": "alice", "payload": "hello"} or with "payload_base64", or token, TAB, payload.
    Pushes to one token arrive in the order of the lines. Memory does not grow with the file.

    Exit code 1 if a line was wrong or a push's outcome is none of SENT, ACKED, STORED, BUFFERED.
    """
    lines = Lines(file)
    outcomes: Counter[str] = Counter()
    started = monotonic()
    with options.open_sender(way, timeout, min(timeout, _LOOK_S), window=in_flight) as sender, _progress(file) as bar:
        for outcome in sender.push_many(lines):
            line = lines.pushed.popleft()
            bar.update(len(line))
            outcomes[outcome.name] += 1
            if failed and outcome not in GOOD:
                failed.write(line)
    if lines.wrong:
        outcomes["WRONG_LINE"] = lines.wrong
    _print_summary(outcomes, monotonic() - started, as_json)
    if outcomes.keys() - {outcome.name for outcome in GOOD}:
        ctx.exit(FAILED)


class Lines:
    """(token, payload) of each line of a file. `pushed` holds the lines whose outcome has not come yet."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.pushed: deque[bytes] = deque()
        self.wrong = 0

    def __iter__(self) -> Iterator[tuple[str | bytes, str | bytes]]:
        for number, line in enumerate(self._file, 1):
            if not line.strip():
                continue
            try:
                pair = parse_line(line.rstrip(b"\r\n"))
            except ValueError as error:
                self._tell(number, str(error))
                continue
            self.pushed.append(line)
            yield pair

    def _tell(self, number: int, what: str) -> None:
        self.wrong += 1
        if self.wrong <= _TOLD_MAX:
            click.echo(f"line {number}: {what}", err=True)
        elif self.wrong == _TOLD_MAX + 1:
            click.echo("more wrong lines are counted, not told", err=True)


def parse_line(line: bytes) -> tuple[str | bytes, str | bytes]:
    """(token, payload) of a line without its end. Raises ValueError that says what is wrong."""
    if not line.startswith(b"{"):
        token, tab, payload = line.partition(b"\t")
        if not tab:
            raise ValueError("neither JSON nor token, TAB, payload")
        return token, payload
    try:
        said: Any = ujson.loads(line)
    except ValueError:
        raise ValueError("not JSON") from None
    token, payload, encoded = said.get("token"), said.get("payload"), said.get("payload_base64")
    if not isinstance(token, str) or isinstance(payload, str) == isinstance(encoded, str):
        raise ValueError('expected "token" and either "payload" or "payload_base64", all strings')
    try:
        return token, payload if isinstance(payload, str) else b64decode(encoded, validate=True)
    except ValueError:
        raise ValueError("payload_base64 is not base64") from None


def _progress(file: BinaryIO) -> Any:
    """A bar on stderr, if that is a terminal."""
    from tqdm import tqdm  # noqa: PLC0415  (only this command needs it)

    try:
        size: int | None = os.fstat(file.fileno()).st_size or None
    except OSError:
        size = None
    return tqdm(total=size, unit="B", unit_scale=True, desc="pushed", disable=None, leave=False, file=sys.stderr)


def _print_summary(outcomes: Counter[str], seconds: float, as_json: bool) -> None:
    lines = outcomes.total()
    if as_json:
        options.print_json({"lines": lines, "seconds": round(seconds, 3), "outcomes": dict(outcomes)})
        return
    click.echo(f"{lines} lines in {seconds:.1f} s" + "".join(f", {name} {n}" for name, n in outcomes.most_common()))
