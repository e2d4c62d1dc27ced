"""The service library: a new topic is a function and a registration (docs/services.md).

service = Service("echo", "ipc:///srv/push/var/run/service-0.sock")

@service.answers(Signal.PUBLISH, SubSignal.FP, idempotent=True)
def echo(call: ClientCall) -> bytes:
    return call.body

service.run()
"""

from services.library.calls import ClientCall, Refusal, Returned, refusal
from services.library.policies import Policy
from services.library.services import Service
from services.library.statistics import Statistics
from shared.signals import PublishError, Signal, SubSignal

__all__ = [
    "ClientCall",
    "Policy",
    "PublishError",
    "Refusal",
    "Returned",
    "Service",
    "Signal",
    "Statistics",
    "SubSignal",
    "refusal",
]
