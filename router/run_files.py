"""What the router keeps below `data_dir`: its run directory, and the pid file that says it runs."""

from shared import places
from shared.errors import SettingsError
from shared.settings import Settings
from shared.startup.pid_files import hold


def make_run_dir(settings: Settings) -> None:
    """`run`, for this user alone. Raises SettingsError (`data_dir`)."""
    run = places.run_dir(settings)
    try:
        run.mkdir(parents=True, exist_ok=True)
        run.chmod(0o700)
    except OSError as error:
        raise SettingsError("data_dir", f"{error.filename}: {(error.strerror or str(error)).lower()}") from None


def hold_pid_file(settings: Settings, index: int) -> int:
    """Descriptor of the locked `run/router-I.pid`, which names this process. Raises SettingsError (`data_dir`).

    The lock goes with the process; so a file that a killed router left behind locks nobody out.
    """
    path = places.run_dir(settings) / f"router-{index}.pid"
    return hold(path, f"router {index} already runs in {settings.data_dir}")
