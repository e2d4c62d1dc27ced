"""The product's modules, loaded once more, with simulated system calls in place of the real ones.

They are not in `sys.modules`: whoever imports `gateway` gets the real one. What a module of `gateway` or `router`
imports is, by name: a stand-in of this package; another module of those two, loaded in the same way; or the real thing
(`shared`, which is pure, and third-party packages that are).
"""

import builtins
import importlib.util
import random
from collections.abc import Iterable, Iterator, MutableSet
from functools import lru_cache
from types import ModuleType, SimpleNamespace
from typing import Any

import shared.rings
from simulator.calls_os import Fcntl, Gc, Mmap, Os, Resource, Select, Time
from simulator.calls_socket import Sockets
from simulator.calls_zmq import Zmq
from simulator.hubs import Gevent
from simulator.logs import Logging
from simulator.worlds import caller, present

_LOADED: dict[str, ModuleType] = {}
_OURS = ("gateway", "router")


class InOrder(MutableSet[Any]):
    """`set` with an order that does not depend on where things lie in memory."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items = dict.fromkeys(items)

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, value: Any) -> None:
        self._items[value] = None

    def discard(self, value: Any) -> None:
        self._items.pop(value, None)

    def update(self, items: Iterable[Any]) -> None:
        self._items.update(dict.fromkeys(items))

    def difference_update(self, items: Iterable[Any]) -> None:
        for item in list(items):
            self.discard(item)

    def union(self, items: Iterable[Any]) -> "InOrder":
        return InOrder([*self._items, *items])

    def difference(self, items: Iterable[Any]) -> "InOrder":
        gone = frozenset(items)
        return InOrder(item for item in self._items if item not in gone)

    def intersection(self, items: Iterable[Any]) -> "InOrder":
        other = frozenset(items)
        return InOrder(item for item in self._items if item in other)

    def issubset(self, items: Iterable[Any]) -> bool:
        return set(self._items) <= set(items)

    def issuperset(self, items: Iterable[Any]) -> bool:
        return set(self._items) >= set(items)

    def copy(self) -> "InOrder":
        return InOrder(self._items)

    def __class_getitem__(cls, item: Any) -> type:
        return cls


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
        "shared.startup.command_lines": SimpleNamespace(BAD_SETTINGS=2, log_to_stderr=lambda settings: None),
        "shared.startup.environment": SimpleNamespace(read_settings=lambda: caller().settings),
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
    assert spec is not None and spec.loader is not None, name
    module = importlib.util.module_from_spec(spec)
    module.__dict__["__builtins__"] = _BUILTINS
    _LOADED[name] = module
    code = spec.loader.get_code(name)  # type: ignore[attr-defined]
    exec(code, module.__dict__)
    if name == "gateway.worker":
        module.Worker = _noted(module.Worker)  # type: ignore[attr-defined]
    return module


def _noted(worker: Any) -> Any:
    """The class of workers, but each is to be found at its process."""

    class Noted(worker):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            caller().worker = self

    return Noted


def _import(
    name: str, globals: Any = None, locals: Any = None, fromlist: tuple[str, ...] | None = (), level: int = 0
) -> Any:
    """`__import__` of the modules that are loaded here."""
    if name in _STAND_INS:
        return _STAND_INS[name] if fromlist else _STAND_INS[name.partition(".")[0]]
    if name.partition(".")[0] in _OURS and fromlist:
        if name in _OURS:
            return SimpleNamespace(**{each: load(f"{name}.{each}") for each in fromlist})
        return load(name)
    if name == "shared" and fromlist and "rings" in fromlist:
        raise ImportError("import names from shared.rings, so that the simulator can stand in for it")
    return builtins.__import__(name, globals, locals, fromlist or (), level)


_BUILTINS = {**vars(builtins), "__import__": _import, "set": InOrder}
