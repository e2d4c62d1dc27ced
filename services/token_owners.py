"""What must go when a token passes from one user to another, and what is left of a login that has ended."""

from collections.abc import Callable

from services.catalogue import chosen
from services.library import PublishError, Service
from shared.cached_messages import Clear, Cleared, decode_results, encode_operations, topic_of
from shared.errors import BusError
from shared.settings import Settings

#: Seconds. Whoever waits for CONNECT or SUB waits for this too, and no longer than call_timeout_ms.
_TIMEOUT_S = 2.0

#: Takes out all that is stored for a token; waits. False: it may still be there.
Clearing = Callable[[str], bool]


def clearing(service: Service, settings: Settings) -> Clearing:
    """By the message cache. Where none is to run, nothing is stored."""
    caches, runs_here = settings.message_caches, chosen(settings)["message-cache"] > 0

    def clear(token: str) -> bool:
        topic = topic_of(token.encode(), caches)
        # With the key of the workers' calls, so that it does not overtake what they have stored.
        key = str(topic.sub_signal)
        body = encode_operations([Clear(token.encode())])
        code, answer = service.ask(topic, body, key=key, timeout_s=_TIMEOUT_S, idempotent=True)
        if code == PublishError.NOT_IMPLEMENTED:
            return not runs_here
        return code == PublishError.OK and _is_cleared(answer)

    return clear


def _is_cleared(answer: bytes) -> bool:
    try:
        return all(isinstance(result, Cleared) for result in decode_results(answer))
    except BusError:
        return False


def ended_login(uid: str, token: str) -> str:
    """Key in `codes` of a login that was ended before its time, so that its credential is refused until then."""
    return f"ended:{len(uid)}:{uid}:{token}"
