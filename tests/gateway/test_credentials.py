import base64
import hashlib
import hmac
import json
from contextlib import suppress

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from gateway.credentials import Credential, Verifier, load_keys
from shared.errors import CredentialError, SettingsError

NOW = 1_700_000_000.5
SECRET = "0123456789abcdef0123456789abcdef"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
KEYS = [{"kid": "h", "alg": "HS256", "key": SECRET}, {"kid": "e", "alg": "EdDSA", "key": PEM}]
CLAIMS = {"sub": "ann", "aud": "push-gateway", "exp": 1_700_000_001, "token": "alice"}
VERIFIER = Verifier(load_keys(json.dumps(KEYS)), "push-gateway")


def signed(kid="h", header=None, **changes):
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not ...}
    key, algorithm = (SECRET, "HS256") if kid == "h" else (PRIVATE, "EdDSA")
    payload = json.dumps(claims).encode()
    return jwt.api_jws.encode(payload, key, algorithm=algorithm, headers={"kid": kid, **(header or {})})


def unsigned(header, claims=CLAIMS, signature=b""):
    parts = json.dumps(header).encode(), json.dumps(claims).encode(), signature
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def refusal(credential, now=NOW):
    with pytest.raises(CredentialError) as caught:
        VERIFIER.verify(credential, now)
    return str(caught.value)


@pytest.mark.parametrize("kid", ["h", "e"])
def test_a_good_credential(kid):
    assert VERIFIER.verify(signed(kid), NOW) == Credential("ann", frozenset({b"alice"}), 1_700_000_001)


def test_tokens_of_both_claims():
    assert VERIFIER.verify(signed(tokens=["bob", "用户-1"]), NOW).tokens == {b"alice", b"bob", "用户-1".encode()}
    assert VERIFIER.verify(signed(token=..., tokens=["bob"]), NOW).tokens == {b"bob"}
    assert VERIFIER.verify(signed(token=...), NOW).tokens == frozenset()


def test_one_audience_of_several():
    assert VERIFIER.verify(signed(aud=["other", "push-gateway"]), NOW).uid == "ann"


def test_the_time_is_the_one_passed_in():
    assert VERIFIER.verify(signed(exp=2, nbf=1), 1.9).expires == 2
    assert refusal(signed(exp=2), 2.0) == "credential has expired"
    assert refusal(signed(nbf=1_700_000_001)) == "credential is not valid yet"
    assert VERIFIER.verify(signed(iat=1_900_000_000), NOW).uid == "ann"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sub": ...}, "credential has no sub"),
        ({"exp": ...}, "credential has no exp"),
        ({"aud": ...}, "credential has no aud"),
        ({"aud": "other"}, "credential is for another audience"),
        ({"aud": []}, "credential has no aud"),
        ({"aud": 7}, "credential is for another audience"),
        ({"exp": 1_700_000_000}, "credential has expired"),
        ({"exp": "tomorrow"}, "credential's exp is not a time"),
        ({"exp": True}, "credential's exp is not a time"),
        ({"exp": 1e300}, "credential's exp is not a time"),
        ({"exp": float("nan")}, "credential's exp is not a time"),
        ({"nbf": []}, "credential's nbf is not a time"),
        ({"token": ""}, "credential's token is empty"),
        ({"token": 7}, "credential's token is not a string"),
        ({"token": "x" * 256}, "credential's token of 256 bytes exceeds the limit of 255"),
        ({"tokens": "bob"}, "credential's tokens are not a list"),
        ({"tokens": ["bob", "a\nb"]}, "credential's token contains control characters"),
    ],
)
def test_claims_that_do_not_do(changes, said):
    assert refusal(signed(**changes)) == said


@pytest.mark.parametrize("sub", ["", 7, "x" * 256, "a\x00", None])
def test_a_sub_that_is_no_uid(sub):
    assert refusal(signed(sub=sub)).startswith("credential")


def test_the_key_decides_the_algorithm():
    assert refusal(unsigned({"alg": "none", "kid": "h"})) == "credential is not valid"
    assert refusal(unsigned({"alg": "none", "kid": "e"})) == "credential is not valid"
    assert refusal(signed("e", header={"kid": "h"})) == "credential is not valid"
    assert refusal(signed("h", header={"kid": "e"})) == "credential is not valid"
    assert refusal(unsigned({"alg": "HS256", "kid": "e"}, signature=hs256_with_public_key())) == (
        "credential is not valid"
    )


def hs256_with_public_key():
    """The classic confusion: the public key, which everybody knows, used as an HMAC secret."""
    signing_input = unsigned({"alg": "HS256", "kid": "e"}).rsplit(".", 1)[0]
    return hmac.digest(PEM.encode(), signing_input.encode(), hashlib.sha256)


@pytest.mark.parametrize("kid", ["x", "", 7, None, ["h"]])
def test_a_key_that_is_not_known(kid):
    credential = unsigned({"alg": "HS256", "kid": kid} if kid is not None else {"alg": "HS256"})
    assert refusal(credential) in ("credential names no known key", "credential is not valid")


def test_a_changed_credential():
    head, payload, signature = signed().split(".")
    other = base64.urlsafe_b64encode(json.dumps({**CLAIMS, "sub": "eve"}).encode()).rstrip(b"=").decode()
    assert refusal(f"{head}.{other}.{signature}") == "credential is not valid"
    assert refusal(f"{head}.{payload}.{signature[:-2]}") == "credential is not valid"


@pytest.mark.parametrize("credential", ["", ".", "..", "a.b.c", "é", "\ud800", "x" * 16_384])
def test_text_that_is_no_credential(credential):
    assert refusal(credential) == "credential is not valid"


def test_a_credential_too_long_is_not_looked_at():
    assert refusal("x" * 16_385) == "credential of 16385 characters exceeds 16384"


def test_deep_nesting():
    nested = base64.urlsafe_b64encode(b"[" * 9000).decode()
    assert refusal(f"{nested}.e30.") == "credential is not valid"


def test_a_refusal_repeats_nothing_of_the_credential():
    assert "sekrit" not in refusal(signed(sub="sekrit" * 100))
    assert "sekrit" not in refusal(signed(aud="sekrit"))


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=80))
def test_random_text_raises_only_what_is_documented(text):
    with suppress(CredentialError):
        VERIFIER.verify(text, NOW)


claim_names = st.sampled_from(["sub", "aud", "exp", "nbf", "token", "tokens", "iat", "jti", "iss"])
claim_values = st.none() | st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=3)


@given(st.dictionaries(claim_names, claim_values))
def test_random_claims_raise_only_what_is_documented(claims):
    with suppress(CredentialError):
        VERIFIER.verify(signed(**claims), NOW)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "not a list of at least one key"),
        ({}, "not a list of at least one key"),
        ([7], "key 0 does not have kid, alg and key"),
        ([{"kid": "a", "alg": "HS256"}], "key 0 does not have kid, alg and key"),
        ([{**KEYS[0], "use": "sig"}], "key 0 does not have kid, alg and key"),
        ([KEYS[0], {**KEYS[0], "kid": 7}], "key 1: kid, alg and key must be text"),
        ([{**KEYS[0], "kid": ""}], "key 0: kid, alg and key must be text"),
        ([{**KEYS[0], "alg": "none"}], "key 0: alg 'none' is neither HS256 nor EdDSA"),
        ([{**KEYS[0], "alg": "RS256"}], "key 0: alg 'RS256' is neither HS256 nor EdDSA"),
        ([{**KEYS[0], "key": "x" * 31}], "key 0: HS256 key of 31 bytes has less than 32"),
        ([{**KEYS[1], "key": "x" * 64}], "key 0: EdDSA key is not a public key in PEM"),
        ([KEYS[0], KEYS[0]], "two keys have the same kid"),
    ],
)
def test_bad_key_files(entries, said):
    with pytest.raises(SettingsError) as caught:
        load_keys(json.dumps(entries))
    assert str(caught.value) == f"auth_keys_file: {said}"


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_key_files_that_are_not_json(text):
    with pytest.raises(SettingsError, match="auth_keys_file: not JSON"):
        load_keys(text)


def test_a_key_of_another_curve():
    other = X25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(SettingsError, match="not an Ed25519 public key"):
        load_keys(json.dumps([{"kid": "x", "alg": "EdDSA", "key": other.decode()}]))


def test_good_key_files():
    assert load_keys(json.dumps(KEYS)) == KEYS
