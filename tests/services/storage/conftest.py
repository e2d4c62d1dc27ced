"""Every storage, for the contract."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.storage.interfaces import Storage
from services.storage.sqlite_storage import SqliteStorage


@pytest.fixture(params=["sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """One that is empty."""
    with SqliteStorage(tmp_path / "push.db") as opened:
        yield opened
