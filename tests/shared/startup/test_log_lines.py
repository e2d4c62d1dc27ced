"""Log lines in both formats, and what cannot get into them."""

import json
import logging
import sys

import pytest

from shared.log_events import Event
from shared.startup.log_lines import FORMATS

EVIL = "a\n2026-01-01 00:00:00,000 INFO router: fake\r\x1b[2J\u2028\udcff"


def record(message, *arguments, error=None):
    try:
        raise error or ValueError
    except Exception:
        trace = sys.exc_info() if error else None
    made = logging.LogRecord("gateway.x", logging.INFO, "", 0, message, arguments, trace)
    made.created, made.msecs = 1_764_075_146.25, 250.0
    return made


def lines(made, name):
    return FORMATS[name]().format(made)


def test_a_plain_line():
    assert lines(record("hello %s", "you"), "plain").endswith(",250 INFO gateway.x: hello you")


def test_a_json_line():
    told = json.loads(lines(record(Event("closed", token="名", seconds=1.5)), "json"))
    assert told == {
        "time": "2025-11-25T12:52:26.250Z",
        "level": "INFO",
        "logger": "gateway.x",
        "message": "closed",
        "token": "名",
        "seconds": 1.5,
    }


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("message", [EVIL, "%s", Event("closed", token=EVIL), Event(EVIL)])
def test_nobody_writes_lines_of_his_own(name, message):
    line = lines(record(message, *([EVIL] if message == "%s" else [])), name)
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line
    line.encode()


def test_fields_do_not_stand_in_for_what_every_line_has():
    event = Event("x")
    event.fields.update(time="never", level="DEBUG", logger="me", message="y")
    told = json.loads(lines(record(event), "json"))
    assert (told["level"], told["logger"], told["message"]) == ("INFO", "gateway.x", "x")


def test_a_traceback_is_told_from_lines():
    made = record("has failed", error=KeyError(EVIL))
    first, *others = lines(made, "plain").split("\n")
    assert first.endswith("gateway.x: has failed")
    assert all(line.startswith("    ") for line in others)
    assert "fake" in others[-1]
    told = json.loads(lines(record("has failed", error=KeyError(EVIL)), "json"))
    assert "KeyError" in told["traceback"]


def test_what_is_no_text_is_shown_all_the_same():
    told = json.loads(lines(record(Event("x", v=b"\xff", error=ValueError("n"))), "json"))
    assert told["error"] == "n"
