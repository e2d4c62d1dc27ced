import re
from pathlib import Path

import gateway
from gateway.closing import close_counter
from gateway.counters import new_counters, outcome_counter
from shared.outcomes import Outcome
from shared.reasons import CloseReason


def test_every_counter_is_there_from_the_start():
    counters = new_counters()
    assert set(counters.values()) == {0}
    for reason in CloseReason:
        assert close_counter(reason) in counters
    for outcome in Outcome:
        assert outcome_counter(outcome) in counters


def test_two_workers_do_not_share_them():
    first, second = new_counters(), new_counters()
    first["accepted"] += 1
    assert second["accepted"] == 0


def test_every_counter_that_the_source_names_exists_and_every_one_is_used():
    source = "".join(path.read_text() for path in Path(gateway.__file__).parent.glob("*.py"))
    named = set(re.findall(r'counters\["(\w+)"\]', source))
    counters = new_counters().keys()
    assert named <= counters
    unused = counters - named - set(map(outcome_counter, Outcome)) - set(map(close_counter, CloseReason))
    assert unused == set()
