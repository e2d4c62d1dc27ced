"""Who imports whom (docs/architecture.md, section Layers): one direction only, and pure code stays pure."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("shared", "gateway", "router", "services")
#: What is built around the product, and no part of it.
AROUND = ("tests", "benchmarks", "chaos", "loadtest", "simulator")
STANDARD = frozenset(sys.stdlib_module_names)

#: What a package may import of the project, besides itself.
ALLOWED = {"shared": set(), "gateway": {"shared"}, "router": {"shared"}, "services": {"shared"}}

#: Composition roots: nothing imports them.
ROOTS = frozenset({"gateway.launch", "gateway.worker", "router.main", "services.main", "services.pushctl.main"})

#: Modules that touch clock, descriptors, environment, log or ZeroMQ, or are built on such. Everything else is pure.
SHELLS = ROOTS | {
    "gateway.acceptors",
    "gateway.acknowledgements",
    "gateway.kept_pushes",
    "gateway.late_outcomes",
    "gateway.membership_asks",
    "gateway.membership_waits",
    "gateway.memberships",
    "gateway.presences",
    "gateway.replays",
    "gateway.send_queues",
    "gateway.storing",
    "gateway.bindings",
    "gateway.bus_handlers",
    "gateway.bus_keys",
    "gateway.bus_link",
    "gateway.calls",
    "gateway.claiming",
    "gateway.client_loop",
    "gateway.client_sockets",
    "gateway.closing",
    "gateway.connection_lines",
    "gateway.conversations",
    "gateway.counters",
    "gateway.deliveries",
    "gateway.departures",
    "gateway.explanations",
    "gateway.fan_out_marks",
    "gateway.fan_outs",
    "gateway.doubts",
    "gateway.kept_listeners",
    "gateway.processes",
    "gateway.session_settings",
    "gateway.take_overs",
    "gateway.guardian",
    "gateway.hand_overs",
    "gateway.landing",
    "gateway.ledgers",
    "shared.log_limits",
    "gateway.push_logs",
    "gateway.listeners",
    "gateway.moving",
    "gateway.peers",
    "gateway.port_locks",
    "gateway.run_files",
    "gateway.sends",
    "router.buses",
    "router.kills",
    "router.memory",
    "router.multipart",
    "router.push_logs",
    "router.run_files",
    "router.security",
    "router.service_endpoints",
    "router.shell",
    "router.sockets",
    "shared.startup.command_lines",
    "shared.startup.descriptors",
    "shared.startup.environment",
    "shared.startup.log_lines",
    "shared.startup.log_sinks",
    "shared.startup.otel",
    "shared.startup.tracing",
    "shared.startup.pid_files",
    "shared.startup.protobuf_files",
}
#: Packages and modules of services whose business is I/O; what is pure in them is listed.
PURE_SERVICES = frozenset(
    {
        "services.api.addresses",
        "services.api.keys",
        "services.api.problems",
        "services.api.v1.shapes",
        "services.catalogue",
        "services.clients.subscriptions",
        "services.clients.texts",
        "services.fleet.announcements",
        "services.kafka_bridge.bridges",
        "services.kafka_bridge.options",
        "services.kafka_bridge.partitions",
        "services.kafka_bridge.records",
        "services.metrics.counters",
        "services.metrics.families",
        "services.login.requests",
        "services.login.tokens",
        "services.message_cache.counters",
        "services.library.agendas",
        "services.library.asks",
        "services.library.calls",
        "services.library.links",
        "services.library.policies",
        "services.library.protocol",
        "services.library.statistics",
        "services.library.topics",
        "services.sender.in_flight",
        "services.sender.ledgers",
        "services.sender.links",
        "services.sender.options",
        "services.sender.policies",
        "services.sender.protocol",
        "services.sender.queues",
        "services.sender.spans",
        "services.sender.statistics",
        "services.sender.tickets",
        "services.sender.windows",
        "services.pushctl.summaries",
        "services.status.addresses",
        "services.status.diagnoses",
        "services.status.hops",
        "services.storage.messages",
        "services.storage.redis_keys",
        "services.subscribe.tokens",
    }
)

#: What reads a clock, the environment, a socket or chance, or writes a log.
IMPURE = {
    "asyncio",
    "datetime",
    "fcntl",
    "gevent",
    "geventwebsocket",
    "logging",
    "multiprocessing",
    "os",
    "psutil",
    "random",
    "resource",
    "secrets",
    "select",
    "selectors",
    "signal",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "uuid",
    "zmq",
}


def modules() -> Iterator[tuple[str, Path]]:
    """(dotted name, file) of every module of the project."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


FILES = dict(modules())
PURE = {
    name
    for name in FILES
    if name not in SHELLS and (not name.startswith("services") or name in PURE_SERVICES) and name.count(".")
}


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it. `from a import b` gives a.b if that is a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else str(node.module) for name in names}
    return found


def root_of(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("name", FILES)
def test_imports_go_one_way(name: str) -> None:
    package = root_of(name)
    of_project = {root_of(other) for other in imports(FILES[name])} & {*PACKAGES, *AROUND}
    assert of_project <= ALLOWED[package] | {package}


@pytest.mark.parametrize("name", FILES)
def test_nothing_imports_a_composition_root(name: str) -> None:
    assert not imports(FILES[name]) & ROOTS


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_modules_import_nothing_impure(name: str) -> None:
    imported = imports(FILES[name])
    assert not {root_of(other) for other in imported} & IMPURE
    of_project = {other for other in imported if root_of(other) in PACKAGES and "." in other}
    assert of_project <= PURE


def test_pure_modules_load_neither_gevent_nor_zmq() -> None:
    # To import a module of these packages is to import the package, and so the shells that it offers.
    names = sorted(name for name in PURE if not name.startswith(("services.sender", "services.library")))
    code = f"import sys, importlib; [importlib.import_module(name) for name in {names}]\n"
    code += "print([name for name in ('gevent', 'zmq', 'supervisor') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_lists_name_modules_that_exist() -> None:
    assert FILES.keys() >= SHELLS | PURE_SERVICES


def test_guardian_needs_the_standard_library_alone() -> None:
    assert {root_of(name) for name in imports(FILES["gateway.guardian"])} <= STANDARD


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_monkey_patched(name: str) -> None:
    assert "gevent.monkey" not in imports(FILES[name])
    assert "patch_all" not in FILES[name].read_text()
