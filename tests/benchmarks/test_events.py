"""benchmarks/events.py with few clients."""

import pytest

from benchmarks import events


def test_all_is_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "QUICK_CLIENTS", 200)
    assert events.main(["--quick"]) == 0
    said = capsys.readouterr().out
    for what in ("a client comes, with events", "it goes, without events", "an event is read, confirmed and taken out"):
        assert f"| {what}" in said
