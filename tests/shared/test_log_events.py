import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.log_events import Event, escaped


def test_an_event_is_its_text_and_its_fields():
    event = Event("closed", address="[::1]:80", reason="kicked", token="名", bytes=7, uid=None, detail="")
    assert str(event) == "closed address=[::1]:80 reason=kicked token=名 bytes=7"
    assert event.said() == {"address": "[::1]:80", "reason": "kicked", "token": "名", "bytes": 7}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ('"', '"\\""'),
        ("\\", '"\\\\"'),
        ("a\nb", '"a\\x0ab"'),
        ("\x1b[31m", '"\\x1b[31m"'),
        ("a\u2028b", '"a\\u2028b"'),
        ("\u202e", '"\\u202e"'),
        ("\u061c", '"\\u061c"'),
        ("\udcff", '"\\udcff"'),
        ("\x85", '"\\x85"'),
    ],
)
def test_values_cannot_be_mistaken_for_what_is_around_them(value, shown):
    assert str(Event("x", v=value)) == f"x v={shown}"


@given(st.text())
def test_whatever_is_said_stays_in_its_line(text):
    for line in (escaped(text), str(Event("x", v=text))):
        assert len(line.splitlines()) <= 1
        assert all(each.isprintable() or each.isspace() or ord(each) > 0x9F for each in line)
        line.encode()
