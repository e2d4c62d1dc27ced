"""Names of sub_signals (docs/client-protocol.md, section Numbers). Pure."""

from __future__ import annotations

_FIRST = 9
_NAMES = (
    *("US", "FAR", "UPUI", "FRN", "FRUS", "FRP", "FHR", "FP", "MN", "MS", "MP", "FN", "GC", "GPGI", "GPGM"),
    *("GAM", "GKM", "GQ", "GMI", "MMI", "GQNUT", "MR", "RMN", "LRM", "GD"),
)
_NUMBERS = {name: number for number, name in enumerate(_NAMES, _FIRST)} | {"NONE": 0}


def topic_number(topic: str | int) -> int:
    """0 to 127, of a name in any case or a number. Raises ValueError."""
    if isinstance(topic, int):
        if not 0 <= topic <= 127:
            raise ValueError(f"topic {topic} is not between 0 and 127")
        return topic
    try:
        return _NUMBERS[topic.upper()]
    except KeyError:
        raise ValueError(f"there is no topic {topic}; those without a name go by number") from None


def topic_name(number: int) -> str | int:
    """The name where there is one."""
    if not number:
        return "NONE"
    index = number - _FIRST
    return _NAMES[index] if 0 <= index < len(_NAMES) else number
