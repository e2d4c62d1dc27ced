"""Every member that stays connected gets each push exactly once: `python -m chaos.groups --seconds 120`.

Pushes go by turns to a group and to all, and workers are killed -9 at random instants while the copies are written, or
restarted. Members read, and say nothing: only who is being written to at a death may be cut off, and nobody gets a push
twice.
"""

import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime

import click
import msgpack
from tqdm import tqdm

from chaos.conclusions import conclude
from chaos.crowd_members import Members
from chaos.results import Result
from services.library import Service
from shared.calls import Internal, internal
from tests.clients.senders import RawSender
from tests.fleet.fleet_process import Fleet
from tests.fleet.processes import wait_until

_GROUP = "everybody"
#: One member in so many is a user's client; the others are in the group by their tokens.
_USERS = 5
#: A kill comes so long (seconds), at the longest, behind the first copy that is read: while the others are written.
_BEHIND_S = 0.005
#: Of pushes, those amid which a worker is killed, and those before which one is restarted.
_KILLS, _RESTARTS = 0.6, 0.03
#: Between two deaths of one worker: a worker that dies again and again is left down (seconds).
_WORKER_S = 2.5
_PATIENCE_S = 60.0


class Proof:
    """One run. `result` has its figures."""

    def __init__(self, members: int, workers: int, seconds: float, seed: int) -> None:
        about = f"{members:,} members of a group stay connected to {workers} workers; pushes to the group and to all."
        self.result = Result("groups", about)
        self._count, self._workers, self._seconds = members, workers, seconds
        self._chance = random.Random(seed)
        self._free_at = [0.0] * workers
        self._details: list[dict[str, int]] = []
        self._kills: Counter[str] = Counter()

    def run(self) -> None:
        """Raises TimeoutError if the fleet does not come back."""
        names = [(f"member-{at}", None if at % _USERS else f"user-{at}") for at in range(self._count)]
        with Fleet(workers=self._workers, services="subscribe,group", worker_heartbeat_ms=100) as fleet:
            with Members((fleet.host, fleet.client_port), names) as members, RawSender(fleet.endpoint) as sender:
                self._make_group(fleet, names)
                wait_until(lambda: self._trial(sender) == self._count, "all are known as members", _PATIENCE_S)
                self._push_all(fleet, members, sender, time.monotonic() + self._seconds)
                wait_until(lambda: time.monotonic() - members.last_read > 2, "all is read", _PATIENCE_S)
            self._judge(members)

    @staticmethod
    def _make_group(fleet: Fleet, names: list[tuple[str, str | None]]) -> None:
        service = Service("chaos", fleet.settings)
        service.start()
        try:
            service.wait_ready(20)
            tokens, uids = [token for token, uid in names if not uid], [uid for _, uid in names if uid]
            body = msgpack.packb({"op": "create", "group": _GROUP, "tokens": tokens, "uids": uids})
            code, answer = service.ask(internal(Internal.GROUPS), body, key=_GROUP, timeout_s=60)
            if code:
                raise RuntimeError(f"the group was not made: {answer!r}")
        finally:
            service.stop()

    @staticmethod
    def _trial(sender: RawSender) -> int:
        _, detail = sender.done(sender.send_push([(_GROUP, b"0")], to="group"), 30)
        return int(detail["matched"])

    def _push_all(self, fleet: Fleet, members: Members, sender: RawSender, end: float) -> None:
        with tqdm(total=int(self._seconds), unit="s", disable=None) as bar:
            while time.monotonic() < end:
                if self._chance.random() < _RESTARTS:
                    self._restart(fleet)
                number = len(self._details) + 1
                to = ("group", "all")[number % 2]
                request = sender.send_push([(_GROUP if to == "group" else "", b"%d" % number)], to=to)
                if self._chance.random() < _KILLS:
                    self._kill_amid(fleet, members, number)
                _, detail = sender.done(request, 30)
                self._details.append(detail)
                bar.update(max(0, int(self._seconds - (end - time.monotonic())) - bar.n))

    def _free_worker(self) -> int | None:
        now = time.monotonic()
        free = [index for index in range(self._workers) if self._free_at[index] <= now]
        if not free:
            return None
        index = self._chance.choice(free)
        self._free_at[index] = now + _WORKER_S
        return index

    def _kill_amid(self, fleet: Fleet, members: Members, number: int) -> None:
        index = self._free_worker()
        pid = fleet.worker_pid(index) if index is not None else 0
        if not pid:  # 0 would be all of this process group
            return
        deadline = time.monotonic() + 1
        while members.newest < number and time.monotonic() < deadline:
            pass  # a sleep would miss it
        time.sleep(self._chance.uniform(0, _BEHIND_S))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self._kills["worker killed"] += 1

    def _restart(self, fleet: Fleet) -> None:
        index = self._free_worker()
        if index is not None:
            wait_until(lambda: not fleet.missing(self._workers), "all workers are there", _PATIENCE_S)
            fleet.stop_worker(index)
            fleet.start_worker(index)
            wait_until(lambda: not fleet.missing(self._workers), "it is there again", _PATIENCE_S)
            self._kills["worker restarted"] += 1

    def _judge(self, members: Members) -> None:
        result, pushes = self.result, len(self._details)
        wanted = list(range(1, pushes + 1))
        got = [list(filter(None, member.got)) for member in members.all]  # 0: the trials
        stayed = [one for one, member in zip(got, members.all, strict=True) if not member.cut_off]
        missing = sum(len(set(wanted).difference(one)) for one in stayed)
        result.state("pushes", pushes)
        for what, number in sorted(self._kills.items()):
            result.state(what, number)
        result.state("copies received", sum(map(len, got)))
        result.state("pushes whose answer says unknown_workers", sum("unknown_workers" in one for one in self._details))
        result.at_most("members cut off", sum(member.cut_off for member in members.all), self._kills["worker killed"])
        result.at_most("missing at members that stayed", missing, 0)
        result.at_most("came twice", sum(len(one) - len(set(one)) for one in got), 0)
        result.at_most("members that stayed and got them out of order", sum(one != sorted(one) for one in stayed), 0)
        result.at_most("pushes whose answer counts more than were delivered", self._overcounted(got), 0)

    def _overcounted(self, got: list[list[int]]) -> int:
        copies = Counter(number for one in got for number in one)
        sent = enumerate((detail.get("sent", 0) + detail.get("buffered", 0) for detail in self._details), 1)
        return sum(count > copies[number] for number, count in sent)


@click.command()
@click.option("--members", type=click.IntRange(1, 15_000), default=10_000, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=4, show_default=True)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=120.0, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--save", "saves", is_flag=True, help="Write chaos/results/groups-DATE.md and .json.")
def main(members: int, workers: int, seconds: float, seed: int, saves: bool) -> None:
    """Prove that each member that stays connected gets each push once. Exit code 1 if one did not."""
    began = datetime.now(UTC)
    proof = Proof(members, workers, seconds, seed)
    proof.run()
    conclude(proof.result, "chaos.groups", "groups", began, saves)


if __name__ == "__main__":
    main()
