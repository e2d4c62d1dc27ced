"""gateway/run_files.py in real directories."""

import grp
import os
import stat
from pathlib import Path

import pytest

from gateway import run_files
from shared.errors import SettingsError
from shared.settings import Settings


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=str(tmp_path / "var"), host_name="here")


def test_directories_have_their_modes(settings: Settings) -> None:
    before = os.umask(0)
    try:
        run_files.make_directories(settings)
    finally:
        os.umask(before)
    data_dir = Path(settings.data_dir)
    assert [mode_of(data_dir / name) for name in ("run", "run/hand-over", "nginx")] == [0o700, 0o700, 0o750]
    (data_dir / "run").chmod(0o777)
    run_files.make_directories(settings)
    assert mode_of(data_dir / "run") == 0o700


def test_unwritable_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"^data_dir: .*/file/run: not a directory$"):
        run_files.make_directories(Settings(data_dir=str(tmp_path / "file")))
    with pytest.raises(SettingsError, match=r"^data_dir: /proc/none"):
        run_files.make_directories(Settings(data_dir="/proc/none"))


def test_long_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="exceeds 107 bytes"):
        run_files.make_directories(Settings(data_dir=str(tmp_path / ("x" * 100))))


def test_group_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^nginx_socket_group: no group 'no-such-group' on this machine$"):
        run_files.make_directories(Settings(data_dir=str(tmp_path), nginx_socket_group="no-such-group"))


def test_nginx_directory_belongs_to_the_group(tmp_path: Path) -> None:
    group = grp.getgrgid(os.getgroups()[-1] if os.getuid() else 1)
    run_files.make_directories(Settings(data_dir=str(tmp_path), nginx_socket_group=group.gr_name))
    assert (tmp_path / "nginx").stat().st_gid == group.gr_gid


def test_pid_file_admits_one(settings: Settings) -> None:
    run_files.make_directories(settings)
    held = run_files.hold_pid_file(settings, 3)
    assert (Path(settings.data_dir) / "run" / "gateway-3.pid").read_text() == f"{os.getpid()}\n"
    with pytest.raises(SettingsError, match=r"^data_dir: worker here/3 already runs in "):
        run_files.hold_pid_file(settings, 3)
    os.close(run_files.hold_pid_file(settings, 4))
    os.close(held)
    os.close(run_files.hold_pid_file(settings, 3))
