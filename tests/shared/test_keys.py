"""Texts of CURVE key files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SettingsError
from shared.keys import (
    SCOPES,
    KeyPair,
    format_key_pair,
    format_permitted,
    is_key,
    mode_fault,
    parse_key_pair,
    parse_permitted,
)

PAIR = KeyPair("a" * 40, "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs")

key_texts = st.text("0123456789abcXYZ.-:+=^!/*?&<>()[]{}@%$#", min_size=40, max_size=40)


@given(st.builds(KeyPair, key_texts, key_texts))
def test_key_pairs_there_and_back(pair: KeyPair) -> None:
    assert parse_key_pair("s", format_key_pair(pair)) == pair


@given(st.dictionaries(key_texts, st.frozensets(st.sampled_from(sorted(SCOPES)), min_size=1), min_size=1))
def test_permitted_keys_there_and_back(permitted: dict[str, frozenset[str]]) -> None:
    assert parse_permitted("s", format_permitted(permitted)) == permitted


@pytest.mark.parametrize("text", ["", "a" * 39, "a" * 41, "a" * 39 + " ", "a" * 39 + '"', "ä" * 40, None, 1, b"a" * 40])
def test_what_is_no_key(text: object) -> None:
    assert not is_key(text)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[" * 100_000, '{"public":"x","secret":"y"}', f'{{"public":"{"a" * 40}"}}']
)
def test_bad_key_files_name_the_setting_and_show_no_secret(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_key_pair("curve_server_key_file", text)
    assert str(caught.value).startswith("curve_server_key_file: ")


def test_a_secret_is_never_shown() -> None:
    text = format_key_pair(PAIR._replace(public="short"))
    with pytest.raises(SettingsError) as caught:
        parse_key_pair("s", text)
    assert PAIR.secret not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{}", "permits nobody"),
        ("[]", "not a JSON object"),
        ("{", "not JSON"),
        ('{"x": ["push"]}', "'x' is not a key"),
        (f'{{"{PAIR.public}": []}}', "are not a list of admin, push"),
        (f'{{"{PAIR.public}": "push"}}', "are not a list of"),
        (f'{{"{PAIR.public}": ["puhs"]}}', "are not a list of"),
        (f'{{"{PAIR.public}": [1]}}', "are not a list of"),
    ],
)
def test_bad_lists_of_permitted_keys(text: str, fault: str) -> None:
    with pytest.raises(SettingsError, match=fault.replace("[", "\\[")):
        parse_permitted("s", text)


@pytest.mark.parametrize(("mode", "good"), [(0o100600, True), (0o100400, True), (0o100640, False), (0o100604, False)])
def test_key_files_are_private(mode: int, good: bool) -> None:
    assert (mode_fault(mode) is None) is good
