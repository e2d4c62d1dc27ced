"""What `make run` prints when everything answers. Pure."""

from services.catalogue import in_words
from services.status.addresses import reachable, reachable_endpoints
from shared.settings import Settings


def announcement(settings: Settings, commands: str = "") -> str:
    """Where to connect and three lines to try. `commands`: the directory, with a slash, that pushctl is run from."""
    host, others = reachable(settings.api_listens_on), _variables(settings)
    web = f"http://{f'[{host}]' if ':' in host else host}:{settings.api_port}"
    return f"""\
ready: {processes(settings)}
  clients  {settings.host} port {settings.client_port} (TCP packets v0, v1, v2; WebSocket)
  senders  {_senders(settings)}
  web      {web}/ (dashboard), {web}/v1/swagger (HTTP API)
  status   {web}/stats
  logs     {settings.data_dir}/log
try, in other shells:
  {others}{commands}pushctl listen alice
  {others}{commands}pushctl push alice hello
  curl {web}/stats
Ctrl-C stops all of it."""


def processes(settings: Settings) -> str:
    """What runs on this host, in words."""
    routers = ["router"] if settings.routers == 1 else [f"{settings.routers} routers"] if settings.routers else []
    workers = f"{settings.workers} worker{'s' if settings.workers > 1 else ''}"
    return ", ".join([*routers, workers, *in_words(settings), "status service"])


def _senders(settings: Settings) -> str:
    endpoints = reachable_endpoints(settings)
    hint = "ZeroMQ; list all of them, one is used at a time" if len(endpoints) > 1 else "ZeroMQ"
    return f"{', '.join(endpoints)} ({hint})" if endpoints else "no router on this host"


def _variables(settings: Settings) -> str:
    """What another shell must set to find this fleet; empty for the defaults."""
    defaults = Settings()
    names = [
        name
        for name in ("host", "client_port", "sender_port", "routers")
        if getattr(settings, name) != getattr(defaults, name)
    ]
    return "".join([f"PUSH_{name.upper()}={getattr(settings, name)} " for name in names])
