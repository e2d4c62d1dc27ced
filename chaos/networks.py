"""Hosts on this machine: network namespaces, two of them joined by a pair of veth devices. Needs root and iproute2."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self


class NetworkFault(RuntimeError):
    """Namespaces cannot be had here."""


class Hosts:
    """Namespaces `names` with addresses `addresses`, joined by a link that can be cut.

    They are there within the `with` block. `mark` tells those of one run from others.
    """

    def __init__(self, mark: int = 0) -> None:
        self.mark = mark or os.getpid()
        self.names = tuple(f"pg{self.mark}{side}" for side in "ab")
        self.devices = tuple(f"pgv{self.mark}{side}" for side in "ab")
        network = f"10.{200 + self.mark % 50}.{self.mark // 50 % 250}"
        self.addresses = (f"{network}.1", f"{network}.2")

    def __enter__(self) -> Self:
        _need()
        try:
            self._set_up()
        except BaseException:
            self.remove()
            raise
        return self

    def _set_up(self) -> None:
        for name in self.names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        first, second = self.devices
        _ip(
            "link", "add", first, "netns", self.names[0], "type", "veth", "peer", "name", second, "netns", self.names[1]
        )
        for name, device, address in zip(self.names, self.devices, self.addresses, strict=True):
            _ip("-n", name, "address", "add", f"{address}/30", "dev", device)
            _ip("-n", name, "link", "set", device, "up")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def set_link(self, up: bool) -> None:
        """Cuts the link at the second host's end, or joins it again."""
        _ip("-n", self.names[1], "link", "set", self.devices[1], "up" if up else "down")

    def remove(self) -> None:
        """Takes away what is there; the link goes with its namespaces."""
        for name in self.names:
            with contextlib.suppress(NetworkFault):
                _ip("netns", "delete", name)


class Host:
    """One namespace, with a loopback device of its own. There within the `with` block."""

    def __init__(self) -> None:
        self.name = f"pg{os.getpid()}"

    def __enter__(self) -> Self:
        _need()
        _ip("netns", "add", self.name)
        # As on a network. Loopback's usual 64 KiB segments do not fit a small send buffer: each would wait for an ACK.
        _ip("-n", self.name, "link", "set", "lo", "mtu", "1500", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _ip("netns", "delete", self.name)


def limit_send_buffers(most_bytes: int) -> None:
    """In the namespace of this process, the kernel keeps no more of a connection's output."""
    Path("/proc/sys/net/ipv4/tcp_wmem").write_text(f"4096 {most_bytes // 2} {most_bytes}")


def within(name: str) -> tuple[str, ...]:
    """A command that runs another in a namespace; it becomes that one, so their pid is the same."""
    return ("ip", "netns", "exec", name)


def _need() -> None:
    if os.geteuid() != 0 or not shutil.which("ip"):
        raise NetworkFault("namespaces need root and the command `ip` (Debian: apt-get install iproute2)")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NetworkFault(f"ip {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")
