"""The worker's counters, all there from the start, so that zeros show."""

from gateway.closing import close_counter
from shared.outcomes import Outcome
from shared.reasons import CloseReason

_EVENTS = (
    "accepted",
    "accept_pauses",
    "throttled",
    "handed_over",
    "taken_over",
    "taken_again",
    "moves_timed_out",
    "pushes_held",
    "pushes_stale",
    "clients_claimed",
    "held_overflows",
    "copies_dropped",
    "recent_dropped",
    "stored",
    "pushes_replayed",
    "replays_refused",
    "acks_unknown",
    "store_overflows",
    "cache_failures",
    "drops_lost",
    "batches",
    "fan_outs",
    "calls_made",
    "calls_timed_out",
    "calls_lost",
    "calls_repeated",
    "calls_refused",
    "calls_late",
    "group_asks",
    "group_ask_failures",
    "members_unnoted",
    "members_told_again",
    "presence_reports",
    "presence_failures",
    "presence_overflows",
    "bus_drops",
    "bus_errors",
    "log_lines_dropped",
    "internal_errors",
)


def outcome_counter(outcome: Outcome) -> str:
    """Name of the counter of an outcome."""
    return f"pushes_{outcome.name.lower()}"


def new_counters() -> dict[str, int]:
    """Every counter of a worker, at zero."""
    names = [*_EVENTS, *map(outcome_counter, Outcome), *map(close_counter, CloseReason)]
    return dict.fromkeys(names, 0)
