import pytest

from services.sender.policies import Policy
from shared.outcomes import Outcome


def test_back_off_doubles_up_to_its_limit():
    policy = Policy(backoff_s=0.1, backoff_max_s=1)
    assert [policy.backoff(attempt) for attempt in (1, 2, 3, 4, 5, 10_000)] == [0.1, 0.2, 0.4, 0.8, 1, 1]


@pytest.mark.parametrize(
    "wrong", [{"window": 0}, {"retries": -1}, {"give_up_s": 0}, {"queue_bytes": 0}, {"backoff_s": float("nan")}]
)
def test_settings_that_cannot_be(wrong: dict[str, float]):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Policy(**wrong)  # type: ignore[arg-type]


def test_only_what_a_router_tries_again_can_be_repeated():
    Policy(retry_outcomes=(Outcome.OVERLOADED,))
    with pytest.raises(ValueError, match="retry_outcomes"):
        Policy(retry_outcomes=(Outcome.OFFLINE,))
