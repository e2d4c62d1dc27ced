"""Signals and sub-signals of the client protocol (docs/client-protocol.md, section Numbers)."""

from enum import IntEnum


class Signal(IntEnum):
    NONE = 0
    SUB = 1
    AUTH = 2
    PING = 3
    PUSH = 4
    CONTACT = 5
    CONNECT = 6
    CONNECT_ACK = 7
    DISCONNECT = 8
    PUBLISH = 9
    PUB_ACK = 10


class SubSignal(IntEnum):
    """1-8 answer a CONNECT; 9-33 are topics that the gateway forwards and does not understand."""

    NONE = 0
    CONNECTION_ACCEPTED = 1
    CONNECTION_REFUSED_UNACCEPTABLE_PROTOCOL_VERSION = 2
    CONNECTION_REFUSED_IDENTIFIER_REJECTED = 3
    CONNECTION_REFUSED_SERVER_UNAVAILABLE = 4
    CONNECTION_REFUSED_BAD_USER_NAME_OR_PASSWORD = 5
    CONNECTION_REFUSED_NOT_AUTHORIZED = 6
    CONNECTION_REFUSED_UNEXPECT_NODE = 7
    CONNECTION_REFUSED_SESSION_NOT_EXIST = 8
    US = 9
    FAR = 10
    UPUI = 11
    FRN = 12
    FRUS = 13
    FRP = 14
    FHR = 15
    FP = 16
    MN = 17
    MS = 18
    MP = 19
    FN = 20
    GC = 21
    GPGI = 22
    GPGM = 23
    GAM = 24
    GKM = 25
    GQ = 26
    GMI = 27
    MMI = 28
    GQNUT = 29
    MR = 30
    RMN = 31
    LRM = 32
    GD = 33


#: Sub-signals are 7-bit numbers; those above 33 have no name and are forwarded by number.
SUB_SIGNAL_MAX = 127

#: Version 0 has neither sub_signal nor message_id, so it knows these only.
V0_SIGNALS = frozenset({Signal.SUB, Signal.AUTH, Signal.PING, Signal.PUSH, Signal.CONTACT, Signal.DISCONNECT})


class PublishError(IntEnum):
    """First byte of a PUB_ACK that answers a PUBLISH."""

    OK = 0
    NOT_IMPLEMENTED = 0xF0
    TIMED_OUT = 0xF1
    NOT_BOUND = 0xF2
    NOBODY_KNOWS = 0xF3
    QUEUE_FULL = 0xF4
