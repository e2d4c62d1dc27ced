"""services/fleet/supervisors.py where no supervisord answers; tests/fleet has the case where one does."""

import socket
import threading
from pathlib import Path

import pytest

from services.fleet import supervisors
from services.fleet.supervisors import Program, Supervisor, SupervisorError, socket_path
from shared.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "run").mkdir()
    return Settings(data_dir=str(tmp_path))


def test_none_answers(settings: Settings) -> None:
    with pytest.raises(SupervisorError, match="supervisord: no answer"):
        Supervisor(settings).pid()


def test_a_stopped_one_holds_nobody(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisors, "ANSWER_S", 0.2)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path(settings)))
        listener.listen()
        with pytest.raises(SupervisorError, match="timed out"):
            Supervisor(settings).programs()


def test_an_answer_that_is_none(settings: Settings) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path(settings)))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            connection.sendall(b"nonsense\r\n\r\n")
            connection.close()

        threading.Thread(target=answer).start()
        with pytest.raises(SupervisorError):
            Supervisor(settings).programs()


@pytest.mark.parametrize(
    ("state", "up", "failed", "down", "stopping"),
    [
        (0, False, False, True, False),  # STOPPED
        (10, False, False, False, False),  # STARTING
        (20, True, False, False, False),  # RUNNING
        (30, False, True, False, False),  # BACKOFF
        (40, False, False, False, True),  # STOPPING
        (100, False, True, True, False),  # EXITED
        (200, False, True, True, False),  # FATAL
    ],
)
def test_states(state: int, up: bool, failed: bool, down: bool, stopping: bool) -> None:
    program = Program("gateway-1", "gateway", state, "", 0, 0, Path("log"))
    assert (program.is_up, program.has_failed, program.is_down, program.is_stopping) == (up, failed, down, stopping)
