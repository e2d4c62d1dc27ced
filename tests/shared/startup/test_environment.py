"""shared/startup/environment.py."""

import socket
from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.startup.environment import read_settings


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PUSH_CONFIG", "PUSH_HOST_NAME", "PUSH_WORKERS"):
        monkeypatch.delenv(name, raising=False)


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "push.toml").write_text("workers = 3\nclient_port = 1234\n")
    monkeypatch.setenv("PUSH_CONFIG", str(tmp_path / "push.toml"))
    monkeypatch.setenv("PUSH_WORKERS", "5")
    settings = read_settings()
    assert (settings.workers, settings.client_port, settings.host_name) == (5, 1234, socket.gethostname())


@pytest.mark.parametrize(("content", "said"), [(b"workers = \xff", "not UTF-8"), (None, "no such file or directory")])
def test_file_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, said: str
) -> None:
    path = tmp_path / "push.toml"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("PUSH_CONFIG", str(path))
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert str(caught.value) == f"PUSH_CONFIG: {path}: {said}"
