"""What a message store does, in plain Python and slowly; without the bound on all tokens together."""

from dataclasses import dataclass, field

from services.storage.messages import OVERHEAD_BYTES, RECENT_MS, Bounds, number_at
from shared.cached_messages import (
    Clear,
    Cleared,
    Copy,
    Count,
    Counted,
    Drop,
    Dropped,
    Full,
    Message,
    Messages,
    Read,
    Store,
    Stored,
)


def size_of(store):
    return len(store.payload) + OVERHEAD_BYTES


@dataclass
class Token:
    newest: int = 0
    kept: dict = field(default_factory=dict)  # Store by number
    recent: dict = field(default_factory=dict)  # key: (number, known until)

    @property
    def bytes(self):
        return sum(map(size_of, self.kept.values()))

    def remove(self, seq, now):
        store = self.kept.pop(seq, None)
        if store is None:
            return 0
        self.recent[store.key] = seq, now + RECENT_MS
        return 1

    def expire(self, now):
        for seq in [seq for seq, store in self.kept.items() if store.expires <= now]:
            self.remove(seq, now)

    def victim(self, newcomer, by_bytes):
        has = {}
        for store in self.kept.values():
            has[store.sender] = has.get(store.sender, 0) + (size_of(store) if by_bytes else 1)
        greedy = [sender for sender in has if has[sender] == max(has.values())]
        greedy = [newcomer] if newcomer in greedy else greedy
        return min(seq for seq, store in self.kept.items() if store.sender in greedy)


class Model:
    def __init__(self, bounds: Bounds):
        self.bounds = bounds
        self.tokens = {}

    def apply(self, operations, now):
        return [self.one(operation, now) for operation in operations]

    def sweep(self, now):
        for token in self.tokens.values():
            token.expire(now)

    def totals(self):
        return sum(len(token.kept) for token in self.tokens.values()), sum(t.bytes for t in self.tokens.values())

    def one(self, operation, now):
        token = self.tokens.setdefault(operation.token, Token())
        match operation:
            case Store():
                return self.store(token, operation, now)
            case Read(after=after, most=most, most_bytes=most_bytes):
                return self.read(token, after, most, most_bytes, now)
            case Drop(seqs=seqs):
                return Dropped(sum([token.remove(seq, now) for seq in seqs]))
            case Clear():
                return Cleared(sum([token.remove(seq, now) for seq in list(token.kept)]))
            case Count():
                return Counted(len(token.kept), token.bytes)

    def store(self, token, store, now):
        for seq, kept in token.kept.items():
            if kept.key == store.key:
                return Copy(seq)
        seq, until = token.recent.get(store.key, (0, 0))
        if until > now:
            return Copy(seq)

        def older():
            return [
                seq
                for seq, kept in token.kept.items()
                if store.collapse is not None and kept.collapse == store.collapse
            ]

        def too_many():
            return len(token.kept) - len(older()) >= self.bounds.messages

        def over():
            saved = sum(size_of(token.kept[seq]) for seq in older())
            return too_many() or token.bytes - saved + size_of(store) > self.bounds.bytes

        if over():
            token.expire(now)
        if size_of(store) > self.bounds.bytes or (over() and not self.bounds.drops_oldest):
            return Full()
        collapsed = len(older())
        for seq in older():
            token.remove(seq, now)
        dropped = 0
        while over():
            token.remove(token.victim(store.sender, by_bytes=not too_many()), now)
            dropped += 1
        token.newest = max(token.newest + 1, number_at(now))
        token.kept[token.newest] = store
        return Stored(token.newest, dropped, collapsed)

    def read(self, token, after, most, most_bytes, now):
        messages, size = [], 0
        for seq, store in token.kept.items():
            if seq <= after or store.expires <= now:
                continue
            size += len(store.payload)
            if len(messages) == most or (messages and size > most_bytes):
                return Messages(messages, token.newest, True)
            said = store.signal, store.sub_signal, store.expires, store.payload, store.request_id
            messages.append(Message(seq, store.key, *said))
        return Messages(messages, token.newest, False)
