import os
from pathlib import Path

import pytest

from shared.settings import load
from tests.services.pushctl.runs import run

PLAIN = {key: value for key, value in os.environ.items() if not key.startswith("PUSH_")}


def test_what_is_printed_is_a_configuration_file():
    done = run({**PLAIN, "PUSH_WORKERS": "7", "PUSH_HEARTBEAT_TEXTS": 'a"b,心跳'}, "check-config")
    assert done.status == 0
    assert "workers = 7  # changed\n" in done.stdout
    assert "client_port = 6789\n" in done.stdout
    settings = load({}, done.stdout)
    assert (settings.workers, settings.heartbeat_texts) == (7, 'a"b,心跳')


def test_json():
    assert run({**PLAIN, "PUSH_WORKERS": "7"}, "check-config", "--json").json["workers"] == 7


def test_urls_that_may_hold_a_secret_are_shortened():
    environ = {
        **PLAIN,
        "PUSH_EVENT_WEBHOOK_URL": "https://there:8443/hidden?key=hidden",
        "PUSH_EVENT_WEBHOOK_SECRET_FILE": "secret",
        "PUSH_OTEL_ENDPOINT": "http://me:hidden@[::1]:4318/hidden",
    }
    plain, as_json = run(environ, "check-config"), run(environ, "check-config", "--json")
    assert "hidden" not in plain.stdout + plain.stderr + as_json.stdout + as_json.stderr
    assert 'event_webhook_url = "https://there:8443"  # changed, the rest is not shown\n' in plain.stdout
    assert as_json.json["otel_endpoint"] == "http://[::1]:4318"


def test_the_file_that_push_config_names(tmp_path: Path):
    (tmp_path / "push.toml").write_text("workers = 5\n")
    environ = {**PLAIN, "PUSH_CONFIG": str(tmp_path / "push.toml")}
    assert run(environ, "check-config", "--json").json["workers"] == 5


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"PUSH_COLOUR": "red"}, "pushctl: PUSH_COLOUR: unknown setting\n"),
        ({"PUSH_WORKERS": "many"}, "pushctl: PUSH_WORKERS: 'many' is not a whole number\n"),
        ({"PUSH_CONFIG": "/nowhere"}, "pushctl: PUSH_CONFIG: /nowhere: no such file or directory\n"),
        ({"PUSH_DATA_DIR": "/tmp/" + "x" * 100}, "choose a shorter directory\n"),
    ],
)
def test_what_is_wrong_is_one_line(wrong: dict[str, str], line: str):
    for command in (["check-config"], ["push", "a", "x"], ["stop"], ["wait-ready"]):
        if "PUSH_DATA_DIR" in wrong and command != ["check-config"]:
            continue
        done = run({**PLAIN, **wrong}, *command)
        assert done.status == 2
        assert done.stderr.endswith(line)
        assert len(done.stderr.splitlines()) == 1


def test_every_setting_is_described():
    described = run(PLAIN, "check-config", "--help-settings", "--json").json
    assert [entry["name"] for entry in described] == list(run(PLAIN, "check-config", "--json").json)
    assert "client_port (default 6789): TCP port" in run(PLAIN, "check-config", "--help-settings").stdout


def test_a_protobuf_directory_that_does_not_do(tmp_path: Path):
    (tmp_path / "topics.json").write_text('{"topics": [{"signal": 9, "sub_signal": 16, "push": "no.Such"}]}')
    done = run({**PLAIN, "PUSH_PROTOBUF_DIR": str(tmp_path)}, "check-config")
    assert (done.status, done.stderr) == (2, "pushctl: protobuf_dir: there is no message no.Such\n")
