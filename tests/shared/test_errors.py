import pytest

from shared import errors
from shared.reasons import CloseReason


def test_one_tree():
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert all(issubclass(value, errors.PushError) for value in classes)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.ProtocolError("x"), CloseReason.BAD_PROTOCOL),
        (errors.BodyError("x"), CloseReason.BAD_BODY),
        (errors.TooLargeError("packet body", 2097152, 1048576), CloseReason.TOO_LARGE),
    ],
)
def test_a_remote_error_costs_one_reason(error, reason):
    assert error.reason is reason


def test_texts_have_numbers_and_keys():
    assert str(errors.TooLargeError("packet body", 2097152, 1048576)) == (
        "packet body of 2097152 bytes exceeds the limit of 1048576"
    )
    assert str(errors.SettingsError("workers", "0 is not from 1 to 1024")) == "workers: 0 is not from 1 to 1024"
    assert str(errors.RequestError("malformed", "no targets")) == "no targets"
