"""The documents in docs/, and what tests read out of them."""

import re
from pathlib import Path
from typing import NamedTuple

from shared.packets import Packet, parse_packet, sniff_version

ROOT = Path(__file__).resolve().parents[2]

_LINE = re.compile(r"([cs])> ((?:[0-9A-F]{2})+(?: (?:[0-9A-F]{2})+)*)(?: (\S.*?))?\s+# (\w+).*")


def read(name: str) -> str:
    """The text of docs/`name`."""
    return (ROOT / "docs" / name).read_text()


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one of its level or a higher one."""
    level = len(heading) - len(heading.lstrip("#"))
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"no heading {heading!r}"
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def blocks(text: str, language: str) -> list[str]:
    """Fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


class PacketLine(NamedTuple):
    """One line of a `packets` block."""

    from_client: bool
    data: bytes
    packet: Packet
    name: str  # said behind the #


def packet_lines(block: str) -> list[PacketLine]:
    """Its lines: `c>` or `s>`, hex, a body as text, `#` and the signal's name. Each is one whole packet."""
    lines = []
    for line in block.splitlines():
        match = _LINE.fullmatch(line)
        assert match, line
        data = bytes.fromhex(match[2]) + (match[3] or "").encode()
        found = parse_packet(data, 0, sniff_version(data) or 0, 1 << 20)
        assert found, f"not a whole packet: {line}"
        assert found[1] == len(data), f"bytes behind the packet: {line}"
        lines.append(PacketLine(match[1] == "c", data, found[0], match[4]))
    return lines
