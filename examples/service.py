"""A service in a few lines (docs/services.md): who my friends are (PUBLISH, FP), and a word to one of them (MS).

.venv/bin/python examples/service.py        # beside `make run`, with the same PUSH_* variables
"""

import json

from services.library import ClientCall, Refusal, Service, Signal, SubSignal
from shared.startup.environment import read_settings

FRIENDS = {"alice": ["bob", "carol"], "bob": ["alice"]}

service = Service("example-python", read_settings(), threads=4)


@service.answers(Signal.PUBLISH, SubSignal.FP, idempotent=True)
def friends(call: ClientCall) -> bytes:
    return json.dumps({"friends": FRIENDS.get(call.token or "", [])}).encode()


@service.answers(Signal.PUBLISH, SubSignal.MS)
def message(call: ClientCall) -> bytes:
    said = call.json()
    if said.get("to") not in FRIENDS.get(call.token or "", []):
        raise Refusal(1, b"not a friend")
    outcome = service.push(said["to"], json.dumps({"from": call.token, "text": said.get("text")}))
    return outcome.name.encode()


if __name__ == "__main__":
    raise SystemExit(service.run())
