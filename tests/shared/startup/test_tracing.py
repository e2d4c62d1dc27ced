"""Traces by OpenTelemetry: only if they are wanted and can be."""

import logging
import socket
import subprocess
import sys
import threading
import time

import pytest

from shared.settings import Settings
from shared.startup.tracing import open_tracing

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"


def test_nobody_wants_them():
    assert open_tracing(Settings(), "router", "h/0", {}) is None
    disabled = {"OTEL_SDK_DISABLED": "true"}
    assert open_tracing(Settings(otel_endpoint="http://127.0.0.1:1"), "router", "h/0", disabled) is None


WITHOUT = """
import importlib.abc, logging, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
logging.basicConfig(format="%(message)s")
from shared.settings import Settings
from shared.startup.tracing import open_tracing
assert open_tracing(Settings(otel_endpoint="http://127.0.0.1:1"), "router", "h/0") is None
"""


def test_without_the_library_one_line_says_so():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == "there are no traces: opentelemetry is not installed (push-gateway[tracing])\n"


@pytest.fixture
def silent(monkeypatch):
    """An endpoint that accepts and never answers. Threads that talk to it have ended afterwards."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    for thread in set(threading.enumerate()) - before:
        thread.join(30)


def test_a_collector_that_does_not_answer_keeps_nobody(silent, caplog):
    with caplog.at_level(logging.INFO):
        endpoint = silent.replace("http://", "http://me:hidden@")
        tracing = open_tracing(Settings(otel_endpoint=endpoint), "router", "h/0", {})
    assert f"traces go to {silent}\n" in caplog.text
    assert "hidden" not in caplog.text
    for _ in range(5000):  # more than its queue has room for
        tracing.start("x", "", "server", {}).end({})
    began = time.monotonic()
    tracing.close()
    assert time.monotonic() - began < 20  # the SDK alone would wait for 30 s and longer


@pytest.mark.parametrize(("parent", "kept"), [("", True), (f"{PARENT}-01", True), (f"{PARENT}-00", False)])
def test_spans_have_parents(silent, parent, kept):
    tracing = open_tracing(Settings(otel_endpoint=silent), "router", "h/0", {})
    span = tracing.start("x", parent, "client", {"a": 1})
    assert span.is_kept == kept
    assert span.traceparent[-2:] == ("01" if kept else "00")
    if parent:
        assert span.traceparent[:35] == parent[:35]
        assert span.traceparent[36:52] != parent[36:52]
    span.end({}, "why")
    told = tracing.record("y", span.traceparent, "consumer", {}, 5, 3, worker="h/1")
    assert told[:35] == span.traceparent[:35]
    tracing.close()
