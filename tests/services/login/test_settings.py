"""Settings of logins."""

from pathlib import Path

import pytest

from services.login.settings import demo_codes, load_keys, webhook
from shared.errors import SettingsError
from shared.settings import load


def test_a_secret_is_made_once(tmp_path: Path):
    settings = load({"PUSH_DATA_DIR": str(tmp_path)})
    keys = load_keys(settings)
    assert len(keys.signing) == 32
    assert load_keys(settings) == keys
    file = tmp_path / "state" / "login.secret"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["login.secret"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOGIN_CLIENT_KEY", "00"),
        ("LOGIN_CLIENT_KEY", "x"),
        ("LOGIN_SECRET_FILE", "/nonexistent"),
        ("LOGIN_DEMO_CODES", "139"),
        ("LOGIN_DEMO_CODES", "x:1234"),
        ("LOGIN_DEMO_CODES", "13900000001:123"),
        ("LOGIN_DEMO_CODES", "139:1234"),
        ("LOGIN_CHANNEL", "mail"),
        ("LOGIN_CHANNEL", "file:///etc/passwd"),
    ],
)
def test_bad_settings(tmp_path: Path, name: str, value: str):
    settings = load({"PUSH_DATA_DIR": str(tmp_path), f"PUSH_{name}": value})
    with pytest.raises(SettingsError) as caught:
        load_keys(settings), demo_codes(settings), webhook(settings)
    assert name.lower() in str(caught.value)


def test_what_is_read(tmp_path: Path):
    said = {"PUSH_LOGIN_DEMO_CODES": "13900000001:556677, +86139:1234", "PUSH_LOGIN_CHANNEL": "https://sms/send"}
    settings = load({"PUSH_DATA_DIR": str(tmp_path), **said})
    assert demo_codes(settings) == {"13900000001": "556677", "+86139": "1234"}
    assert webhook(settings) == "https://sms/send"
    assert webhook(load({})) is None
