"""What the router counts. Registered at start, so that zeros show."""

from shared.outcomes import Outcome

Counters = dict[str, int]

#: Codes of FAIL1 (docs/sender-protocol.md, section Failures).
FAIL_CODES = (
    "malformed",
    "unknown_command",
    "bad_options",
    "too_many_targets",
    "too_large",
    "not_supported",
    "hello_needed",
    "id_reused",
    "overloaded",
    "not_allowed",
    "unavailable",
    "internal_error",
)

_NAMES = (
    "requests",  # PUSH1, PUSH2, FIND1, KICK1, STAT1 and EXPLAIN1 taken in
    "pushes",  # targets of the push requests among them
    "answers",  # DONE1, INFO1 and FAIL1 given out
    "answers_dropped",  # the sender was gone or does not read
    "batches",  # PUSHES1 given out
    "fan_outs",  # pushes to all
    "calls",  # CALL1 given out
    "repeats",  # requests whose `id` was known
    "recent_dropped",  # pushes of which the hops are not known any more
    "timeouts",  # requests whose time passed
    "pushes_parked",  # waited until their slots had changed hands
    "pushes_rerouted",  # came back STALE, and went to another worker
    "rings",  # epochs told to workers, begun here or by another router
    "workers_restarting",  # not reached for a while, or come again as another process
    "workers_killed",  # those of this host that were silent
    "workers_lost",  # not reached for too long: their slots went to others
    "bus_errors",  # messages of workers that do not decode
    "batches_forgotten",  # of which a worker's answer was lost with its link
    "bus_strays",  # answers to what nobody waits for any longer
    "internal_errors",  # our own bugs; the log has the traceback
    "endpoint_reopened",  # over router_memory_bytes
    "service_calls",  # CALL1 given out to services
    "service_retries",  # those among them that an instance which died may have done
    "service_answers",  # RETURN1 taken
    "service_answers_late",  # RETURN1 that nobody waits for any longer: late, twice, or of a service that is not known
    "service_answers_too_large",  # over body_limit_bytes: answered F3
    "service_answers_dropped",  # whoever asked was gone
    "service_calls_unserved",  # no service answers their topic: F0
    "service_calls_refused",  # over a bound: F4
    "service_calls_timed_out",  # F1
    "service_calls_lost",  # their service died: F3
    "service_errors",  # messages of services that do not decode
    "services_lost",  # instances that died
    "events_told",  # pushes of which the events service was told that they have reached nobody
    "events_dropped",  # the same, but too many waited for it
    "events_refused",  # the same, but it does not take them
    "sender_clock_off",  # push requests that, as they say, were sent in the future, or a minute ago
    "keys_refused",  # connections with a key that is not permitted
)


def new_counters() -> Counters:
    """Every counter at 0."""
    names = [*_NAMES, *(f"fail_{code}" for code in FAIL_CODES), *(f"outcome_{each.name.lower()}" for each in Outcome)]
    return dict.fromkeys(names, 0)
