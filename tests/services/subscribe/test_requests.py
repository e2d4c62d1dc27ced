import msgpack
import pytest

from services.library.calls import Refusal
from services.subscribe.requests import SubscribeRequest, check_owner, parse_request

LOGIN = {"uid": "u", "tokens": ["t"]}


def fields(**more: object) -> dict[str, object]:
    return {"token": None, "uid": None, "login": None, "address": "1.2.3.4:5", "protocol": "v2"} | more


@pytest.mark.parametrize(
    ("said", "anybody", "uid", "logged_in"),
    [
        (fields(), False, None, False),
        (fields(login=LOGIN), False, "u", True),
        (fields(login=LOGIN, uid="other"), True, "u", True),
        (fields(uid="v"), True, "v", False),
        (fields(uid="v"), False, None, False),
    ],
)
def test_whose_device_it_will_be(said, anybody, uid, logged_in):
    assert parse_request(said, anybody) == SubscribeRequest(None, uid, logged_in, "1.2.3.4:5", "v2")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (fields(token=""), "token is empty"),
        (fields(token=7), "token is not a string"),
        (fields(token="x" * 256), "token of 256 bytes exceeds the limit of 255"),
        (fields(login={"uid": "\n"}), "uid contains control characters"),
    ],
)
def test_malformed_requests_are_refused(said, message):
    with pytest.raises(Refusal) as caught:
        parse_request(said, anybody=True)
    assert msgpack.unpackb(caught.value.body) == {"status": 400, "message": message}


@pytest.mark.parametrize(
    ("login", "owner", "may"),
    [(None, None, True), (None, "u", False), (LOGIN, "u", True), (LOGIN, "v", False), (LOGIN, None, True)],
)
def test_a_token_of_a_login_is_that_user_s(login, owner, may):
    request = parse_request(fields(token="t", login=login), anybody=False)
    if may:
        check_owner(request, owner)
        return
    with pytest.raises(Refusal) as caught:
        check_owner(request, owner)
    assert msgpack.unpackb(caught.value.body)["status"] == 403
