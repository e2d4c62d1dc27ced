from dataclasses import fields

import pytest

from shared.errors import SettingsError
from shared.settings import Settings, describe, is_loopback, load, split


def refusal(environ, file_text=""):
    with pytest.raises(SettingsError) as caught:
        load(environ, file_text)
    return str(caught.value)


def test_defaults_work():
    settings = load({}, machine_name="box")
    assert settings == Settings(host_name="box")
    assert (settings.client_port, settings.sender_port, settings.api_port, settings.workers) == (6789, 6700, 8080, 2)
    assert (settings.host, settings.data_dir) == ("127.0.0.1", "./var")


def test_a_variable_wins_over_the_file():
    file_text = "workers = 4\nclient_port = 7000\nauth_audience = 'x'"
    settings = load({"PUSH_WORKERS": "8", "PUSH_CONFIG": "/etc/push.toml", "HOME": "/"}, file_text)
    assert (settings.workers, settings.client_port, settings.auth_audience) == (8, 7000, "x")


@pytest.mark.parametrize(("text", "value"), [("1", True), ("yes", True), ("TRUE", True), ("off", False), ("0", False)])
def test_flags_by_variable(text, value):
    assert load({"PUSH_PERMESSAGE_DEFLATE": text}).permessage_deflate is value


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PUSH_COLOUR": "1"}, "PUSH_COLOUR: unknown setting"),
        ({"PUSH_workers": "1"}, "PUSH_workers: unknown setting"),
        ({"PUSH_WORKERS": "many"}, "PUSH_WORKERS: 'many' is not a whole number"),
        ({"PUSH_WORKERS": "0"}, "PUSH_WORKERS: 0 is not from 1 to 1024"),
        ({"PUSH_CLIENT_PORT": "65536"}, "PUSH_CLIENT_PORT: 65536 is not from 1 to 65535"),
        ({"PUSH_AUTH_REQUIRED": "maybe"}, "PUSH_AUTH_REQUIRED: 'maybe' is not true or false"),
        ({"PUSH_LOG_LEVEL": "LOUD"}, "PUSH_LOG_LEVEL: 'LOUD' is none of DEBUG, INFO, WARNING, ERROR"),
        ({"PUSH_HOST": "example.org"}, "host: 'example.org' is not an IP address"),
        ({"PUSH_HOST": ""}, "host: '' is not an IP address"),
        ({"PUSH_HOST_NAME": "a/b"}, "host_name: 'a/b' is not a host name"),
        ({"PUSH_HOST_NAME": "x" * 201}, f"host_name: '{'x' * 64}' is not a host name"),
        ({"PUSH_HEARTBEAT_MIN_S": "700"}, "heartbeat_min_s: 700 exceeds heartbeat_max_s 600"),
        ({"PUSH_WORKER_TIMEOUT_MS": "1999"}, "worker_timeout_ms: 1999 is less than two heartbeats of 1000"),
        (
            {"PUSH_API_PORT": "6700"},
            "client_port: client_port, sender_port, bus_port, service_port, presence_port and api_port must differ",
        ),
        ({"PUSH_AUTH_REQUIRED": "1"}, "auth_required: needs auth_keys_file"),
        ({"PUSH_TRUSTED_PROXIES": "10.0.0.1/8"}, "trusted_proxies: 10.0.0.1/8 has host bits set"),
    ],
)
def test_a_wrong_variable_is_refused_by_name(environ, said):
    assert refusal(environ) == said


@pytest.mark.parametrize(
    ("file_text", "said"),
    [
        ("colour = 1", "colour: unknown setting"),
        ("workers = '2'", "workers: '2' is not a whole number"),
        ("workers = true", "workers: True is not a whole number"),
        ("auth_required = 1", "auth_required: 1 is not true or false"),
        ("host = 7", "host: 7 is not text"),
        ("[limits]\nx = 1", "limits: unknown setting"),
    ],
)
def test_a_wrong_file_is_refused_by_key(file_text, said):
    assert refusal({}, file_text) == said


def test_a_file_that_is_not_toml():
    assert refusal({}, "workers = ").startswith("PUSH_CONFIG: not TOML: ")


def test_the_sender_endpoint_follows_the_host():
    assert load({"PUSH_HOST": "0.0.0.0"}).senders_listen_on == "0.0.0.0"
    assert load({"PUSH_HOST": "0.0.0.0", "PUSH_SENDER_HOST": "127.0.0.1"}).senders_listen_on == "127.0.0.1"


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1", "127.8.9.1", "::1"])
def test_loopback(address):
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "10.0.0.1", "::", "192.168.1.1"])
def test_not_loopback(address):
    assert not is_loopback(address)


def test_lists_in_a_setting():
    assert split(" a, b ,,c") == ["a", "b", "c"]
    assert split("") == []


def test_every_setting_describes_itself_and_has_a_default_within_its_bounds():
    described = {name: text for name, _, text in describe()}
    assert list(described) == [entry.name for entry in fields(Settings)]
    assert all(described.values())
    for entry in fields(Settings):
        if "least" in entry.metadata:
            assert entry.metadata["least"] <= entry.default <= entry.metadata["most"]
            assert f"({entry.metadata['least']}..{entry.metadata['most']})" in described[entry.name]
