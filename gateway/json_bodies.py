"""Bodies that are JSON objects."""

from typing import Any

import ujson


def json_object(body: bytes) -> tuple[dict[str, Any], str]:
    """(object, "") of a body that is empty or a JSON object, or ({}, what is wrong)."""
    if not body:
        return {}, ""
    try:
        decoded = ujson.loads(body.decode())
    except UnicodeDecodeError:
        return {}, "body is not UTF-8"
    except (ValueError, RecursionError):
        return {}, "body is not JSON"
    return (decoded, "") if isinstance(decoded, dict) else ({}, "body is not a JSON object")


def json_bytes(value: object) -> bytes:
    """Compact JSON in UTF-8. Raises ValueError, OverflowError for what JSON cannot carry."""
    return ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False, allow_nan=False).encode()
