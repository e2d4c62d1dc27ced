"""How pushctl ends when something is wrong: one line on stderr and an exit code that scripts can use."""

from typing import IO, Any

import click

from shared.errors import ClientError, PushError, SenderError, SettingsError

FAILED, USAGE, UNREACHABLE = 1, 2, 3

_USAGE_CODES = frozenset({"bad_options", "bad_endpoint", "bad_name", "not_supported"})
_UNREACHABLE_CODES = frozenset({"unreachable", "timed_out"})
_UNREACHABLE_REASONS = frozenset({"unreachable", "peer_closed", "silent"})


class Fault(click.ClickException):
    """Printed as one line `pushctl: ...`."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code  # type: ignore[misc]  # click declares it for the class

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"pushctl: {self.message}", file=file, err=file is None)


def as_fault(error: PushError) -> Fault:
    """The line and the exit code for one of the project's errors."""
    if isinstance(error, SettingsError):
        return Fault(str(error), USAGE)
    if isinstance(error, SenderError):
        if error.code in _UNREACHABLE_CODES:
            return Fault(f"{error.message}: is the fleet running?", UNREACHABLE)
        if error.code == "unavailable":
            return Fault(str(error), UNREACHABLE)
        return Fault(str(error), USAGE if error.code in _USAGE_CODES else FAILED)
    if isinstance(error, ClientError):
        hint = ": is the fleet running?" if error.reason == "unreachable" else ""
        return Fault(f"{error.message}{hint}", UNREACHABLE if error.reason in _UNREACHABLE_REASONS else FAILED)
    return Fault(str(error), FAILED)
