"""What log lines say: an event with its fields, as text or as JSON (docs/logs.md). Pure."""

import re

#: Control characters, line separators, what turns the direction of text, and halves of surrogate pairs.
_CONTROLS = "\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_UNSAFE = re.compile(f"[{_CONTROLS}]")
#: What may stand behind a `=` without quotation marks.
_BARE = re.compile(rf'[^\s"=\\{_CONTROLS}]+')


class Event:
    """A message for `logging`: text and fields. Fields without a value (None, empty text) are left out.

    It becomes text only if somebody writes it.
    """

    __slots__ = ("fields", "what")

    def __init__(self, what: str, **fields: object) -> None:
        self.what, self.fields = what, fields

    def said(self) -> dict[str, object]:
        """The fields that have a value."""
        return {name: value for name, value in self.fields.items() if value is not None and value != ""}

    def __str__(self) -> str:
        return " ".join([self.what, *[f"{name}={_shown(value)}" for name, value in self.said().items()]])


def escaped(text: str) -> str:
    """Text that stays in its line and says nothing to a terminal: what could do other things is shown as \\xNN."""
    return text if _UNSAFE.search(text) is None else _UNSAFE.sub(_escape, text)


def escaped_json(text: str) -> str:
    """The same for JSON without line breaks, where it changes nothing of what is said."""
    return text if _UNSAFE.search(text) is None else _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def _shown(value: object) -> str:
    """A value that a reader can tell from the fields around it."""
    text = str(value)
    if _BARE.fullmatch(text) is not None:
        return text
    return '"' + escaped(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'
