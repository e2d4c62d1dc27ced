import json

import pytest

from shared.errors import SettingsError
from shared.protobufs.tables import ANSWER, PUSH, REQUEST, Place, Spelling, parse_table


def table(**fields):
    return parse_table(json.dumps(fields))


def test_topics_by_name_and_by_number():
    topics = [
        {"signal": "publish", "sub_signal": "FP", "request": "a.Ask", "answer": "a.Answer"},
        {"signal": 9, "sub_signal": 99, "push": "a.News"},
    ]
    assert table(topics=topics).messages == {
        Place(9, 16, REQUEST): "a.Ask",
        Place(9, 16, ANSWER): "a.Answer",
        Place(9, 99, PUSH): "a.News",
    }


def test_spellings():
    found = table(messages={"a.Ask": {"names": {"x_y": "why"}, "numbers": ["n"]}, "a.Answer": {}}).spellings
    assert found == {"a.Ask": Spelling({"x_y": "why"}, frozenset({"n"})), "a.Answer": Spelling({}, frozenset())}


def test_nothing_is_a_table_too():
    assert parse_table("{}") == ({}, {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "x",
        '{"topic": []}',
        '{"topics": 5}',
        '{"topics": [5]}',
        '{"topics": [{"signal": "PUBLISH"}]}',
        '{"topics": [{"signal": "NO_SUCH", "sub_signal": 1, "push": "a.B"}]}',
        '{"topics": [{"signal": "PUBLISH", "sub_signal": "NO_SUCH", "push": "a.B"}]}',
        '{"topics": [{"signal": "PUBLISH", "sub_signal": 128, "push": "a.B"}]}',
        '{"topics": [{"signal": "PUBLISH", "sub_signal": null, "push": "a.B"}]}',
        '{"topics": [{"signal": "PUSH", "sub_signal": 0, "push": "a.B"}]}',
        '{"messages": []}',
        '{"messages": {"a.B": 5}}',
        '{"messages": {"a.B": {"names": 5}}}',
        '{"messages": {"a.B": {"numbers": 5}}}',
    ],
)
def test_a_table_of_the_wrong_shape(text):
    with pytest.raises(SettingsError) as error:
        parse_table(text)
    assert error.value.key == "protobuf_dir"
