"""What the command lines of all processes say about settings, and how they log."""

import logging
import sys

from shared.settings import CONFIG_KEY, PREFIX, Settings, describe

#: Exit status for settings that do not allow a start; nobody should try again with the same ones.
BAD_SETTINGS = 2

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def settings_help() -> str:
    """Every setting with its default and help, for the end of `--help` (argparse: percent signs doubled)."""
    lines = [f"Settings: variables {PREFIX}NAME, or `name = value` in the TOML file that {CONFIG_KEY} names.", ""]
    for name, default, text in describe():
        lines.append(f"  {PREFIX}{name.upper()} [{default}]\n      {text}")
    return "\n".join(lines).replace("%", "%%")


def settings_listing(settings: Settings) -> str:
    """`name = value` lines, for `--check-config`."""
    return "\n".join([f"{name} = {getattr(settings, name)!r}" for name, _, _ in describe()])


def log_to_stderr(settings: Settings) -> None:
    """Log lines of the settings' level and above, where supervisord collects them."""
    logging.basicConfig(level=settings.log_level, format=LOG_FORMAT, stream=sys.stderr)
