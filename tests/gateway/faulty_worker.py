"""The worker with a bug: SIGUSR1 raises an exception that nothing catches (`push-gateway --worker-module`)."""

import signal

import gevent

from gateway import worker


def main(index: int, client_listener: int, nginx_listener: int, ledger: int, *, guardian: int, evacuate: bool) -> int:
    """Run the worker."""
    running = gevent.getcurrent()
    gevent.signal_handler(signal.SIGUSR1, gevent.kill, running, RuntimeError("as ordered"))
    return worker.main(index, client_listener, nginx_listener, ledger, guardian=guardian, evacuate=evacuate)
