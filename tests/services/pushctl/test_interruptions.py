"""services/pushctl/interruptions.py."""

import os
import signal

import pytest

from services.pushctl.interruptions import SIGNALS, Interruptions


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_told(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    told: list[bool] = []
    with Interruptions(lambda: told.append(True)) as interruptions:
        assert not interruptions.came
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert interruptions.came
    assert told == [True, True]
    assert signal.getsignal(number) == before
