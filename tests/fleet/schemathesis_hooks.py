"""For `schemathesis run` (SCHEMATHESIS_HOOKS): what a body of lines may be."""

import json

import schemathesis
from hypothesis import strategies

_NAMES = strategies.text(min_size=1, max_size=20)
_PUSHES = strategies.fixed_dictionaries(
    {"token": _NAMES, "payload": strategies.text()}, optional={"ttl": strategies.integers(-1, 100), "more": _NAMES}
).map(json.dumps)
_LINES = strategies.lists(_PUSHES | strategies.text(max_size=20).map(json.dumps) | strategies.just("{"), max_size=20)

schemathesis.openapi.media_type("application/x-ndjson", _LINES.map(lambda lines: "\n".join(lines).encode()))
