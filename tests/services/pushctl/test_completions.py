"""`pushctl completion` in the shells themselves, as far as they are installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services.pushctl.main import COMMANDS
from tests.services.pushctl.runs import run

#: Puts what TAB would offer on lines of its own: click's function fills COMPREPLY.
_TAB = """
eval "$(pushctl completion bash)"
[[ "$(complete -p pushctl)" == *_pushctl_completion* ]] || exit 9
COMP_WORDS=({words}) COMP_CWORD={last}
_pushctl_completion pushctl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """With `pushctl` on the path, and three workers."""
    command = tmp_path / "pushctl"
    program = "from services.pushctl.main import main; main(prog_name='pushctl')"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{program}" "$@"\n')
    command.chmod(0o755)
    plain = {key: value for key, value in os.environ.items() if not key.startswith("PUSH")}
    paths = {"PATH": f"{tmp_path}:{plain['PATH']}", "PYTHONPATH": os.getcwd()}
    return plain | paths | {"PUSH_WORKERS": "3", "PUSH_HOST_NAME": "here"}


def offered(environ: dict[str, str], *words: str) -> list[str]:
    """What bash offers for the last word."""
    quoted = " ".join(f"'{word}'" for word in ("pushctl", *words))
    script = _TAB.format(words=quoted, last=len(words))
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pres"], ["presence"]),
        (["dr"], ["drain"]),
        (["group", "dis"], ["dismiss"]),
        (["explain", "--js"], ["--json"]),
        (["completion", "z"], ["zsh"]),
        (["drain", ""], ["here/0", "here/1", "here/2"]),
        (["restart", "here/1", "here/"], ["here/0", "here/2"]),
    ],
)
def test_bash(environ: dict[str, str], words: list[str], expected: list[str]) -> None:
    assert offered(environ, *words) == expected


def test_bash_offers_every_command(environ: dict[str, str]) -> None:
    assert offered(environ, "") == list(COMMANDS)


def test_wrong_settings_do_not_disturb_the_line(environ: dict[str, str]) -> None:
    assert offered(environ | {"PUSH_WORKERS": "many"}, "drain", "") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_the_script(environ: dict[str, str], shell: str) -> None:
    source = run(environ, "completion", shell, "--json").json["source"]
    assert f"_PUSHCTL_COMPLETE={shell}_complete" in source
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=source, text=True, check=True, timeout=60)


def test_another_shell(environ: dict[str, str]) -> None:
    assert run(environ, "completion", "tcsh").status == 2


def test_completing_loads_nothing_that_takes_long() -> None:
    code = (
        "import os, sys; os.environ |= {'_PUSHCTL_COMPLETE': 'bash_complete'}\n"
        "os.environ |= {'COMP_WORDS': 'pushctl ', 'COMP_CWORD': '1'}\n"
        "from services.pushctl.main import main\n"
        "try: main(prog_name='pushctl')\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'zmq', 'gevent', 'msgpack', 'tqdm', 'supervisor', 'cryptography'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
