"""Names of keys in Redis: PREFIX:KIND:{TEXT}. Pure.

What stands in braces is the hash tag: in a cluster all keys of one token, uid or group are in the same slot, so that a
script can touch several of them. `%`, `{` and `}` of a text are escaped, as in URLs.
"""

from typing import NamedTuple
from zlib import crc32

#: Over so many keys the list of all tokens is spread.
BUCKETS = 16

_ESCAPES = str.maketrans({"%": "%25", "{": "%7B", "}": "%7D"})


class Keys(NamedTuple):
    """Makes them. `prefix`: without braces."""

    prefix: str

    def of(self, kind: str, text: str, more: str = "") -> str:
        """The key of a kind for a token, uid, name or the like; `more` makes it several in the same slot."""
        key = f"{self.prefix}:{kind}:{{{text.translate(_ESCAPES)}}}"
        return f"{key}:{more}" if more else key

    def alone(self, kind: str) -> str:
        """A key that there is once."""
        return f"{self.prefix}:{kind}"


def bucket_of(token: str) -> int:
    """Number of the part of the list of all tokens in which a token is."""
    return crc32(token.encode()) % BUCKETS
