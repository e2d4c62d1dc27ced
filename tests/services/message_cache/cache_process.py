"""The message cache as a process of its own, and calls to it through a router of the test."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from shared.cached_messages import decode_results, encode_operations
from shared.calls import Answer, Internal, internal
from tests.services.library.router_socket import ServiceRouter

#: Number of the calls that `ask` makes, one at a time.
_ASKED = 1 << 40


class CacheProcess:
    """`push-services run message-cache`, which comes to `router`; killed with its `with` block."""

    def __init__(self, router: ServiceRouter, data_dir: Path, **settings: str | int) -> None:
        said = {"data_dir": data_dir, "service_router_list": router.endpoint, **settings}
        environment = {f"PUSH_{name.upper()}": str(value) for name, value in said.items()}
        command = [sys.executable, "-m", "services.main", "run", "message-cache"]
        self._served = router.commands().count(b"SERVE1")
        self._router = router
        self.process = subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> "CacheProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def wait_ready(self) -> None:
        self._router.wait_for(b"SERVE1", self._served + 1)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ended(self) -> tuple[int, str]:
        """(exit status, what it wrote) of one that ends by itself."""
        _, said = self.process.communicate(timeout=30)
        return self.process.returncode, said


def call(router: ServiceRouter, number, operations, **head) -> None:
    """Asks the cache; the answer comes to `router.answers`."""
    router.call(number, encode_operations(operations), internal(Internal.MESSAGES), **head)


def results(answer: Answer):
    assert answer.code == 0, answer
    return decode_results(answer.body)


def ask(router: ServiceRouter, operations):
    """Asks and waits. Answers to other calls are passed over."""
    call(router, _ASKED, operations)
    while (answer := router.answer()).number != _ASKED:
        continue
    return results(answer)
