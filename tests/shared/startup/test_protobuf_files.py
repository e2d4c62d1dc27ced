import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import shared.protobufs
from shared.errors import SettingsError
from shared.settings import Settings
from shared.startup.protobuf_files import load_registry

DOCS = Path(__file__).parents[3] / "docs/services.md"
OWN = Path(shared.protobufs.__file__).parent


def load(folder):
    return load_registry(replace(Settings(), protobuf_dir=str(folder)))


def test_without_a_directory_there_are_the_packages_own():
    registry = load_registry(Settings())
    assert registry.has(7, 1, "answer")
    registry.check()


def test_a_directory_adds_topics(tmp_path):
    topics = [{"signal": "PUBLISH", "sub_signal": "FP", "push": "push_gateway.ConnectAckPayload"}]
    (tmp_path / "topics.json").write_text(json.dumps({"topics": topics}))
    shutil.copy(OWN / "descriptors.binpb", tmp_path)
    registry = load(tmp_path)
    assert json.loads(registry.to_json(9, 16, "push", b"\x10\x05"))["friendHead"] == 5
    assert registry.has(7, 1, "answer")


def test_a_directory_that_does_not_do(tmp_path):
    for text in (None, "{", '{"topics": [{"signal": 9, "sub_signal": 16, "push": "no.Such"}]}', b"\xff"):
        if text is not None:
            (tmp_path / "topics.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(SettingsError) as error:
            load(tmp_path)
        assert error.value.key == "protobuf_dir"


def test_what_the_docs_show_does(tmp_path):
    section = DOCS.read_text().split("## Protobuf\n")[1].split("\n## ")[0]
    proto, topics, command = re.findall(r"```\w+\n(.*?)```", section, re.DOTALL)
    (tmp_path / "friends.proto").write_text(proto)
    (tmp_path / "topics.json").write_text(topics)
    program, *arguments = command.split()
    assert program == "protoc"
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], cwd=tmp_path, check=True, timeout=60)
    registry = load(tmp_path)
    assert registry.to_protobuf(9, 16, "request", b'{"most": 5}') == b"\x08\x05"
    assert json.loads(registry.to_json(9, 16, "answer", b"\x0a\x03bob\x10\x07")) == {"friendNames": ["bob"], "total": 7}
    assert json.loads(registry.to_json(9, 20, "push", b"\x0a\x03bob")) == {"name": "bob"}
