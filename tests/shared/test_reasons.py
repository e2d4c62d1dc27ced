import pytest

from gateway.frames import encode_close, parse_close
from shared.reasons import WEBSOCKET_CODES, CloseReason


@pytest.mark.parametrize("reason", CloseReason)
def test_every_reason_has_a_close_code_that_may_be_sent(reason):
    assert parse_close(encode_close(WEBSOCKET_CODES[reason], reason)) == (WEBSOCKET_CODES[reason], reason.value)


def test_names_are_what_is_logged_and_counted():
    assert all(reason.value == reason.name.lower() for reason in CloseReason)
    assert f"{CloseReason.BAD_PROTOCOL}" == "bad_protocol"
