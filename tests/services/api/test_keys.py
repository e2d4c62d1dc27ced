"""services/api/keys.py and key_files.py."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api import key_files
from services.api.key_files import KeyFile, changing, read_keys
from services.api.keys import ApiKey, digest_of, find_key, format_keys, key_text, name_fault, parse_keys
from shared.errors import SettingsError
from tests.fleet.processes import wait_until


def made(name: str, text: str, *scopes: str) -> ApiKey:
    return ApiKey(name, digest_of(text), frozenset(scopes or ("push",)), "now")


def test_a_key_is_found_by_its_text_alone() -> None:
    texts = [key_text(bytes([number]) * 32) for number in range(3)]
    keys = [made(f"k{number}", text) for number, text in enumerate(texts)]
    for number, text in enumerate(texts):
        assert find_key(keys, text) == keys[number]
    for wrong in ("", texts[0][:-1], texts[0] + "x", keys[0].digest, "\ud800"):
        assert find_key(keys, wrong) is None
    assert all(text.startswith("pgk_") and len(text) == 47 for text in texts)


@given(st.binary(min_size=32, max_size=32), st.sets(st.sampled_from(["push", "read", "admin"]), min_size=1))
def test_the_file_holds_what_was_put_in_and_not_the_key(secret: bytes, scopes: set[str]) -> None:
    keys = [made("one", key_text(secret), *scopes), made("two", "x")]
    text = format_keys(keys)
    assert parse_keys("s", text) == keys
    assert key_text(secret) not in text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("{}", "not a JSON object"),
        ('{"keys": {}}', "keys is not a list"),
        ('{"keys": [5]}', "key 1 is not a JSON object"),
        ('{"keys": [{"name": ""}]}', "key 1: a name has"),
        ('{"keys": [{"name": "a", "digest": "abc"}]}', "key 1: digest is not 64 hex digits"),
        ('{"keys": [{"name": "a", "digest": "%s", "scopes": []}]}' % ("0" * 64), "key 1: scopes are not"),
        ('{"keys": [{"name": "a", "digest": "%s", "scopes": ["all"]}]}' % ("0" * 64), "key 1: scopes are not"),
    ],
)
def test_files_that_are_refused(text: str, fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        parse_keys("api_keys_file", text)


def test_names_are_used_once() -> None:
    with pytest.raises(SettingsError, match="same name"):
        parse_keys("s", format_keys([made("a", "x"), made("a", "y")]))
    assert name_fault("shop-1.eu_2") is None
    for name in ("", "-a", "a b", "a" * 65, "ä", 5):
        assert name_fault(name)


def test_changes_are_seen_and_faults_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_files, "LOOK_S", 0.0)
    path = tmp_path / "state" / "keys.json"
    watched = KeyFile(path)
    assert watched.keys() is None
    with changing(path) as keys:
        keys.append(made("a", "x"))
    assert path.stat().st_mode & 0o777 == 0o600
    wait_until(watched.keys, "the key is seen")
    with pytest.raises(ZeroDivisionError), changing(path) as keys:
        keys.append(made("b" * (1 // 0), "x"))
    assert [key.name for key in read_keys(path) or ()] == ["a"]
    path.write_text("nonsense")
    assert [key.name for key in watched.keys() or ()] == ["a"]
    path.unlink()
    wait_until(lambda: watched.keys() == [], "nobody is let in when the file is gone")


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": []}))
    path.chmod(0o644)
    with pytest.raises(SettingsError, match=r"api_keys_file: .*mode 0644"):
        KeyFile(path)
