import os
import pty
import subprocess
import sys
import termios
from collections import Counter
from pathlib import Path

import pytest

from services.pushctl.push_files import parse_line
from tests.fleet.fleet_process import Fleet
from tests.services.pushctl.runs import COMMAND, listening, run


@pytest.mark.parametrize(
    ("line", "pair"),
    [
        (b'{"token": "a", "payload": "x\\u00e4"}', ("a", "xä")),
        (b'{"token": "a", "payload": ""}', ("a", "")),
        (b'{"token": "a", "payload_base64": "AP8="}', ("a", b"\x00\xff")),
        (b"a\tx\ty", (b"a", b"x\ty")),
        (b"a\t", (b"a", b"")),
        (b"\xff\t\x00", (b"\xff", b"\x00")),
    ],
)
def test_lines(line: bytes, pair: tuple[object, object]):
    assert parse_line(line) == pair


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"a x", "neither JSON nor token, TAB, payload"),
        (b"{", "not JSON"),
        (b'{"token": "a"}', "expected"),
        (b'{"token": 1, "payload": "x"}', "expected"),
        (b'{"token": "a", "payload": {}}', "expected"),
        (b'{"token": "a", "payload": "x", "payload_base64": "AP8="}', "expected"),
        (b'{"token": "a", "payload_base64": "?"}', "payload_base64 is not base64"),
    ],
)
def test_wrong_lines(line: bytes, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        parse_line(line)


def test_every_line_arrives_in_order(running_fleet: Fleet, tmp_path: Path):
    file = tmp_path / "pushes.tsv"
    file.write_text("".join([f"file-{number % 2}\t{number}\n" for number in range(2000)]))
    environ = running_fleet.environ
    with (
        listening(environ, "file-0", "--count", "1000") as even,
        listening(environ, "file-1", "--count", "1000", "--protocol", "v2") as odd,
    ):
        done = run(environ, "push-file", str(file), "--json")
        assert done.status == 0
        assert done.json["lines"] == 2000
        assert done.json["outcomes"].keys() <= {"SENT", "BUFFERED"}
        assert even.finish().stdout.split() == [str(number) for number in range(0, 2000, 2)]
        assert odd.finish().stdout.split() == [str(number) for number in range(1, 2000, 2)]


def test_what_failed_is_told_and_kept(running_fleet: Fleet, tmp_path: Path):
    lines = b'{"token":"file-2","payload":"x"}\nabsent\ty\n\nnonsense\n'
    with listening(running_fleet.environ, "file-2", "--count", "1") as listener:
        done = run(running_fleet.environ, "push-file", "-", "--failed", str(tmp_path / "failed"), stdin=lines)
        assert listener.finish().stdout == "x\n"
    assert done.status == 1
    assert done.stderr == "line 4: neither JSON nor token, TAB, payload\n"
    assert done.stdout.startswith("3 lines in 0.")
    words = Counter(done.stdout.replace(",", "").split()[5:])
    assert words == Counter(["SENT", "1", "OFFLINE", "1", "WRONG_LINE", "1"])
    assert (tmp_path / "failed").read_bytes() == b"absent\ty\n"


def test_many_wrong_lines_are_not_all_told(running_fleet: Fleet):
    done = run(running_fleet.environ, "push-file", "-", stdin=b"nonsense\n" * 50)
    assert done.status == 1
    assert len(done.stderr.splitlines()) == 11
    assert "WRONG_LINE 50" in done.stdout


def test_empty_file(running_fleet: Fleet):
    assert run(running_fleet.environ, "push-file", "/dev/null").status == 0


def test_a_bar_on_a_terminal_only(running_fleet: Fleet, tmp_path: Path):
    file = tmp_path / "pushes.tsv"
    file.write_text("bar\tx\n" * 10)
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 80))
    process = subprocess.Popen(
        [*COMMAND, "push-file", str(file)], env=running_fleet.environ, stdout=subprocess.DEVNULL, stderr=end
    )
    os.close(end)
    shown = b""
    try:
        while data := os.read(terminal, 4096):
            shown += data
    except OSError:
        pass  # a terminal whose other end is closed
    process.wait()
    os.close(terminal)
    assert b"pushed:" in shown
    assert "pushed:" not in run(running_fleet.environ, "push-file", str(file)).stderr


def test_memory_does_not_grow_with_the_file(running_fleet: Fleet, tmp_path: Path):
    def peak(lines: int) -> int:
        file = tmp_path / f"{lines}.tsv"
        with file.open("w") as stream:
            for number in range(lines):
                stream.write(f"grow-{number % 1000}\t{'x' * 500}\n")
        code = (
            "import resource, sys; from services.pushctl.main import main\n"
            f"sys.argv = ['pushctl', 'push-file', {str(file)!r}]\n"
            "try: main()\n"
            "except SystemExit: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=running_fleet.environ, capture_output=True, text=True, check=True
        )
        return int(done.stdout.splitlines()[-1])

    assert peak(60_000) < peak(20_000) + 8 * 1024, "KiB: 20 MB more went through"


def test_without_a_router_it_says_so_before_a_push_would_be_given_up(tmp_path: Path):
    (tmp_path / "lines").write_bytes(b"a\tx\n")
    done = run({}, "push-file", str(tmp_path / "lines"), "--router", f"ipc://{tmp_path}/none", "--timeout", "600")
    assert (done.status, done.stdout) == (3, "")
    assert "within 10 s" in done.stderr
