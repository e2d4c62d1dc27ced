"""A message cache in memory, as a worker's calls see it: asked and answered in the test's own process."""

import gevent

from shared import cached_messages as cached
from shared.calls import Internal
from shared.signals import PublishError, Signal


class MemoryCache:
    """What a message cache does. `most`: messages of one token; over it the oldest goes, or (refuse) none comes."""

    def __init__(self, most=1_000_000, refuse=False):
        self.most, self.refuse = most, refuse
        self.kept = {}  # token -> {seq: Message}
        self.newest = {}
        self.keys = {}
        self.collapsed = {}

    def carry_out(self, operation):
        """The result of one operation."""
        return getattr(self, type(operation).__name__.lower())(operation)

    def store(self, each):
        kept = self.kept.setdefault(each.token, {})
        if (each.token, each.key) in self.keys:
            return cached.Copy(self.keys[each.token, each.key])
        if each.collapse is not None:
            kept.pop(self.collapsed.get((each.token, each.collapse)), None)
        dropped = 0
        if len(kept) >= self.most:
            if self.refuse:
                return cached.Full()
            del kept[next(iter(kept))]
            dropped = 1
        seq = self.newest[each.token] = self.newest.get(each.token, 0) + 1
        said = each.signal, each.sub_signal, each.expires, each.payload, each.request_id
        kept[seq] = cached.Message(seq, each.key, *said)
        self.keys[each.token, each.key] = self.collapsed[each.token, each.collapse] = seq
        return cached.Stored(seq, dropped)

    def read(self, each):
        behind = [message for seq, message in self.kept.get(each.token, {}).items() if seq > each.after]
        taken, size = [], 0
        for message in behind[: each.most]:
            size += len(message.payload)
            if taken and size > each.most_bytes:
                break
            taken.append(message)
        return cached.Messages(taken, self.newest.get(each.token, 0), len(taken) < len(behind))

    def drop(self, each):
        kept = self.kept.get(each.token, {})
        return cached.Dropped(sum([kept.pop(seq, None) is not None for seq in each.seqs]))

    def payloads(self, token):
        """What it has for a token."""
        return [message.payload for message in self.kept.get(token, {}).values()]


class StandInCache(MemoryCache):
    """The same in place of `gateway.calls`. Asked, it answers behind the turn; while `holds` it keeps its answers."""

    def __init__(self, **options):
        super().__init__(**options)
        self.there = True
        self.holds = False
        self.fails = None  # a PublishError in place of an answer
        self.loses_answers = False  # does what it is asked for, and nobody hears of it
        self.refuses_reads = False  # more than one in a call
        self.asked = []  # the operations of each call
        self._waiting = []

    def join(self, parts):
        """The cache of this worker."""
        parts.kept.storing.calls = self
        parts.kept.storing.look()
        return self

    def serves(self, topic):
        return self.there and topic == (Signal.NONE, Internal.MESSAGES)

    def ask(self, topic, key, fields, body, done):
        operations = cached.decode_operations(body)
        self.asked.append(operations)
        self._waiting.append((operations, done))
        gevent.get_hub().loop.run_callback(self._answer)

    def _answer(self):
        while self._waiting and not self.holds:
            operations, done = self._waiting.pop(0)
            code = PublishError.NOT_IMPLEMENTED if not self.there else self.fails
            if self.refuses_reads and sum(isinstance(each, cached.Read) for each in operations) > 1:
                code = PublishError.NOBODY_KNOWS
            results = [self.carry_out(each) for each in operations] if code is None else []
            if self.loses_answers:
                code = PublishError.NOBODY_KNOWS
            if code is not None:
                done(code, b"")
            else:
                done(0, cached.encode_results(results))

    def go_on(self):
        """Answer again."""
        self.holds = False
        self._answer()
