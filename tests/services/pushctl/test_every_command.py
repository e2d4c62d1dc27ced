"""What holds for every command of pushctl, whichever there are: help, --json, exit codes as in docs/pushctl.md."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pytest
import ujson
from click.testing import CliRunner

from services.pushctl.faults import UNREACHABLE, USAGE
from services.pushctl.main import main
from tests.docs.documents import read, section
from tests.services.pushctl.runs import Done, run

#: Arguments that each needs.
_ARGUMENTS = {
    "push": ["alice", "hello"],
    "push-file": ["-"],
    **{key: ["alice"] for key in ("find", "explain", "kick", "cached", "presence", "listen", "token-slot")},
    "watch": ["--timeout", "0.2"],
    "top": ["--once", "--interval", "0.2"],
    **{key: ["team"] for key in ("group create", "group dismiss", "group list")},
    **{key: ["team", "alice"] for key in ("group join", "group leave")},
    **{key: ["u7"] for key in ("user sessions", "user logout", "user block", "user unblock")},
    **{key: ["1"] for key in ("drain", "start")},
    "key create": ["shop", "--scope", "push"],
    "key revoke": ["shop"],
    "completion": ["bash"],
}
#: It hands everything on to another program.
_HANDED_ON = {"simulate"}


def commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """All that can be called, by name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


EVERY = dict(commands(main))
TABLE = section(read("pushctl.md"), "## Output and exit codes")


def documented() -> dict[str, tuple[str, str]]:
    """When each command ends with 1, and with 3; empty: never."""
    rows = re.findall(r"^\| (`.*?`) \| (.*?) ?\| (.*?) ?\|$", TABLE, re.MULTILINE)
    return {name: (one, three) for names, one, three in rows for name in re.findall(r"`([a-z -]+)`", names)}


def test_every_command_has_its_exit_codes_in_the_docs() -> None:
    assert documented().keys() == EVERY.keys()


@pytest.mark.parametrize("name", EVERY)
def test_every_command_has_help_and_json(name: str) -> None:
    done = CliRunner().invoke(main, [*name.split(), "--help"])
    assert done.exit_code == 0
    assert "--json" in done.output


@pytest.mark.parametrize("name", sorted(EVERY.keys() - _HANDED_ON))
def test_wrong_usage_is_2(name: str) -> None:
    done = CliRunner().invoke(main, [*name.split(), *_ARGUMENTS.get(name, []), "--no-such-option"])
    assert done.exit_code == USAGE
    assert "--no-such-option" in done.output


@pytest.mark.parametrize("name", [name for name, (_, three) in documented().items() if three])
def test_wrong_settings_are_2(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSH_WORKERS", "many")
    done = CliRunner().invoke(main, [*name.split(), *_ARGUMENTS.get(name, [])], input="")
    assert done.exit_code == USAGE
    assert "PUSH_WORKERS: 'many' is not a whole number" in done.output


def test_without_a_fleet_it_is_3_one_line_and_json_or_nothing(tmp_path: Path) -> None:
    names = [name for name, (_, three) in documented().items() if three]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PUSH")}
    environ |= {"PUSH_DATA_DIR": str(tmp_path / "var"), "PUSH_SENDER_PORT": "1", "PUSH_CLIENT_PORT": "2"}

    def call(name: str) -> Done:
        limit = ["--timeout", "0.3"] if "--timeout" in [*_options(name)] and name != "watch" else []
        return run(environ, *name.split(), *_ARGUMENTS.get(name, []), *limit, "--json")

    with ThreadPoolExecutor(4) as pool:
        ends = dict(zip(names, pool.map(call, names), strict=True))
    assert {name: done.status for name, done in ends.items()} == dict.fromkeys(names, UNREACHABLE)
    for name, done in ends.items():
        assert re.fullmatch(r"pushctl: .+\n", done.stderr), (name, done.stderr)
        assert not done.stdout or ujson.loads(done.stdout), name


def _options(name: str) -> Iterator[str]:
    for parameter in EVERY[name].params:
        yield from parameter.opts


def test_those_that_ask_nobody_end_with_0(tmp_path: Path) -> None:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PUSH")}
    environ |= {"PUSH_DATA_DIR": str(tmp_path / "var")}
    more = {"keygen": [str(tmp_path / "own.key")]}
    names = [name for name, (_, three) in documented().items() if not three and name not in _HANDED_ON]
    for name in sorted(names, key=("key create", "key list", "key revoke").__contains__):
        done = run(environ, *name.split(), *more.get(name, _ARGUMENTS.get(name, [])), "--json")
        assert (done.status, done.stderr) == (0, ""), name
        assert ujson.loads(done.stdout) is not None, name
