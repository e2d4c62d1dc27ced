"""Composition of the group service."""

from collections.abc import Iterator
from typing import Any

from services.group.contacts import Contacts
from services.group.groups import GroupTopics
from services.group.leftovers import Leftovers
from services.library import Service, Signal
from services.storage.opening import open_storage
from shared.calls import Internal, internal
from shared.outcomes import Outcome
from shared.settings import Settings

_THREADS = 4


def serve(settings: Settings, index: int) -> int:
    """Until SIGTERM; the exit status. Raises SettingsError."""
    with open_storage(settings) as storage, Leftovers() as leftovers:
        service = Service("group", settings, threads=_THREADS)

        def push_many(*pushes: Any, **options: Any) -> Iterator[Outcome]:
            return service.sender.push_many(*pushes, **options)

        groups = GroupTopics(storage, service.regroup, leftovers.add)
        contacts = Contacts(storage, groups, push_many, settings.contact_ttl_s)
        service.answers(*internal(Internal.GROUPS))(groups.groups)
        service.answers(*internal(Internal.GROUP_MEMBERS), idempotent=True)(groups.members)
        service.answers(*internal(Internal.GROUPS_OF), idempotent=True)(groups.groups_of)
        service.answers(Signal.CONTACT, 0)(contacts.contact)
        return service.run()
