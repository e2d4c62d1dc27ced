"""Counters of workers, routers and services: how they are called here, and what they count (docs/metrics.md). Pure.

`new_counters` of gateway and router have just these, and so have the statistics of services and the counters of the
message cache; those with a label are in families of their own.
"""

from shared.outcomes import Outcome
from shared.reasons import CloseReason

WORKER = {
    "accepted": "Connections accepted.",
    "accept_pauses": "Times that accepting paused for want of descriptors.",
    "throttled": "Times that a client's input waited for client_bytes_per_s or client_packets_per_s.",
    "handed_over": "Clients given to other workers.",
    "taken_over": "Clients got from other workers.",
    "taken_again": "Clients of a predecessor that died, served on by this worker.",
    "moves_timed_out": "Hand-overs given up after move_timeout_s.",
    "pushes_held": "Pushes that waited for a client on its way.",
    "pushes_stale": "Pushes sent back to the router: their clients are with another worker.",
    "clients_claimed": "Claims made: clients kept for owners on other hosts, or that refuse them.",
    "held_overflows": "Pushes for clients on their way over the bound.",
    "copies_dropped": "Repeated pushes that were recognised and not sent twice.",
    "recent_dropped": "Pushes of late whose hops made room for those of newer ones.",
    "stored": "Pushes that a message cache has taken.",
    "pushes_replayed": "Stored pushes sent to clients that came, or had fallen behind.",
    "replays_refused": "Stored pushes dropped, since their client can never take them.",
    "acks_unknown": "PUB_ACKs that name no push that is waited for.",
    "store_overflows": "Pushes turned away because too much waits for the message caches.",
    "cache_failures": "Calls to message caches that were not answered, or not well.",
    "drops_lost": "Acknowledged pushes that could not be taken out of the cache, and may come again.",
    "batches": "PUSHES1 taken in.",
    "fan_outs": "ALL1 taken in.",
    "calls_made": "Calls of clients, and of the worker itself, to services.",
    "calls_timed_out": "Calls that were not answered within call_timeout_ms.",
    "calls_lost": "Calls whose router was lost.",
    "calls_repeated": "Calls made again by another router.",
    "calls_refused": "Calls over worker_calls_max, or for which there was no room on the bus.",
    "calls_late": "Answers that came too late, or twice; nobody was told.",
    "group_asks": "Questions to the group service about members.",
    "group_ask_failures": "Questions to the group service that failed.",
    "members_unnoted": "Clients answered before every router knew of their user and groups.",
    "members_told_again": "Times that a router had missed something about users and groups.",
    "presence_reports": "Reports to the presence service.",
    "presence_failures": "Reports to the presence service that failed.",
    "presence_overflows": "Times that too many changes waited, and everything was told anew.",
    "bus_drops": "Messages to the router that could not be sent.",
    "bus_errors": "Messages of the router that do not decode.",
    "log_lines_dropped": "Log lines left out: over their limit a second, or not written, or not as fast as they came.",
    "internal_errors": "Bugs of ours.",
}
ROUTER = {
    "requests": "Requests taken in.",
    "pushes": "Targets of the push requests among them.",
    "answers": "DONE1, INFO1 and FAIL1 given out.",
    "answers_dropped": "Answers to senders that were gone or do not read.",
    "batches": "PUSHES1 given out.",
    "fan_outs": "Pushes to all.",
    "calls": "CALL1 given out to workers.",
    "repeats": "Requests whose id was known.",
    "recent_dropped": "Pushes of late whose hops made room for those of newer ones.",
    "timeouts": "Requests whose timeout_ms passed.",
    "pushes_parked": "Pushes that waited until their slots had changed hands.",
    "pushes_rerouted": "Pushes that a worker let come back, and that went to another.",
    "rings": "Epochs told to workers, begun here or by another router.",
    "workers_restarting": "Workers not reached for a while, or come again as another process.",
    "workers_killed": "Workers of this host that were silent and were killed.",
    "workers_lost": "Workers not reached for too long: their slots went to others.",
    "bus_errors": "Messages of workers that do not decode.",
    "batches_forgotten": "Batches whose answer went with a broken link.",
    "bus_strays": "Answers to what nobody waits for any longer.",
    "internal_errors": "Bugs of ours.",
    "endpoint_reopened": "Times that router_memory_bytes was exceeded.",
    "service_calls": "CALL1 given out to services.",
    "service_retries": "Calls among them that an instance which died may have done.",
    "service_answers": "Answers of services.",
    "service_answers_late": "Answers of services that nobody waits for any longer, or that come twice.",
    "service_answers_too_large": "Answers of services over body_limit_bytes.",
    "service_answers_dropped": "Answers of services whose asker was gone.",
    "service_calls_unserved": "Calls that no service answers.",
    "service_calls_refused": "Calls to services over a bound.",
    "service_calls_timed_out": "Calls to services that were not answered in time.",
    "service_calls_lost": "Calls whose service died.",
    "service_errors": "Messages of services that do not decode.",
    "services_lost": "Instances of services that died.",
    "sender_clock_off": "Push requests that, by their senders' clocks, came from the future, or took over a minute.",
    "events_told": "Pushes of which the events service was told that they have reached nobody.",
    "events_dropped": "The same, but too many waited for the events service.",
    "events_refused": "The same, but the events service does not take them.",
    "keys_refused": "Connections with a key that is not permitted.",
}
SERVICE = {
    "calls": "Calls that came.",
    "retries": "Calls among them that an instance which died may have done.",
    "answered": "Calls answered by a handler, refusals included.",
    "refused": "Calls among them whose answer is a refusal.",
    "failed": "Calls whose handler raised, or returned what is no answer.",
    "expired": "Calls that waited in the service for longer than anybody waits for the answer.",
    "lost": "Calls whose router was gone before the answer.",
    "asks": "Calls of its own, to other services.",
    "regroups_unheard": "Changes of groups of which a router had not heard within a second.",
    "links_lost": "Times that a router was lost.",
    "strays": "Messages of routers that could not be read.",
}
MESSAGE_CACHE = {
    "stored": "Messages stored.",
    "copies": "Messages that had been stored before, and were not stored again.",
    "refused_full": "Messages refused over a bound.",
    "dropped_for_newer": "Messages dropped over a bound for newer ones.",
    "collapsed": "Messages replaced by newer ones of the same collapse key.",
    "replayed": "Messages read, to be sent or looked at.",
    "acknowledged": "Messages taken out because they were acknowledged, or can never be delivered.",
    "cleared": "Messages taken out with all others of their token.",
    "expired": "Expired messages swept out.",
    "transactions": "Transactions, of one operation or many.",
    "failed": "Operations that the store failed to do.",
    "refused": "Calls that made no sense.",
}
#: What it has, and does not count up.
MESSAGE_CACHE_GAUGES = {
    "messages": ("messages", "Messages in the store, which all message caches share."),
    "bytes": ("bytes", "Bytes of these, with 128 for each message."),
}
FAIL_CODES = (
    "malformed", "unknown_command", "bad_options", "too_many_targets", "too_large", "not_supported", "hello_needed",
    "id_reused", "overloaded", "not_allowed", "unavailable", "internal_error",
)  # fmt: skip

#: Prefix of the counters in a family: (metric, label, its values, help).
WORKER_FAMILIES = {
    "pushes_": ("worker_pushes", "outcome", [each.name.lower() for each in Outcome], "Pushes by outcome."),
    "close_": ("connections_closed", "reason", [each.value for each in CloseReason], "Connections ended, by reason."),
}
ROUTER_FAMILIES = {
    "outcome_": ("pushes", "outcome", [each.name.lower() for each in Outcome], "Pushes by the outcome told."),
    "fail_": ("router_failures", "code", list(FAIL_CODES), "FAIL1 given out, by code."),
}
#: Of the events service. Of each receiver the same.
EVENTS = {
    "told": "Events that routers have handed in.",
    "dropped": "Events that have gone unconfirmed because events_max awaited confirmation.",
} | {
    f"{receiver}_{name}": f"{text} {where}."
    for receiver, where in (("webhook", "the webhook"), ("kafka", "Kafka"))
    for name, text in (
        ("delivered", "Events confirmed by"),
        ("tries", "Batches of events sent to"),
        ("failures", "Batches refused by, or not sent to"),
        ("timeouts", "Batches not answered in time by"),
        ("repeated", "Events sent once more to"),
    )
}
EVENTS_GAUGES = {"waiting": ("waiting", "Events in the outbox, which all hosts share.")}
