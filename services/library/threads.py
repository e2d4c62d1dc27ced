"""The threads that run handlers. What a handler raises costs its call, a traceback in the log and a count."""

import logging
import threading
from collections.abc import Sequence
from time import monotonic

from services.library.agendas import Work
from services.library.calls import Refusal, Returned, returned
from services.library.loops import Loop

logger = logging.getLogger(__name__)


def start_threads(loop: Loop, count: int) -> None:
    """They end with the loop, or when they are done with what they have by then."""
    for number in range(count):
        threading.Thread(target=_run, args=(loop,), name=f"push-handler-{number}", daemon=True).start()


def _run(loop: Loop) -> None:
    while work := _next(loop):
        answers = answers_to(work)
        with loop.lock:
            loop.protocol.finish(work, answers)
        loop.wake()


def _next(loop: Loop) -> Work | None:
    """Waits for work; None: it is over."""
    with loop.lock:
        while not loop.ended:
            if work := loop.protocol.take(monotonic()):
                return work
            loop.work.wait()
    return None


def answers_to(work: Work) -> Sequence[Returned | None]:
    """One for each job; None where the handler failed."""
    try:
        outcomes = _outcomes(work)
    except Refusal as refused:
        outcomes = [refused] * len(work.jobs)
    except Exception:
        logger.exception("the handler of %s has failed", work.entry.topic)
        return [None] * len(work.jobs)
    answers = [returned(outcome) for outcome in outcomes]
    if None in answers:
        logger.error("the handler of %s returned what is no answer", work.entry.topic)
    return answers


def _outcomes(work: Work) -> Sequence[object]:
    entry, calls = work.entry, [job.call for job in work.jobs]
    if entry.batch_handler is None:
        assert entry.handler is not None
        return [entry.handler(calls[0])]
    outcomes = entry.batch_handler(calls)
    if len(outcomes) != len(calls):
        raise ValueError(f"{len(outcomes)} answers to {len(calls)} calls")
    return outcomes
