"""services/status/hops.py: from what each process noted to one story."""

from typing import Any

from services.status.hops import as_lines, joined

#: Both processes of host h started their clock at Unix second 1,000; the one of host g at 2,000, and g says so.
PUSH = {"id": "ab-0", "token": "alice", "bytes": 5, "request_id": ""}


def worker(clock: float, unix_s: float, *hops: list[Any], **more: str) -> dict[str, Any]:
    return {"clock": clock, "unix_us": int(unix_s * 1e6), "messages": [{**PUSH, **more, "hops": [*hops]}]}


def router(host: str, clock: float, *hops: list[Any]) -> dict[str, Any]:
    return {"router": 0, "host": host, "clock": clock, "messages": [{**PUSH, "hops": [*hops]}]}


def told(message: dict[str, Any]) -> list[tuple[int, str, str, Any]]:
    return [(hop["at"], hop["where"], hop["what"], hop["more"]) for hop in message["hops"]]


def test_one_host() -> None:
    asked = router("h", 60.0, [50.0, "received", ""], [50.0, "given", "h/0"], [50.004, "answered", "SENT"])
    said = worker(
        60.5,
        1060.5,
        [50.001, "received", ""],
        [50.002, "shown", 9],
        [50.002, "done", "SENT"],
        [51.0, "acknowledged", ""],
    )
    (message,) = joined([asked], {"h/0": said}, 0)
    at = 1_050_000_000
    assert told(message) == [
        (at, "router 0", "received by router", ""),
        (at, "router 0", "given to", "h/0"),
        (at + 1000, "h/0", "received", ""),
        (at + 2000, "h/0", "written as", 9),
        (at + 2000, "h/0", "done", "SENT"),
        (at + 4000, "router 0", "answered", "SENT"),
        (at + 1_000_000, "h/0", "acknowledged", ""),
    ]
    assert message["outcome"] == "SENT"
    assert list(as_lines(message, "noon"))[:3] == [
        "    ab-0 to alice: 5 bytes, at noon",
        "      +0.000 ms  router 0: received by router",
        "      +0.000 ms  router 0: given to h/0",
    ]


def test_two_hosts_have_two_clocks() -> None:
    asked = router("h", 60.0, [50.0, "received", ""])
    said = {
        "h/0": {"clock": 60.0, "unix_us": 1_060_000_000, "messages": []},
        "g/0": worker(7.0, 1057.0, [0.5, "received", ""], request_id="web-1"),
    }
    (message,) = joined([asked], said, 0)
    assert [(hop["at"], hop["where"]) for hop in message["hops"]] == [
        (1_050_000_000, "router 0"),
        (1_050_500_000, "g/0"),
    ]
    assert (message["request_id"], message["outcome"]) == ("web-1", None)


def test_a_router_by_itself_is_asked_now() -> None:
    (message,) = joined([router("r", 60.0, [59.0, "received", ""])], {}, 1_000_000_000)
    assert message["hops"][0]["at"] == 999_000_000


def test_the_last_outcome_counts_and_the_oldest_message_is_first() -> None:
    late = router("h", 60.0, [50.0, "received", ""], [50.1, "answered", "HELD"], [50.2, "settled", "STORED"])
    early = {**PUSH, "id": "cd-0", "hops": [[40.0, "received", ""]]}
    late["messages"].append(early)
    first, second = joined([late], {}, 60_000_000)
    assert (first["id"], second["id"], second["outcome"]) == ("cd-0", "ab-0", "STORED")
