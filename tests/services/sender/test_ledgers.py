import pytest

from services.sender.ledgers import Ledger
from services.sender.options import DEFAULT
from services.sender.policies import Policy
from services.sender.tickets import Push, Question
from shared.errors import SenderError
from shared.outcomes import Outcome
from shared.requests import STAT1

FAULT = SenderError("not_allowed", "no")


class Signal:
    def set(self) -> None: ...


def make(payload: bytes, watched: bool = False) -> Push:
    push = Push(None, 0.0, b"a", payload, DEFAULT)
    push.signal = Signal() if watched else None
    return push


def test_counts_what_is_open():
    ledger = Ledger(Policy(queue_pushes=2, queue_bytes=100))
    first, second = make(b"12"), make(b"345")
    ledger.enter(first)
    assert not ledger.is_full()
    ledger.enter(second)
    assert ledger.is_full()
    ledger.finish([(first, Outcome.SENT)])
    assert (ledger.pushes_open, ledger.bytes_open, ledger.pushes_answered) == (1, 3, 1)
    ledger.fail(second, FAULT)
    assert (ledger.pushes_open, ledger.bytes_open, ledger.pushes_answered) == (0, 0, 2)


def test_bytes_fill_it_too():
    ledger = Ledger(Policy(queue_bytes=3))
    ledger.enter(make(b"123"))
    assert ledger.is_full()


def test_tells_those_who_wait_and_nobody_else():
    ledger = Ledger(Policy())
    watched, unwatched, failed, question = make(b"", True), make(b""), make(b"", True), Question(None, 0.0, STAT1, [])
    question.callbacks = [print]
    ledger.finish([(watched, Outcome.SENT), (unwatched, Outcome.OFFLINE)])
    ledger.fail(failed, FAULT)
    ledger.answer(question, value={})
    assert ledger.take_answered() == [watched, failed, question]
    assert ledger.take_answered() == []
    assert [watched.result(), unwatched.result(), question.result()] == [Outcome.SENT, Outcome.OFFLINE, {}]
    with pytest.raises(SenderError, match="not_allowed: no"):
        failed.result()


def test_payloads_are_let_go():
    ledger, push = Ledger(Policy()), make(b"x" * 1000)
    ledger.enter(push)
    ledger.finish([(push, Outcome.SENT)])
    assert push.payload == b""
