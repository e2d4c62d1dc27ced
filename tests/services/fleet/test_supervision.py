"""services/fleet/supervision.py; the running of it is in tests/fleet/test_make_run.py."""

import configparser
import sys
from pathlib import Path

import pytest

from services.fleet.supervision import CONFIGURATION, environment, last_line, make_directories
from shared.errors import SettingsError
from shared.settings import Settings


@pytest.fixture
def configuration() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    parser.read_string(CONFIGURATION.read_text())
    return parser


def test_environment_has_what_the_configuration_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSH_CLIENT_PORT", "7")
    environ = environment(Settings(data_dir="var", workers=3, routers=2))
    assert environ["PUSH_DATA_DIR"] == str(Path.cwd() / "var")
    assert (environ["PUSH_WORKERS"], environ["PUSH_ROUTERS"], environ["PUSH_CLIENT_PORT"]) == ("3", "2", "7")
    assert environ["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    needed = {word.split(")")[0] for word in CONFIGURATION.read_text().split("%(ENV_")[1:]}
    assert needed <= environ.keys()


def test_drained_worker_stays_away(configuration: configparser.RawConfigParser) -> None:
    gateway = configuration["program:gateway"]
    assert (gateway["autorestart"], gateway["exitcodes"]) == ("unexpected", "0,2,3")
    assert (gateway["stopasgroup"], gateway["killasgroup"], gateway["stopsignal"]) == ("false", "true", "TERM")
    deadline = Settings().drain_timeout_s
    assert int(gateway["stopwaitsecs"].replace("%(ENV_PUSH_DRAIN_TIMEOUT_S)s", str(deadline))) > deadline


def test_directories(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path / "var"))
    make_directories(settings)
    assert (tmp_path / "var" / "log").is_dir()
    assert (tmp_path / "var" / "run").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("data_dir", ["/proc/none", "/tmp/" + "x" * 100])
def test_directory_that_will_not_do(data_dir: str) -> None:
    with pytest.raises(SettingsError, match=r"^data_dir: "):
        make_directories(Settings(data_dir=data_dir))


def test_last_line(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("one\ntwo\n")
    assert last_line(tmp_path / "log") == "two"
    (tmp_path / "log").write_text("")
    assert last_line(tmp_path / "log") == ""
    assert last_line(tmp_path / "none") == ""
