"""What the command lines of all processes say about settings, and how they log."""

import logging
import sys
from collections.abc import Callable
from types import TracebackType

from shared.settings import CONFIG_KEY, PREFIX, Settings, describe
from shared.shown import shown
from shared.startup.log_lines import FORMATS
from shared.startup.log_sinks import Sink

#: Exit status for settings that do not allow a start; nobody should try again with the same ones.
BAD_SETTINGS = 2


def settings_help() -> str:
    """Every setting with its default and help, for the end of `--help` (argparse: percent signs doubled)."""
    lines = [f"Settings: variables {PREFIX}NAME, or `name = value` in the TOML file that {CONFIG_KEY} names.", ""]
    for name, default, text in describe():
        lines.append(f"  {PREFIX}{name.upper()} [{default}]\n      {text}")
    return "\n".join(lines).replace("%", "%%")


def settings_listing(settings: Settings) -> str:
    """`name = value` lines, for `--check-config`."""
    return "\n".join([f"{name} = {value!r}" for name, value in shown(settings).items()])


def log_to_stderr(settings: Settings) -> Callable[[], int]:
    """Log lines of the settings' level and format where supervisord collects them, without ever waiting for it.

    Returns a function that tells how many lines were dropped since it was called last.
    """
    # What no line shows need not be found out for each of them.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    sink = Sink()
    sink.setFormatter(FORMATS[settings.log_format]())
    logging.basicConfig(level=settings.log_level, handlers=[sink])
    sys.excepthook = _log_uncaught
    return sink.take_dropped


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        logging.getLogger().critical("this process ends", exc_info=(kind, error, traceback))
