"""Two hosts: pushes reach clients on the 'wrong' one; a host is cut off from the other and joined again.

The hosts are network namespaces; what runs on the first is this program itself, started again in there.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from chaos.insides import answer, run_inside
from chaos.ledgers import DELIVERED
from chaos.networks import Hosts
from chaos.results import Result
from chaos.stages import Plan
from chaos.two_hosts import TwoHosts
from shared.outcomes import Outcome
from shared.rings import owners_of_slots
from shared.tokens import slot_of

_CUT_S = 10.0
#: Both hosts have given the other up by then (`two_hosts`: 4 s), and take it back.
_CUT_QUICK_S = 6.0
#: From the link's return on, everything must be delivered again after this: TCP and ZeroMQ wait before they try again.
_BACK_S = 30.0
_HOPELESS = frozenset({Outcome.UNKNOWN, Outcome.UNAVAILABLE, Outcome.OFFLINE})


def run(plan: Plan, parts: Sequence[str] = ()) -> Iterator[Result]:
    """It has no parts. Raises NetworkFault where namespaces cannot be had."""
    with Hosts() as hosts:
        yield run_inside(hosts.names[0], "chaos.scenarios.hosts", plan, mark=hosts.mark)


def run_on_first(plan: Plan, hosts: Hosts) -> Result:
    """The run itself, to be called in the namespace of the first host."""
    cut_s = _CUT_QUICK_S if plan.quick else _CUT_S
    result = Result("hosts", f"Two hosts of a router and two workers each; the link is cut for {cut_s:g} s.")
    with tempfile.TemporaryDirectory(prefix="chaos") as folder, TwoHosts(plan, result, hosts, Path(folder)) as stage:
        _state_foreign(stage)
        stage.pause()
        stage.phase("the second host is cut off")
        cut_ns = time.monotonic_ns()
        hosts.set_link(up=False)
        time.sleep(cut_s)
        stage.phase("it is back")
        hosts.set_link(up=True)
        back_ns = time.monotonic_ns()
        stage.await_all(_BACK_S)
        stage.pause()
        stage.pause()
        end_ns = back_ns + int(_BACK_S * 1e9)
        # Sender 1 begins with the router of the second host, and has to find out that it is gone.
        stage.finish(
            lambda push: (
                push.outcome in _HOPELESS
                and push.answered_ns >= cut_ns
                and push.sent_ns <= end_ns
                and (push.sender == 1 or stage.crowd.place_of(push.client) == 1)
            )
        )
        stage.promise_all(copies=True)
        _state_outage(stage, cut_ns, back_ns)
    return result


def _state_foreign(stage: TwoHosts) -> None:
    """How many clients have a token whose owner is on the other host."""
    owners = owners_of_slots(stage.names)
    hosts = ("first", "second")
    foreign = [
        client
        for client in stage.crowd.clients
        if owners[slot_of(b"c%d" % client)].partition("/")[0] != hosts[stage.crowd.place_of(client)]
    ]
    stage.result.expect("clients whose token's owner is on the other host", len(foreign), "some", bool(foreign))


def _state_outage(stage: TwoHosts, cut_ns: int, back_ns: int) -> None:
    """For how long the second host's clients missed pushes."""
    failed = [push for push in stage.load.pushes if push.outcome in _HOPELESS and push.answered_ns >= cut_ns]
    last = max((push.sent_ns for push in failed), default=back_ns)
    stage.result.state("pushes not delivered because of the cut", len(failed))
    came = [
        push.sent_ns
        for push in stage.load.pushes
        if push.sent_ns > back_ns and push.outcome in DELIVERED and stage.crowd.place_of(push.client) == 1
    ]
    first = round((min(came) - back_ns) / 1e9, 1) if came else float("inf")
    stage.result.at_most("the first to the other host was sent after the link's return, s", first, _BACK_S)
    stage.result.at_most(
        "the last of these was sent after the link's return, s", round(max(0, last - back_ns) / 1e9, 1), _BACK_S
    )


if __name__ == "__main__":
    answer(sys.argv[1], lambda plan, about: run_on_first(plan, Hosts(about["mark"])))
