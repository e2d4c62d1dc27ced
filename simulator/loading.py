"""The product's modules, loaded once more, with simulated system calls in place of the real ones.

They are not in `sys.modules`: whoever imports `gateway` gets the real one. What a module of `gateway` or `router`
imports is, by name: a stand-in of this package; another module of those two, loaded in the same way; or the real thing
(`shared`, which is pure, and third-party packages that are).
"""

import builtins
import importlib.util
import random
from collections.abc import Iterable
from functools import lru_cache
from types import ModuleType, SimpleNamespace
from typing import Any

import shared.rings
from simulator.calls_os import Fcntl, Gc, Mmap, Os, Resource, Select, Signals, Time
from simulator.calls_processes import holder_of, start_of_this_process, watch_process
from simulator.calls_socket import Sockets
from simulator.calls_zmq import Zmq
from simulator.hubs import Gevent
from simulator.logs import Logging
from simulator.ordered_sets import FrozenInOrder, InOrder, in_order
from simulator.worlds import caller, present

_LOADED: dict[str, ModuleType] = {}
_OURS = ("gateway", "router")


class _Chance(random.Random):
    """Unforeseeable chance of the product, here the world's."""

    def random(self) -> float:
        return present().entropy.random()

    def getrandbits(self, bits: int) -> int:
        return present().entropy.getrandbits(bits)

    def seed(self, *arguments: Any, **more: Any) -> None: ...


_owners = lru_cache(maxsize=4096)(lambda live: shared.rings.owners_of_slots(list(live)))


def _owners_of_slots(live: Iterable[str]) -> list[str]:
    """The same for every worker and router: computed once."""
    return list(_owners(tuple(sorted(live))))


def _stand_ins() -> dict[str, Any]:
    gevent = Gevent()
    rings = {name: getattr(shared.rings, name) for name in dir(shared.rings) if not name.startswith("__")}
    chance = SimpleNamespace(Random=random.Random, SystemRandom=_Chance)
    return {
        "fcntl": Fcntl(),
        "gc": Gc(),
        "gevent": gevent,
        "gevent.event": gevent.event,
        "logging": Logging(),
        "mmap": Mmap(),
        "os": Os(),
        "random": chance,
        "resource": Resource(__import__("resource")),
        "select": Select(__import__("select")),
        "shared.rings": SimpleNamespace(**{**rings, "owners_of_slots": _owners_of_slots}),
        "shared.startup.command_lines": SimpleNamespace(BAD_SETTINGS=2, log_to_stderr=lambda settings: lambda: 0),
        "shared.startup.environment": SimpleNamespace(read_settings=lambda: caller().settings),
        "shared.startup.pid_files": SimpleNamespace(holder_of=holder_of),
        "signal": Signals(),
        "socket": Sockets(),
        "time": Time(),
        "zmq": Zmq(),
    }


_STAND_INS = _stand_ins()


def load(name: str) -> Any:
    """The module `gateway.x` or `router.x` on simulated system calls."""
    if name in _LOADED:
        return _LOADED[name]
    spec = importlib.util.find_spec(name)
    assert spec is not None, name
    assert spec.loader is not None, name
    module = importlib.util.module_from_spec(spec)
    module.__dict__["__builtins__"] = _BUILTINS
    _LOADED[name] = module
    source = spec.loader.get_source(name)  # type: ignore[attr-defined]
    try:
        exec(in_order(source, spec.origin or name), module.__dict__)
    except BaseException:
        del _LOADED[name]
        raise
    adapt = _ADAPTED.get(name)
    if adapt is not None:
        adapt(module)
    return module


def loaded() -> list[ModuleType]:
    """All modules that have been loaded here."""
    return list(_LOADED.values())


def _import(
    name: str, globals: Any = None, locals: Any = None, fromlist: tuple[str, ...] | None = (), level: int = 0
) -> Any:
    """`__import__` of the modules that are loaded here."""
    if name == "gateway._sends":
        raise ImportError("in C it makes real system calls; gateway.sends has the same in Python")
    if name in _STAND_INS:
        return _STAND_INS[name] if fromlist else _STAND_INS[name.partition(".")[0]]
    if name.partition(".")[0] in _OURS and fromlist:
        if name in _OURS:
            return SimpleNamespace(**{each: load(f"{name}.{each}") for each in fromlist})
        return load(name)
    if name == "shared" and fromlist and "rings" in fromlist:
        raise ImportError("import names from shared.rings, so that the simulator can stand in for it")
    return builtins.__import__(name, globals, locals, fromlist or (), level)


def _note_worker(module: Any) -> None:
    """Each worker is to be found at its process."""

    class Noted(module.Worker):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            caller().worker = self

    module.Worker = Noted


def _note_closes(module: Any) -> None:
    """The world hears why a worker ends a connection."""
    closed = module.ConnectionLogs.closed

    def noted(self: Any, connection: Any, reason: Any, detail: str) -> None:
        present().closing(caller(), connection, reason.value)
        closed(self, connection, reason, detail)

    module.ConnectionLogs.closed = noted


def _note_ledger(module: Any) -> None:
    """A worker may die before each thing that it writes in its ledger, as before each system call."""
    for name in ("enter", "note", "note_if_changed", "mark", "closing", "passing", "came_back", "leave"):
        setattr(module.Ledger, name, _deadly(getattr(module.Ledger, name)))


def _note_hand_overs(module: Any) -> None:
    """Messages between workers are shown in a full trace."""
    send = module.PeerLink.send

    def noted(self: Any, message: Any, *more: Any) -> None:
        if present().shows_all:
            shown = [len(value) if name == "records" else value for name, value in message._asdict().items()]
            present().detail(caller().name, "to %s: %s %s", self.worker, type(message).__name__, shown)
        send(self, message, *more)

    module.PeerLink.send = noted


def _deadly(method: Any) -> Any:
    def method_that_may_be_the_last(*arguments: Any) -> Any:
        caller().system_call()
        return method(*arguments)

    return method_that_may_be_the_last


def _note_processes(module: Any) -> None:
    """What workers ask the machine about processes."""
    module.start_of_this_process, module.watch_process = start_of_this_process, watch_process
    module.usual_priority = lambda guardian: None


#: What is changed in a module so that the simulator sees what happens.
_ADAPTED = {
    "gateway.processes": _note_processes,
    "gateway.peers": _note_hand_overs,
    "gateway.worker": _note_worker,
    "gateway.closing": _note_closes,
    "gateway.ledgers": _note_ledger,
}

_BUILTINS = {**vars(builtins), "__import__": _import, "set": InOrder, "frozenset": FrozenInOrder}
