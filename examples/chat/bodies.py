"""The messages of protobufs/chat.proto as classes, out of the same file that the gateway reads."""

from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClassesForFiles

_FILE = Path(__file__).parent / "protobufs" / "chat.binpb"


def _classes() -> dict[str, Any]:
    """By their names in the package."""
    pool = DescriptorPool()
    files = FileDescriptorSet.FromString(_FILE.read_bytes()).file
    for file in files:
        pool.AddSerializedFile(file.SerializeToString())
    found = GetMessageClassesForFiles([file.name for file in files], pool)
    return {name.removeprefix("chat."): kind for name, kind in found.items()}


classes = _classes()
