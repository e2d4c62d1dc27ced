"""Parts of workers that are taken down after each test, which may leave no descriptor behind."""

import gc
import tempfile

import gevent
import pytest

from shared.bus_rings import RingNews
from tests.gateway.holders import EPOCH, Holder, Mute
from tests.gateway.parts import Clients, Parts, descriptors, until


@pytest.fixture
def no_leaks():
    """The descriptors open behind a test are those open before it.

    But the hub's epoll set: libev makes it anew, maybe under another number, where it tells of a descriptor that the
    process has closed, and somebody else has still open.
    """
    gevent.get_hub().loop.now()
    gevent.sleep(0)  # the hub has opened its own
    gc.collect()  # and earlier tests' garbage has closed its own
    before = _descriptors_but_the_hubs()
    yield
    after = _descriptors_but_the_hubs()
    assert after.keys() <= before.keys(), {fd: after[fd] for fd in after.keys() - before.keys()}


def _descriptors_but_the_hubs():
    return {fd: what for fd, what in descriptors().items() if fd != gevent.get_hub().loop.fileno()}


@pytest.fixture
def clients(no_leaks):
    """Makes a ClientLoop, not started, with the settings named."""
    made = []

    def make(**changes):
        made.append(Clients(**changes))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def worker(no_leaks):
    """Makes the parts of a worker; all of one test share a directory."""
    made = []

    def make(name="h/0", **changes):
        made.append(Parts(name, directory=made[0].directory if made else None, **changes))
        return made[-1]

    yield make
    until(lambda: not any(one.landing.hand_overs.count for one in made))  # each descriptor has one holder
    for one in made:
        one.close()


@pytest.fixture
def holders(clients):
    """Two workers that know each other."""
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as directory:
        made = [Holder(name, clients(), directory) for name in ("h/0", "h/1")]
        for one in made:
            one.ownership.follow(RingNews(EPOCH, {other.name: other.path for other in made}, {}))
        yield made
        for one in made:
            one.close()


@pytest.fixture
def mute(holders):
    """In the second one's place, a peer that does not answer by itself."""
    holders[1].listener.close()
    one = Mute(holders[1].path)
    yield one
    one.close()
