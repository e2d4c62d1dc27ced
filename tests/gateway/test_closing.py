import logging
import time

import pytest

from gateway.closing import ConnectionLogs, close_counter, count_close
from gateway.connections import Connection, Protocol
from gateway.counters import new_counters
from shared import log_limits
from shared.log_limits import LineLimit
from shared.reasons import CloseReason

ORDINARY = {"peer_closed", "io_error", "client_disconnect", "http_done", "shutdown", "replaced"}


@pytest.mark.parametrize("reason", list(CloseReason))
def test_a_close_is_counted_by_its_reason(reason):
    counters = new_counters()
    count_close(counters, reason)
    assert counters == new_counters() | {f"close_{reason.value}": 1}
    assert close_counter(reason) == f"close_{reason.value}"


@pytest.fixture
def logs():
    return ConnectionLogs()


@pytest.fixture(params=["all", "unusual"])
def which(request, logs):
    """Setting `log_connections`."""
    logs.choose(request.param)
    return request.param


@pytest.fixture
def bound():
    connection = Connection(5, "1.2.3.4:5")
    connection.protocol, connection.token, connection.uid = Protocol.V2, "名".encode(), "u"
    connection.binding = time.time_ns() // 1_000_000 - 2500
    return connection


@pytest.mark.parametrize("reason", list(CloseReason))
def test_one_line_for_a_close(reason, which, logs, bound, caplog):
    bound.output, bound.unacknowledged = bytearray(b"abc"), {1, 2}
    with caplog.at_level(logging.DEBUG):
        logs.closed(bound, reason, "why")
    (record,) = caplog.records
    assert record.levelname == ("DEBUG" if reason in ORDINARY and which == "unusual" else "INFO")
    line = record.getMessage()
    assert line.startswith(f"closed address=1.2.3.4:5 reason={reason.value} protocol=v2 token=名 seconds=")
    assert line.endswith(" unsent_bytes=3 unacknowledged=2 detail=why")
    assert float(line.partition("seconds=")[2].split()[0]) >= 2.5


@pytest.mark.parametrize("protocol", list(Protocol))
def test_one_line_for_an_open(protocol, which, logs, bound, caplog):
    bound.protocol = protocol
    with caplog.at_level(logging.DEBUG):
        logs.opened(bound)
    (record,) = caplog.records
    assert record.levelname == ("INFO" if which == "all" else "DEBUG")
    assert record.getMessage() == f"opened address=1.2.3.4:5 protocol={protocol.name.lower()} token=名 uid=u"


def test_a_look_whether_the_port_answers_costs_no_line(which, logs, caplog):
    with caplog.at_level(logging.INFO):
        logs.closed(Connection(5, "a"), CloseReason.PEER_CLOSED, "")
        logs.closed(Connection(5, "a"), CloseReason.HELLO_TIMEOUT, "")
    assert [record.getMessage() for record in caplog.records] == [
        "closed address=a reason=hello_timeout protocol=unknown token=-"
    ]


def test_tokens_and_addresses_write_no_lines_of_their_own(logs, bound, caplog):
    bound.token, bound.address = "a reason=kicked\u2028b".encode(), "1.2.3.4:5\nclosed"
    with caplog.at_level(logging.DEBUG):
        logs.closed(bound, CloseReason.KICKED, "x\x1b[2J")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.isprintable()
    assert 'address="1.2.3.4:5\\x0aclosed" reason=kicked' in line
    assert 'token="a reason=kicked\\u2028b"' in line


def test_lines_a_second_are_limited_and_those_left_out_counted(monkeypatch, caplog):
    now = [7.0]
    monkeypatch.setattr(log_limits.time, "monotonic", lambda: now[0])
    limit = LineLimit("things", 3)
    assert [limit.allows() for _ in range(5)] == [True, True, True, False, False]
    now[0] = 8.5
    with caplog.at_level(logging.INFO):
        assert limit.allows()
    assert caplog.messages == ["2 lines about things were left out"]
    assert (limit.take_left_out(), limit.take_left_out()) == (2, 0)


def test_lines_are_written_together_each_with_its_own_time(logs, bound, caplog):
    asked = []
    logs.lines.later = asked.append
    with caplog.at_level(logging.DEBUG):
        logs.opened(bound)
        before = time.time()
        logs.closed(bound, CloseReason.KICKED, "")
        assert (caplog.messages, len(asked)) == ([], 1)
        while time.time() < before + 0.01:
            pass
        asked.pop()()
        assert [text.partition(" ")[0] for text in caplog.messages] == ["opened", "closed"]
        assert all(record.created <= before + 0.005 for record in caplog.records)
        logs.opened(bound)
        assert len(asked) == 1
        asked.pop()()
