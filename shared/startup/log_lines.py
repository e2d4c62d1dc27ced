"""Log records as lines: plain text, or one JSON object each (setting `log_format`, docs/logs.md)."""

import logging
import time

import ujson

from shared.log_events import Event, escaped, escaped_json


class PlainLines(logging.Formatter):
    """`2026-11-25 12:52:26,123 INFO gateway.worker: text`; of a traceback, every line is indented."""

    def __init__(self) -> None:
        super().__init__()
        self._second, self._stamp = -1, ""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{self._time(record)} {record.levelname} {record.name}: {escaped(record.getMessage())}"
        traceback = traceback_of(record)
        return "\n    ".join([head, *map(escaped, traceback.split("\n"))]) if traceback else head

    def _time(self, record: logging.LogRecord) -> str:
        second = int(record.created)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return f"{self._stamp},{int(record.msecs):03d}"


class JsonLines(logging.Formatter):
    """`{"time", "level", "logger", "message"}`, the fields of an event, and `traceback`."""

    def format(self, record: logging.LogRecord) -> str:
        event = record.msg if isinstance(record.msg, Event) else None
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": event.what if event else record.getMessage(),
        }
        line = (event.said() | line if line.keys() & event.fields else line | event.said()) if event else line
        if traceback := traceback_of(record):
            line["traceback"] = traceback
        return as_json(line)


def as_json(line: dict[str, object]) -> str:
    """One line, whatever is in it."""
    whole = {name: _whole(value) if isinstance(value, str) else value for name, value in line.items()}
    return escaped_json(ujson.dumps(whole, ensure_ascii=False, escape_forward_slashes=False, default=str))


def _whole(text: str) -> str:
    """Without halves of surrogate pairs, which are no UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def traceback_of(record: logging.LogRecord) -> str:
    """Of its exception; empty: it has none."""
    if record.exc_info and not record.exc_text:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    return record.exc_text or ""


FORMATS: dict[str, type[logging.Formatter]] = {"plain": PlainLines, "json": JsonLines}
