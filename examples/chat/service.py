"""A chat on the service library: people, messages, groups (README.md beside this says which topic means what).

.venv/bin/python examples/chat/service.py        # beside `make run`, with the same PUSH_* variables
"""

import logging
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgpack
from bodies import classes
from google.protobuf.message import DecodeError, Message
from store import Said, Store

from services.library import ClientCall, Refusal, Service, Signal, SubSignal
from shared.calls import Internal, internal
from shared.errors import SenderError
from shared.startup.environment import read_settings

#: Seconds that the gateway keeps a message for a recipient who is away; MP has it after that, too.
KEPT_S = 7 * 86_400
TEXT_MAX, TITLE_MAX, MEMBERS_MAX, PAGE_MAX = 4_000, 100, 100, 100
#: Codes of refusals: what was asked makes no sense; is not the asker's to ask; cannot be had now.
MALFORMED, NOT_PERMITTED, UNAVAILABLE = 1, 2, 3
GROUPS = internal(Internal.GROUPS)

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
settings = read_settings()
directory = Path(settings.data_dir) / "state"
directory.mkdir(parents=True, exist_ok=True)
store = Store(directory / "chat.db")
service = Service("chat", settings, threads=8)

Work = Callable[[str, Any], Message]


def answers(sub_signal: SubSignal, request: str, *, idempotent: bool = False) -> Callable[[Work], Work]:
    """Has a function answer a topic: the asker's name and the request in, a message out."""

    def register(work: Work) -> Work:
        def handle(call: ClientCall) -> bytes:
            try:
                asked = classes[request].FromString(call.body)
            except DecodeError:
                raise refusal(MALFORMED, f"body is no chat.{request}") from None
            return work(call.token or "", asked).SerializeToString()

        service.answers(Signal.PUBLISH, sub_signal, idempotent=idempotent)(handle)
        return work

    return register


def refusal(code: int, why: str) -> Refusal:
    return Refusal(code, why.encode())


# --- people


@answers(SubSignal.MMI, "OwnInfo", idempotent=True)
def set_own_info(name: str, asked: Any) -> Message:
    display_name = checked_text(asked.display_name, "display name", TITLE_MAX)
    return classes["User"](name=name, display_name=store.set_display_name(name, display_name))


@answers(SubSignal.UPUI, "Names", idempotent=True)
def user_info(name: str, asked: Any) -> Message:
    return people(store.display_names(asked.names[:PAGE_MAX]))


@answers(SubSignal.FP, "Nothing", idempotent=True)
def friends(name: str, asked: Any) -> Message:
    """Everybody who has ever said MMI: this chat has no requests for friendship."""
    others = {other: shown for other, shown in store.everybody().items() if other != name}
    return people(others, online=[bool(found and found["online"]) for found in service.find(others)] if others else [])


def people(shown: dict[str, str], online: Iterable[bool] = ()) -> Message:
    users = classes["Users"](users=[{"name": name, "display_name": text} for name, text in shown.items()])
    for user, is_online in zip(users.users, online, strict=False):
        user.online = is_online
    return users


# --- messages


@answers(SubSignal.MS, "NewMessage", idempotent=True)
def send(name: str, asked: Any) -> Message:
    """It is kept, then pushed to whom it is for. Said again with the same `client_id` it is pushed again, not kept."""
    text = checked_text(asked.text, "text", TEXT_MAX)
    if not text:
        raise refusal(MALFORMED, "text is missing")
    if not (asked.user or asked.group):
        raise refusal(MALFORMED, "user or group is missing")
    if asked.user and not store.display_names([asked.user]):
        raise refusal(NOT_PERMITTED, f"there is no {asked.user}")
    if asked.group and asked.group not in groups_of(name):
        raise refusal(NOT_PERMITTED, "not a member of this group")
    said = Said(0, name, asked.user or None, asked.group or None, text, time.time_ns() // 1_000_000)
    return notify(store.add(said, asked.client_id))


@answers(SubSignal.MP, "Pull", idempotent=True)
def pull(name: str, asked: Any) -> Message:
    most = min(asked.most, PAGE_MAX) if asked.most > 0 else PAGE_MAX
    found = store.after(asked.after, name, groups_of(name), most + 1)
    return classes["Pulled"](messages=[message(said) for said in found[:most]], more=len(found) > most)


def notify(said: Said) -> Message:
    """MN to the recipient, or to the group, its sender included; the message. Does not wait for the outcome."""
    told = message(said)
    options: dict[str, Any] = {"signal": "PUBLISH", "sub_signal": "MN", "ttl": KEPT_S}
    if said.group:
        options["to"] = "group"
    try:
        service.push_nowait(said.group or said.user or "", told.SerializeToString(), **options)
    except SenderError as error:  # no room for it: they find it with MP
        logging.warning("message %d was not pushed: %s", said.id, error)
    return told


def message(said: Said) -> Message:
    return classes["Message"](**said._asdict())


def checked_text(text: str, what: str, most: int) -> str:
    if len(text) > most:
        raise refusal(MALFORMED, f"{what} of {len(text)} characters exceeds the limit of {most}")
    return text.strip()


# --- groups


@answers(SubSignal.GC, "NewGroup")
def create_group(name: str, asked: Any) -> Message:
    """Its members hear of it by its first message."""
    title = checked_text(asked.title, "title", TITLE_MAX)
    members = sorted({name, *asked.members})
    unknown = set(members) - store.display_names(members[:MEMBERS_MAX]).keys()
    if not title or len(members) > MEMBERS_MAX or unknown:
        raise refusal(MALFORMED, f"a group has a title and at most {MEMBERS_MAX} members, all of them known")
    group = f"chat-{os.urandom(8).hex()}"
    store.add_group(group, title, name)
    ask_groups(op="create", group=group, by=name, tokens=members)
    text = f"{store.display_names([name])[name]} has made the group {title}"
    notify(store.add(Said(0, name, None, group, text, time.time_ns() // 1_000_000), ""))
    return classes["Group"](group=group, title=title, owner=name)


@answers(SubSignal.GPGI, "GroupNames", idempotent=True)
def group_info(name: str, asked: Any) -> Message:
    own = groups_of(name)
    found = store.groups([group for group in asked.groups or own if group in own])
    fields = [{"group": group, "title": title, "owner": owner} for group, title, owner in found]
    return classes["Groups"](groups=fields)


@answers(SubSignal.GPGM, "GroupName", idempotent=True)
def group_members(name: str, asked: Any) -> Message:
    if asked.group not in groups_of(name):
        raise refusal(NOT_PERMITTED, "not a member of this group")
    return people(store.display_names(ask_groups(op="list", group=asked.group)["tokens"]))


def groups_of(name: str) -> list[str]:
    return ask_groups(op="of", token=name)["groups"]


def ask_groups(**fields: Any) -> dict[str, Any]:
    """The group service's answer. Raises Refusal."""
    code, body = service.ask(GROUPS, msgpack.packb(fields), timeout_s=3)
    if code == 0:
        return msgpack.unpackb(body)
    why = msgpack.unpackb(body)["message"] if code == 1 else "does not answer"
    raise refusal(UNAVAILABLE, f"group service: {why}")


if __name__ == "__main__":
    if not settings.protobuf_dir:
        logging.warning("protobuf_dir is not set: the gateway makes no protobuf of what web pages say (README.md)")
    raise SystemExit(service.run())
