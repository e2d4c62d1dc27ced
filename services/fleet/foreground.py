"""A fleet in the foreground: up, announced, and down again with its launcher."""

import signal
import sys
import time
from pathlib import Path

from services.fleet.announcements import announcement
from services.fleet.own_ports import not_listening
from services.fleet.pid_files import stop_workers
from services.fleet.supervision import CONFIGURATION, Supervision, make_directories
from services.status.readiness import not_ready
from shared import places
from shared.settings import Settings
from shared.startup.pid_files import hold

STOPPING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})

#: Seconds: until everything answers; until what has not ended is killed.
READY_S = 60.0
STOP_S = 4.7
_POLL_S = 0.1


def run(settings: Settings, configuration: Path = CONFIGURATION) -> int:
    """Run the fleet until SIGINT, SIGTERM or SIGHUP; the exit status. Raises SettingsError."""
    make_directories(settings)
    hold(places.run_dir(settings) / "fleet.pid", f"a fleet already runs in {settings.data_dir}")
    for number in STOPPING:  # a shell starts what runs in its background with SIGINT ignored
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING | {signal.SIGCHLD})
    supervision = Supervision(settings, configuration)
    try:
        status = _bring_up(settings, supervision)
        return _stay_up(supervision) if status is None else status
    finally:
        stop(settings, supervision)


def _bring_up(settings: Settings, supervision: Supervision) -> int | None:
    """Wait until everything answers, and say so. An exit status if it does not, or is not to go on."""
    deadline = time.monotonic() + READY_S
    print(f"starting {settings.workers} workers in {settings.data_dir}", flush=True)
    while missing := _missing(settings, supervision):
        if _told_to_stop(_POLL_S):
            return 0
        if failures := supervision.failures():
            for line in dict.fromkeys(failure.line or f"{failure.name} does not start" for failure in failures):
                _complain(line)
            return 1
        if not supervision.running:
            _complain(f"supervisord exited with status {supervision.process.returncode}")
            return 1
        if time.monotonic() > deadline:
            _complain(f"not ready after {READY_S:.0f} s: {'; '.join(missing)}")
            return 1
    print(announcement(settings, commands_directory()), flush=True)
    return None


def _missing(settings: Settings, supervision: Supervision) -> list[str]:
    return not_ready(settings) or supervision.not_up() or not_listening(settings, supervision.left())


def _stay_up(supervision: Supervision) -> int:
    """Wait for a signal to stop, or for supervisord's end."""
    while True:
        number = signal.sigwaitinfo(STOPPING | {signal.SIGCHLD}).si_signo
        if number in STOPPING:
            return 0
        if not supervision.running:
            _complain(f"supervisord exited with status {supervision.process.returncode}")
            return 1


def stop(settings: Settings, supervision: Supervision) -> None:
    """What `pushctl stop` does, within 5 s: tell every worker, then end supervisord. A second Ctrl-C kills.

    supervisord ends its programs in the reverse order of their start, so the router stays until the workers are gone.
    """
    print("stopping", flush=True)
    stop_workers(settings)
    supervision.terminate()
    deadline = time.monotonic() + STOP_S
    while supervision.running and time.monotonic() < deadline and not _told_to_stop(_POLL_S / 5):
        pass
    if left := supervision.kill():
        _complain(f"killed {len(left)} processes that did not stop")


def _told_to_stop(seconds: float) -> bool:
    return signal.sigtimedwait(STOPPING, seconds) is not None


def _complain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def commands_directory() -> str:
    """Where this virtualenv's commands are, as one types it: relative below the working directory."""
    directory = Path(sys.executable).parent
    below = directory.is_relative_to(Path.cwd())
    return f"{directory.relative_to(Path.cwd()) if below else directory}/"
