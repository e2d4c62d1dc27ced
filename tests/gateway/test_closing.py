import logging

import pytest

from gateway import closing
from gateway.closing import LineLimit, close_counter, count_close, log_close
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


def test_lines_a_second_are_limited(monkeypatch):
    now = [7.0]
    monkeypatch.setattr(closing.time, "monotonic", lambda: now[0])
    limit = LineLimit(3)
    lines = [logging.makeLogRecord({"msg": f"closed {number}"}) for number in range(7)]
    assert [limit.filter(line) for line in lines[:5]] == [True, True, True, False, False]
    now[0] = 8.5
    assert [limit.filter(line) for line in lines[5:]] == [True, True]
    assert [line.msg for line in lines[5:]] == ["(2 closes were not logged) closed 5", "closed 6"]
