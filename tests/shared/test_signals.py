from shared.signals import V0_SIGNALS, PublishError, Signal, SubSignal


def test_signal_numbers():
    names = "NONE SUB AUTH PING PUSH CONTACT CONNECT CONNECT_ACK DISCONNECT PUBLISH PUB_ACK"
    assert [signal.name for signal in sorted(Signal)] == names.split(" ")
    assert sorted(Signal) == list(range(11))


def test_topic_numbers_begin_at_9_without_a_gap():
    topics = "US FAR UPUI FRN FRUS FRP FHR FP MN MS MP FN GC GPGI GPGM GAM GKM GQ GMI MMI GQNUT MR RMN LRM GD"
    assert [SubSignal(9 + at).name for at in range(25)] == topics.split(" ")
    assert max(SubSignal) == 33


def test_version_0_signals():
    assert {int(signal) for signal in V0_SIGNALS} == {1, 2, 3, 4, 5, 8}


def test_publish_error_codes():
    assert [int(code) for code in PublishError] == [0, 0xF0, 0xF1, 0xF2, 0xF3, 0xF4]
