import pytest

from services.library.topics import Entry, Topics
from shared.calls import Internal, Topic, internal
from shared.signals import Signal, SubSignal


def test_topics_are_told_as_numbers():
    topics = Topics()
    topics.add(Entry(Topic(Signal.PUBLISH, SubSignal.FP), True, lambda call: b""))
    topics.add(Entry(internal(Internal.GROUPS), False, lambda call: b""))
    assert topics.told() == [
        {"signal": 9, "sub_signal": 16, "idempotent": True},
        {"signal": 0, "sub_signal": 6, "idempotent": False},
    ]
    assert len(topics) == 2
    assert topics.find(Topic(9, 17)) is None


@pytest.mark.parametrize("topic", [(9, 16), (9, 128), (11, 0), (-1, 0), (9, "FP")])
def test_a_topic_is_one_and_has_one_handler(topic):
    topics = Topics()
    topics.add(Entry(Topic(9, 16), True, lambda call: b""))
    with pytest.raises(ValueError, match=r"topic|handler"):
        topics.add(Entry(Topic(*topic), True, lambda call: b""))
