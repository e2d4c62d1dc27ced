import logging

import pytest

from gateway.closing import close_counter, count_close, log_close
from gateway.connections import Connection, Protocol
from gateway.counters import new_counters
from shared.reasons import CloseReason

ORDINARY = {"peer_closed", "io_error", "client_disconnect", "http_done", "shutdown", "replaced"}


@pytest.mark.parametrize("reason", list(CloseReason))
def test_a_close_is_counted_by_its_reason(reason):
    counters = new_counters()
    count_close(counters, reason)
    assert counters == new_counters() | {f"close_{reason.value}": 1}
    assert close_counter(reason) == f"close_{reason.value}"


@pytest.mark.parametrize("reason", list(CloseReason))
@pytest.mark.parametrize("protocol", list(Protocol))
def test_one_line_which_is_info_only_out_of_the_ordinary(reason, protocol, caplog):
    connection = Connection(5, "1.2.3.4:5")
    connection.protocol, connection.token = protocol, "名".encode()
    with caplog.at_level(logging.DEBUG):
        log_close(connection, reason, "why")
    (record,) = caplog.records
    assert record.levelname == ("DEBUG" if reason in ORDINARY else "INFO")
    line = record.getMessage()
    assert "\n" not in line
    for part in ("closed 1.2.3.4:5", f"reason={reason.value}", f"protocol={protocol.name.lower()}", "token=名", "why"):
        assert part in line


def test_one_without_a_token(caplog):
    with caplog.at_level(logging.DEBUG):
        log_close(Connection(5, "a"), CloseReason.HELLO_TIMEOUT, "")
    assert "token=-" in caplog.text
