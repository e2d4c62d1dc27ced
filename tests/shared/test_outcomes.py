from shared.outcomes import FINAL, RETRYABLE, Outcome


def test_numbers_are_those_of_the_sender_protocol():
    assert [outcome.name for outcome in sorted(Outcome)] == [
        "SENT",
        "ACKED",
        "STORED",
        "OFFLINE",
        "EXPIRED",
        "OVERLOADED",
        "TOO_LARGE",
        "UNAVAILABLE",
        "REFUSED",
        "BUFFERED",
        "UNKNOWN",
    ]
    assert sorted(Outcome) == list(range(11))


def test_what_is_tried_again_and_what_is_final():
    assert {int(outcome) for outcome in RETRYABLE} == {5, 7, 10}
    assert {int(outcome) for outcome in FINAL} == {0, 1, 2, 3, 4, 6, 8}
    assert not RETRYABLE & FINAL
