"""Requests: their bodies, read with a bound on size and time, as JSON that is nothing else."""

from typing import Any

import flask
import pydantic_core

from services.api import bodies
from services.api.problems import Problem

#: Bytes of a body. A payload of 1 MiB in base64, or 1,000 tokens and a payload.
BODY_MAX = 4 << 20
#: Seconds in which a body has to be here.
BODY_S = 20.0
_UTF_8 = ("utf-8", "utf8")
JSON, NDJSON = "application/json", "application/x-ndjson"


class Request(flask.Request):
    """flask-openapi3 takes bodies from `get_json`."""

    def get_json(self, *_: Any, **__: Any) -> Any:
        """Raises Problem."""
        need_type(self, JSON)
        try:
            found = pydantic_core.from_json(self._whole_body(), allow_inf_nan=False)
        except ValueError as error:
            raise Problem("not_json", str(error)[:200]) from None
        if not isinstance(found, dict):
            raise Problem("invalid", "the body is not a JSON object", [])
        return found

    def _whole_body(self) -> bytes:
        source, length = self.environ["wsgi.input"], self.environ.get("CONTENT_LENGTH")
        if self.environ.get("HTTP_TRANSFER_ENCODING"):
            size = BODY_MAX + 1  # in chunks: whatever comes
        elif length is None:
            return b""
        else:
            size = bodies.announced(str(length), BODY_MAX)
            if size > BODY_MAX:
                raise Problem("too_large", f"body of {str(length)[:20]} bytes exceeds {BODY_MAX}")
        try:
            body = bodies.read(source, size, BODY_S)
        except bodies.BrokenBodyError:
            raise Problem("bad_request", "the body breaks off, or its chunks are malformed") from None
        if body is None:
            raise Problem("too_slow", f"the body did not come within {BODY_S:g} s")
        if len(body) > BODY_MAX:
            raise Problem("too_large", f"body of more than {BODY_MAX} bytes")
        return body


def need_type(request: flask.Request, wanted: str) -> None:
    """Raises Problem. No web page can send these types elsewhere without asking that place first (CORS)."""
    if request.mimetype != wanted:
        said = request.mimetype[:64] or "none"
        raise Problem("unsupported_media_type", f"Content-Type is {said}: expected {wanted}", Accept=wanted)
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if charset not in _UTF_8:
        raise Problem("unsupported_media_type", f"charset is {charset[:64]}: expected utf-8", Accept=wanted)
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        text = f"Content-Encoding is {encoding[:64]}: none is taken"
        raise Problem("unsupported_media_type", text, Accept_Encoding="identity")
