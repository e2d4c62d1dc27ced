"""services/api/v1/fleet.py without a fleet: workers of other hosts."""

from pathlib import Path
from typing import Any

import pytest

from services.api.key_files import KeyFile
from services.api.v1.access import Access
from services.api.v1.application import make_application
from services.api.v1.calls import Calls
from services.api.v1.parts import Parts
from shared.errors import SenderError
from shared.settings import load


def drain(directory: Path, worker: str, *, silent: bool = False) -> Any:
    """(status, code, detail) of a fleet of here/0 and there/3."""

    def figures() -> dict[str, Any]:
        if silent:
            raise SenderError("timed_out", "no router answered")
        return {"workers": {"here/0": {"state": "leaving"}, "there/3": {"state": "live"}}}

    settings = load({"PUSH_DATA_DIR": str(directory), "PUSH_HOST_NAME": "here"})
    parts = Parts(settings, None, Calls(None), figures, Access(KeyFile(directory / "none")))
    told = make_application(parts).test_client().post(f"/v1/workers/{worker}/drain", headers={"Host": "127.0.0.1"})
    return told.status_code, told.json["code"], told.json["detail"]


def test_a_worker_of_another_host_is_told_by_the_api_there(tmp_path: Path) -> None:
    status, code, detail = drain(tmp_path, "there\x1f3")
    assert (status, code) == (421, "other_host")
    assert "there/3 runs on there" in detail


@pytest.mark.parametrize("worker", ["there\x1f4", "nowhere\x1f0", "there", "-1"])
def test_a_worker_that_nobody_knows(tmp_path: Path, worker: str) -> None:
    assert drain(tmp_path, worker)[:2] == (404, "no_such_worker")


def test_where_no_router_says_who_there_is_it_is_none_of_this_host(tmp_path: Path) -> None:
    assert drain(tmp_path, "there\x1f3", silent=True)[:2] == (404, "no_such_worker")
    assert drain(tmp_path, "here\x1f0")[:2] == (409, "already_leaving")
