"""The registry: JSON to protobuf and back for each topic that has messages.

The protobuf library is loaded when the first body is converted: it takes 6 MB, and few fleets have any.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import ujson

from shared.errors import BodyError, SettingsError
from shared.protobufs.tables import PLAIN, SETTING, Place, Spelling, Table

if TYPE_CHECKING:
    from google.protobuf.message import Message

#: Its messages have a JSON form of their own.
_WELL_KNOWN = "google.protobuf."


class Registry:
    """Which bodies are protobuf, and what they are in JSON."""

    def __init__(self, tables: Sequence[Table], descriptors: Sequence[bytes]) -> None:
        """`descriptors`: serialized FileDescriptorSets. Of two tables that name a topic the later counts."""
        self._messages: dict[Place, str] = {}
        self._spellings: dict[str, Spelling] = {}
        for table in tables:
            self._messages |= table.messages
            self._spellings |= table.spellings
        self._descriptors = descriptors

    def has(self, signal: int, sub_signal: int, direction: str) -> bool:
        """Whether that body is protobuf."""
        return (signal, sub_signal, direction) in self._messages

    def to_protobuf(self, signal: int, sub_signal: int, direction: str, body: bytes) -> bytes:
        """A JSON object (or nothing) as protobuf; unknown fields are passed over. Raises BodyError."""
        from google.protobuf import json_format  # noqa: PLC0415

        message = self._new(signal, sub_signal, direction)
        name = message.DESCRIPTOR.full_name
        try:
            fields = ujson.loads(body) if body else {}
            if not isinstance(fields, dict):
                raise TypeError
            json_format.ParseDict(self._spelt(message.DESCRIPTOR, fields, _read), message, ignore_unknown_fields=True)
            return bytes(message.SerializeToString())
        except (json_format.Error, ValueError, TypeError, AttributeError, RecursionError):
            raise BodyError(f"content is no {name}") from None

    def to_json(self, signal: int, sub_signal: int, direction: str, body: bytes) -> bytes:
        """Protobuf as a JSON object in which every field stands. Raises BodyError."""
        from google.protobuf import json_format  # noqa: PLC0415
        from google.protobuf.message import Error  # noqa: PLC0415

        message = self._new(signal, sub_signal, direction)
        name = message.DESCRIPTOR.full_name
        try:
            message.ParseFromString(body)
            fields = json_format.MessageToDict(
                message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
            spelt = self._spelt(message.DESCRIPTOR, fields, _write)
            return ujson.dumps(spelt, ensure_ascii=False, escape_forward_slashes=False).encode()
        except (Error, json_format.Error, ValueError, TypeError, RecursionError):
            raise BodyError(f"body is no {name}") from None

    def check(self) -> None:
        """Load every message that a table names. Raises SettingsError."""
        try:
            for place in self._messages:
                self._new(*place)
        except BodyError as error:
            raise SettingsError(SETTING, str(error)) from None

    # --- messages

    def _new(self, signal: int, sub_signal: int, direction: str) -> Message:
        from google.protobuf import message_factory  # noqa: PLC0415

        name = self._messages[Place(signal, sub_signal, direction)]
        try:
            return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))()
        except (KeyError, TypeError):
            raise BodyError(f"there is no message {name}") from None

    @cached_property
    def _pool(self) -> Any:
        from google.protobuf.descriptor_pb2 import FileDescriptorSet  # noqa: PLC0415
        from google.protobuf.descriptor_pool import DescriptorPool  # noqa: PLC0415
        from google.protobuf.message import Error  # noqa: PLC0415

        pool = DescriptorPool()
        try:
            for descriptors in self._descriptors:
                for file in FileDescriptorSet.FromString(descriptors).file:
                    pool.AddSerializedFile(file.SerializeToString())
        except (Error, TypeError) as error:
            raise SettingsError(SETTING, f"descriptors that do not fit: {error}") from None
        return pool

    # --- spelling

    def _spelt(self, descriptor: Any, fields: Any, spell: _Spell) -> Any:
        """The same object with its fields named, and its numbers written, as the other side wants them."""
        if not isinstance(fields, dict) or descriptor.full_name.startswith(_WELL_KNOWN):
            return fields
        spelling = self._spellings.get(descriptor.full_name, PLAIN)
        spelt = {}
        for name, value in fields.items():
            key, field, value = spell(spelling, descriptor, name, value)
            spelt[key] = value if field is None or field.message_type is None else self._inner(field, value, spell)
        return spelt

    def _inner(self, field: Any, value: Any, spell: _Spell) -> Any:
        kind = field.message_type
        if kind.GetOptions().map_entry:
            kind = kind.fields_by_name["value"].message_type
            if kind is None or not isinstance(value, dict):
                return value
            return {key: self._spelt(kind, one, spell) for key, one in value.items()}
        if isinstance(value, list):
            return [self._spelt(kind, one, spell) for one in value]
        return self._spelt(kind, value, spell)


def _write(spelling: Spelling, descriptor: Any, name: str, value: Any) -> tuple[str, Any, Any]:
    """A field by its name in the .proto: its name in JSON, its descriptor, its value there."""
    field = descriptor.fields_by_name[name]
    if name in spelling.numbers:
        value = [int(one) for one in value] if isinstance(value, list) else int(value)
    return spelling.names.get(name, field.json_name), field, value


def _read(spelling: Spelling, descriptor: Any, name: str, value: Any) -> tuple[str, Any, Any]:
    """A field by its name in JSON, the other way round."""
    known = next((field for field, said in spelling.names.items() if said == name), name)
    field = descriptor.fields_by_name.get(known) or descriptor.fields_by_camelcase_name.get(known)
    return (field.name if field else name), field, value


if TYPE_CHECKING:
    from collections.abc import Callable

    _Spell = Callable[[Spelling, Any, str, Any], tuple[str, Any, Any]]
