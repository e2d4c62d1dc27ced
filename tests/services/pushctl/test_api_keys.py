import os
from pathlib import Path

import pytest

from services.api.key_files import read_keys
from services.api.keys import find_key
from tests.services.pushctl.runs import run

PLAIN = {key: value for key, value in os.environ.items() if not key.startswith("PUSH")}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {**PLAIN, "PUSH_DATA_DIR": str(tmp_path / "var")}


def test_a_key_is_made_listed_and_revoked(environ: dict[str, str], tmp_path: Path):
    done = run(environ, "key", "create", "shop", "--scope", "push", "--scope", "read")
    assert done.status == 0
    kept = read_keys(tmp_path / "var" / "state" / "api_keys.json") or []
    found = find_key(kept, done.stdout.strip())
    assert found
    assert (found.name, found.scopes) == ("shop", {"push", "read"})
    assert run(environ, "key", "create", "other", "--scope", "admin", "--json").json["scopes"] == ["admin"]
    listed = run(environ, "key", "list").stdout.splitlines()
    assert [line.split("\t")[:2] for line in listed] == [["shop", "push,read"], ["other", "admin"]]
    assert run(environ, "key", "revoke", "shop") == (0, "shop is revoked\n", "")
    assert [one["name"] for one in run(environ, "key", "list", "--json").json] == ["other"]


def test_what_is_refused(environ: dict[str, str]):
    run(environ, "key", "create", "shop", "--scope", "push")
    again = run(environ, "key", "create", "shop", "--scope", "push")
    assert again == (1, "", "pushctl: there is a key shop already: revoke it first\n")
    assert run(environ, "key", "revoke", "nobody") == (1, "", "pushctl: there is no key nobody\n")
    for arguments in (["create", "shop2"], ["create", "shop2", "--scope", "all"], ["create", "a b", "--scope", "push"]):
        assert run(environ, "key", *arguments).status == 2


def test_the_setting_says_where(tmp_path: Path):
    file = tmp_path / "elsewhere.json"
    run({**PLAIN, "PUSH_API_KEYS_FILE": str(file)}, "key", "create", "shop", "--scope", "push")
    assert [key.name for key in read_keys(file) or ()] == ["shop"]
