"""The setting `storage`: where services keep what must outlive them. Pure."""

from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from shared.errors import SettingsError

SQLITE = "sqlite"
_SCHEMES = ("redis", "rediss", "redis-cluster", "rediss-cluster")
_UNIX = "unix"
_OPTIONS = frozenset({"prefix", "password_file", "ca_file", "certificate_file", "key_file"})


class RedisLocation(NamedTuple):
    """A Redis server, or some nodes of a cluster."""

    nodes: tuple[tuple[str, int], ...]  # (host, port); one, or several of a cluster; none: it is at `path`
    is_cluster: bool = False
    tls: bool = False
    path: str = ""
    database: int = 0
    username: str = ""
    password: str = ""
    prefix: str = "push"  # keys begin with it and a colon
    password_file: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""

    def __str__(self) -> str:
        """Without the password."""
        if self.path:
            return f"{_UNIX}://{self.path}"
        scheme = ("rediss" if self.tls else "redis") + ("-cluster" if self.is_cluster else "")
        nodes = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes)
        return f"{scheme}://{nodes}" + ("" if self.is_cluster else f"/{self.database}")


def parse_location(text: str) -> RedisLocation | None:
    """None for `sqlite`. Raises SettingsError, which does not say what may be a password.

    Else SCHEME://[USER[:PASSWORD]@]HOST:PORT[,HOST:PORT ...][/DATABASE][?OPTION=VALUE[&...]], or unix://PATH[?...].
    """
    if text == SQLITE:
        return None
    scheme, separator, rest = text.partition("://")
    if scheme == _UNIX and rest.startswith("/"):
        path, _, query = rest.partition("?")
        return RedisLocation((), path=path)._replace(**_options(query))
    if not separator or scheme not in _SCHEMES:
        raise SettingsError("storage", f"neither {SQLITE} nor {', '.join(f'{name}://' for name in (*_SCHEMES, _UNIX))}")
    place, _, query = rest.partition("?")
    credentials, _, addresses = place.rpartition("@")
    username, _, password = credentials.partition(":")
    addresses, _, database = addresses.partition("/")
    is_cluster = scheme.endswith("-cluster")
    nodes = tuple(_node(address) for address in addresses.split(","))
    if len(nodes) > 1 and not is_cluster:
        raise SettingsError("storage", f"{len(nodes)} addresses: only a cluster has several")
    if database and (is_cluster or not database.isdecimal()):
        raise SettingsError("storage", "a cluster has no databases" if is_cluster else "database is not a number")
    return RedisLocation(
        nodes,
        is_cluster,
        scheme.startswith("rediss"),
        database=int(database or 0),
        username=unquote(username),
        password=unquote(password),
    )._replace(**_options(query))


def _node(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise SettingsError("storage", f"{address[:64]!r} is not HOST:PORT")
    return host, int(port)


def _options(query: str) -> dict[str, Any]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options.keys() - _OPTIONS:
        raise SettingsError("storage", f"{name[:64]!r} is none of {', '.join(sorted(_OPTIONS))}")
    prefix = options.get("prefix", "push")
    if not prefix.isprintable() or not prefix or set(prefix) & set("{}"):
        raise SettingsError("storage", "prefix is empty, not printable or has braces")
    return options
