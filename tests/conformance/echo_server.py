"""The echo root as a process, and what kosoku says of it."""

import contextlib
import json
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: Verdicts that conform. Not among them: FAILED, ERROR, UNIMPLEMENTED; UNCLEAN, WRONG CODE, FAILED BY CLIENT.
PASSED = frozenset({"OK", "NON-STRICT", "INFORMATIONAL"})


@contextlib.contextmanager
def echo_server(log: Path) -> Iterator[int]:
    """The port of a running echo root, whose log goes to a file."""
    command = [sys.executable, "-m", "tests.conformance.echo_root"]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 20)[0], f"the echo root does not start: {log.read_text()}"
        yield int(process.stdout.readline())
        assert process.poll() is None, f"the echo root has ended: {log.read_text()[-4000:]}"
    finally:
        process.kill()
        process.communicate()


def run_cases(port: int, cases: Sequence[str], folder: Path, parallel: int, seconds: float) -> dict[str, str]:
    """Run cases (ids or globs), `parallel` at a time; what is wrong with those that failed, by id. Prints a summary."""
    command = [str(Path(sys.executable).with_name("kosoku")), "--parallelism", str(parallel), "--outdir", str(folder)]
    for case in cases:
        command += ["--include", case]
    command.append(f"ws://127.0.0.1:{port}")
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds)
    reports = [json.loads(text) for text in map(Path.read_text, folder.glob("*.json")) if '"behaviorClose"' in text]
    verdicts = {report["id"]: report for report in reports if "id" in report}
    assert verdicts, f"kosoku reported nothing: {done.stdout}{done.stderr}"
    print(f"\n{len(verdicts)} cases: {dict(Counter(report['behavior'] for report in verdicts.values()))}")
    return {
        name: f"{report['behavior']}, close {report['behaviorClose']}: {report['result']} {report['resultClose']}"
        for name, report in verdicts.items()
        if report["behavior"] not in PASSED or report["behaviorClose"] not in PASSED
    }
