"""/v1 as `make run` serves it: the page of the specification in Chromium, and draining by supervisord."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.examples.browsers import Browser, chromium
from tests.fleet.foreground import Foreground
from tests.fleet.processes import wait_until


@pytest.fixture(scope="module")
def fleet() -> Iterator[Foreground]:
    started = Foreground(workers=2)
    started.start()
    try:
        started.wait_ready()
        yield started
        started.press_ctrl_c()
        started.launcher.wait()
    finally:
        started.close()


def url(fleet: Foreground, path: str) -> str:
    return f"http://127.0.0.1:{fleet.settings.api_port}{path}"


def test_the_page_shows_the_routes_and_tries_them_and_fetches_nothing_from_elsewhere(
    fleet: Foreground, tmp_path: Path
) -> None:
    with Browser(chromium(), tmp_path) as browser:
        window = browser.open(url(fleet, "/v1/swagger"), width=1000, height=900)
        window.wait_for("document.querySelectorAll('.opblock').length > 15")
        assert "/v1/pushes" in [text.replace("\u200b", "") for text in window.text(".opblock-summary-path")]
        places = window.run("performance.getEntriesByType('resource').map((one) => new URL(one.name).host)")
        assert set(places) == {f"127.0.0.1:{fleet.settings.api_port}"}
        window.run("document.querySelector('#operations-fleet-get_fleet .opblock-summary-control').click()")
        window.wait_for("document.querySelector('#operations-fleet-get_fleet .try-out__btn') !== null")
        window.run("document.querySelector('#operations-fleet-get_fleet .try-out__btn').click()")
        window.wait_for("document.querySelector('#operations-fleet-get_fleet .execute') !== null")
        window.run("document.querySelector('#operations-fleet-get_fleet .execute').click()")
        window.wait_for("document.querySelector('#operations-fleet-get_fleet .live-responses-table') !== null")
        assert "here/0" in "".join(window.text("#operations-fleet-get_fleet .live-responses-table"))


def drain(fleet: Foreground, worker: str) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(url(fleet, f"/v1/workers/{worker}/drain"), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def test_a_drained_worker_is_not_started_again(fleet: Foreground) -> None:
    assert drain(fleet, "gateway-1") == (202, {"worker": "here/1", "state": "leaving"})
    wait_until(
        lambda: (
            "EXITED" in fleet.supervisorctl("status", "gateway:gateway-1")
            or "STOPPED" in fleet.supervisorctl("status", "gateway:gateway-1")
        ),
        "it has left",
    )
    assert drain(fleet, "1")[1]["code"] == "already_leaving"
    assert drain(fleet, "7")[1]["code"] == "no_such_worker"
    assert fleet.pushctl("start", "1")[0] == 0
    assert drain(fleet, "1")[0] == 202
