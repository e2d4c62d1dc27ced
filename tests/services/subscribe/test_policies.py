import pytest

from services.subscribe.policies import everybody, load_policy
from services.subscribe.requests import SubscribeRequest
from shared.errors import SettingsError
from shared.settings import load


def nobody(request: SubscribeRequest) -> str:
    return "nobody may"


def policy_of(said: str):
    return load_policy(load({"PUSH_SUBSCRIBE_POLICY": said}))


def test_everybody_by_default():
    assert load_policy(load({})) is everybody
    assert everybody(SubscribeRequest(None, None, False, "", "v2")) is None


def test_a_function_of_the_deployment():
    policy = policy_of(f"{__name__}:nobody")
    assert policy(SubscribeRequest(None, None, False, "", "v2")) == "nobody may"


@pytest.mark.parametrize("said", ["closed", ":f", "m:", "no.such.module:f", "os:no_such", "os:sep"])
def test_anything_else_is_refused_at_start(said):
    with pytest.raises(SettingsError, match="subscribe_policy"):
        policy_of(said)
