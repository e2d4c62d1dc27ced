"""Simulated `logging`: lines go into the world's trace; a bug that the product logged is a broken promise."""

import logging
import traceback
from typing import Any

from simulator.worlds import present


class Logger:
    """A logger; levels below INFO cost nothing."""

    def __init__(self, name: str) -> None:
        self.name = name

    def handle(self, record: logging.LogRecord) -> None:
        self.log(record.levelno, record.msg)

    def isEnabledFor(self, level: int) -> bool:
        return level >= logging.INFO

    def addFilter(self, line_filter: object) -> None: ...

    def log(self, level: int, what: object, *arguments: Any, **more: Any) -> None:
        if level >= logging.INFO:
            self._note(what, *arguments)

    def debug(self, what: object, *arguments: Any, **more: Any) -> None: ...

    def info(self, what: object, *arguments: Any, **more: Any) -> None:
        self._note(what, *arguments)

    def warning(self, what: object, *arguments: Any, **more: Any) -> None:
        self._note(what, *arguments)

    def error(self, what: object, *arguments: Any, **more: Any) -> None:
        self._note(what, *arguments)

    def exception(self, what: str, *arguments: Any, **more: Any) -> None:
        world = present()
        text = what % arguments if arguments else what
        world.broken("no internal error", f"{text}\n{traceback.format_exc()}")

    def _note(self, what: object, *arguments: Any) -> None:
        world = present()
        world.note(world.current.name if world.current else "?", str(what), *arguments)


class Logging:
    """The module."""

    DEBUG, INFO, WARNING, ERROR, CRITICAL = 10, 20, 30, 40, 50
    Filter, LogRecord = logging.Filter, logging.LogRecord

    def getLogger(self, name: str = "") -> Logger:
        return Logger(name)
