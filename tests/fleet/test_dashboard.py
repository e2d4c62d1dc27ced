"""The dashboard in headless Chromium, before a real fleet."""

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import websocket

from shared.tokens import slot_of
from tests.clients.kinds import connect
from tests.examples.browsers import Browser, Window, chromium
from tests.fleet.fleet_process import Fleet
from tests.fleet.http_api import Api, make_key
from tests.fleet.processes import wait_until

SCRIPT = "<img src=x onerror='document.title=1'><script>document.title=2</script>"
#: Violations of the policy, errors of scripts, and what was fetched from elsewhere.
_WATCH = """
window.faults = [];
addEventListener('securitypolicyviolation', (event) => window.faults.push(event.violatedDirective + event.blockedURI));
addEventListener('error', (event) => window.faults.push(String(event.message)));
addEventListener('unhandledrejection', (event) => window.faults.push(String(event.reason)));
"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(status=True, workers=2, services="all") as started:
        yield started


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(chromium(), tmp_path) as opened:
        yield opened


def open_page(browser: Browser, fleet: Fleet, **look: object) -> Window:
    """The dashboard, watched for faults."""
    window = browser.open("about:blank", **look)  # type: ignore[arg-type]
    window.ask("Page.addScriptToEvaluateOnNewDocument", source=_WATCH)
    window.ask("Page.navigate", url=f"http://{fleet.host}:{fleet.api_port}/")
    window.wait_for("document.readyState === 'complete' && location.protocol === 'http:'")
    return window


def tile(window: Window, name: str) -> str:
    return window.text(f"#now-{name}")[0]


def assert_no_faults(window: Window, fleet: Fleet) -> None:
    assert window.run("window.faults") == []
    hosts = window.run("performance.getEntriesByType('resource').map((one) => new URL(one.name).host)")
    assert set(hosts) == {f"{fleet.host}:{fleet.api_port}"}


def test_shows_what_happens_while_it_happens(browser: Browser, fleet: Fleet) -> None:
    window = open_page(browser, fleet)
    window.wait_for("document.querySelectorAll('#workers tr').length === 2")
    with connect("v2", fleet.address) as client:
        client.subscribe("shown")
        window.wait_for("document.querySelector('#now-connections').innerText === '1'")
        api = Api(fleet)

        def pushed_and_shown() -> bool:
            assert api.push({"token": "shown", "payload": "x"}).body["results"][0]["outcome"] == "SENT"
            return tile(window, "pushes") not in ("0", "–") and tile(window, "delivered") == "100.0 %"

        wait_until(pushed_and_shown, "the pushes are shown", 20)
        window.wait_for("document.querySelector('#now-p99').innerText.endsWith('s')")
        window.wait_for("document.querySelector('#chart-connections .u-legend').innerText.trim().endsWith('1')")
        api.push({"token": "is away", "payload": "x", "ttl": 60})

        def only_kept_is_not_delivered() -> bool:
            assert api.push({"token": "is away", "payload": "x", "ttl": 60}).body["results"][0]["outcome"] == "STORED"
            return tile(window, "delivered") == "0.0 %"

        wait_until(only_kept_is_not_delivered, "what is only stored is not called delivered", 20)
    window.wait_for("/(peer_closed|io_error|client_disconnect)/.test(document.querySelector('#closes').innerText)")
    assert window.run("document.querySelectorAll('.ring circle').length") == 2
    assert sum(float(share.split()[-2]) for share in window.text(".legend li")) == pytest.approx(100, abs=0.11)
    assert window.run("document.querySelectorAll('.uplot canvas').length") == 3
    assert_no_faults(window, fleet)


def test_scripts_in_tokens_and_payloads_are_text(browser: Browser, fleet: Fleet) -> None:
    token = "<script>document.title=3</script>"
    assert Api(fleet).push({"token": token, "payload": SCRIPT, "ttl": 60}).body["results"][0]["outcome"] == "STORED"
    window = open_page(browser, fleet)
    window.wait_for("!document.querySelector('#page').hidden")
    window.tab_to("#search-token")
    window.type(token)
    window.press("Enter")
    window.wait_for("document.querySelectorAll('#search-messages li').length === 1")
    assert window.text("#search-messages li") == [SCRIPT]
    assert token in window.text("#search-answer dd")
    assert window.run("document.title") == "push-gateway"
    assert window.run("document.querySelectorAll('main img, main script').length") == 0
    assert_no_faults(window, fleet)


def test_finds_a_token_and_pushes_to_it_by_keyboard(browser: Browser, fleet: Fleet) -> None:
    window = open_page(browser, fleet)
    window.wait_for("!document.querySelector('#page').hidden")
    with connect("v2", fleet.address) as client:
        client.subscribe("by keys/é")
        window.tab_to("#search-token")
        window.type("by keys/é")
        window.press("Enter")
        window.wait_for("document.querySelector('#search-answer').innerText.includes('Since')")
        assert {"v2", "0 messages", "0 pushed, 0 acknowledged"} <= set(window.text("#search-answer dd"))
        window.tab_to("#push-token")
        window.type("by keys/é")
        window.press("Enter")
        window.wait_for("document.querySelector('#push-answer').innerText === 'SENT'")
        assert client.read_push().body == b"hello"
    assert_no_faults(window, fleet)


def test_shows_where_a_token_lies_and_what_became_of_its_pushes(browser: Browser, fleet: Fleet) -> None:
    window = open_page(browser, fleet)
    window.wait_for("!document.querySelector('#page').hidden")
    api = Api(fleet)
    assert api.push({"token": "traced", "payload": "while away", "ttl": 60}).body["results"][0]["outcome"] == "STORED"
    with connect("v2", fleet.address) as client:
        client.subscribe("traced", ack=True)
        client.acknowledge(client.read_push().message_id)
        assert api.push({"token": "traced", "payload": "x"}).body["results"][0]["outcome"] == "SENT"
        client.acknowledge(client.read_push().message_id)

        def acknowledged() -> bool:
            window.run("document.querySelector('#search-token').value = 'traced'")
            window.run("document.querySelector('#search').requestSubmit()")
            window.wait_for("document.querySelector('#search-answer').innerText.includes('Lately')")
            return "2 pushed, 2 acknowledged" in window.text("#search-answer dd")

        wait_until(acknowledged, "both acknowledgements are shown", 20)
        told = api("GET", "/v1/tokens/traced/explanation").body
    assert (told["online"], told["slot"], told["worker"]) == (True, slot_of(b"traced"), told["owner"])
    newest, oldest = window.text("#search-recent summary")
    assert re.fullmatch(r"[\d:]{8} 1 bytes: SENT after [\d.]+ ms, acknowledged after [\d.]+ ms", newest)
    assert "STORED" in oldest
    window.run("document.querySelector('#search-recent summary').click()")
    assert any(f"{told['owner']}: received" in hop for hop in window.text("#search-recent details[open] li"))
    window.wait_for("document.querySelectorAll('.ring .mark').length === 1")
    where = window.run("({...document.querySelector('.ring .mark').dataset})")
    assert where == {"slot": str(told["slot"]), "owner": told["owner"]}
    assert f"slot {told['slot']} of {told['owner']}" in window.text("#search-answer dd")
    window.run("window.drawn = document.querySelector('.ring')")
    window.wait_for(
        "document.querySelector('.ring') !== window.drawn && document.querySelector('.ring .mark') !== null"
    )
    assert_no_faults(window, fleet)


def test_comes_back_when_the_router_and_then_the_api_restart(browser: Browser, fleet: Fleet) -> None:
    window = open_page(browser, fleet)
    window.wait_for("document.querySelector('#state').innerText === '2 workers live'")
    fleet.kill_router()
    window.wait_for("document.querySelector('#state').innerText.includes('router does not answer')")
    fleet.start_router()
    window.wait_for("document.querySelector('#state').innerText === '2 workers live'")
    fleet.processes["status"].send(15)
    fleet.processes["status"].wait()
    window.wait_for("document.querySelector('#state').innerText.includes('no connection')")
    fleet._start("status", "status")
    window.wait_for("document.querySelector('#state').innerText === '2 workers live'")
    assert window.run("window.faults") == []


@pytest.mark.parametrize("dark", [False, True])
def test_fits_a_phone(browser: Browser, fleet: Fleet, dark: bool) -> None:
    token = "w" * 120
    window = open_page(browser, fleet, width=390, height=844, dark=dark)
    window.wait_for("document.querySelectorAll('#workers tr').length === 2")
    window.wait_for("document.querySelectorAll('#services tr').length > 0")
    label = "getComputedStyle(document.querySelector('#services td'), '::before')"
    assert window.run(f"[{label}.whiteSpace, {label}.flexShrink]") == ["nowrap", "0"]  # a long name does not break it
    window.run(f"document.querySelector('#search-token').value = {json.dumps(token)}")
    window.run("document.querySelector('#search').requestSubmit()")
    window.wait_for(f"document.querySelector('#search-answer').innerText.includes({json.dumps(token)})")
    assert window.run("document.documentElement.scrollWidth") <= 390
    outside = "[...document.querySelectorAll('main *')].filter((one) => one.getBoundingClientRect().right > 390.5)"
    hidden = ".filter((one) => !one.closest('thead, .unseen')).map((one) => one.tagName + one.className)"
    assert window.run(outside + hidden) == []
    light = window.run("getComputedStyle(document.body).backgroundColor")
    assert (light == "rgb(20, 23, 28)") is dark


def test_what_can_be_no_token_is_said_once(browser: Browser, fleet: Fleet) -> None:
    window = open_page(browser, fleet)
    window.wait_for("!document.querySelector('#page').hidden")
    window.run("document.querySelector('#search-token').value = 'x'.repeat(256)")
    window.run("document.querySelector('#search').requestSubmit()")
    window.wait_for("document.querySelector('#search-answer').innerText.includes('Wrong')")
    assert window.text("#search-answer dt") == ["Token", "Wrong"]
    assert window.run("window.faults") == []


def test_draining_is_confirmed_first(browser: Browser) -> None:
    with Fleet(status=True, workers=2) as fleet:
        window = open_page(browser, fleet)
        window.wait_for("document.querySelectorAll('#workers button').length === 2")
        window.tab_to("#workers button[data-worker='here/1']")
        window.press("Enter")
        window.wait_for("document.querySelector('#confirm').open")
        assert "Drain here/1?" in window.text("#confirm-question")
        window.press("Enter")  # Cancel has the focus
        window.wait_for("!document.querySelector('#confirm').open")
        assert len(fleet.live_workers()) == 2
        window.run("document.querySelector(\"#workers button[data-worker='here/1']\").click()")
        window.tab_to("#confirm-yes")
        window.press("Enter")
        wait_until(lambda: fleet.live_workers() == ["here/0"], "it has left", 20)
        window.wait_for("document.querySelector('#state').innerText.startsWith('1 workers live')")


def test_wants_a_key_where_there_are_keys(browser: Browser) -> None:
    with Fleet(status=True, workers=1) as fleet:
        key, pusher = make_key(fleet, "looker", "read"), make_key(fleet, "shop", "push")
        wait_until(lambda: Api(fleet)("GET", "/v1/fleet").status == 401, "keys are known", 20)
        window = open_page(browser, fleet)
        window.wait_for("!document.querySelector('#login').hidden")
        assert window.run("document.querySelector('#page').hidden")
        for wrong, fault in (
            ("pgk_wrong", "not known"),
            ("ключ", "not known"),
            ("a,b", "not known"),
            (pusher, "may not"),
        ):
            window.run("document.querySelector('#key').focus()")
            window.type(wrong)
            window.press("Enter")
            window.wait_for(f"document.querySelector('#login-fault').innerText.includes('{fault}')")
            assert window.run("sessionStorage.length") == 0
            window.run("document.querySelector('#login-fault').textContent = ''")
        window.type(key)
        window.press("Enter")
        window.wait_for("document.querySelectorAll('#workers tr').length === 1")
        urls = window.run("performance.getEntriesByType('resource').map((one) => one.name).concat(location.href)")
        assert not any("pgk_" in url for url in urls)
        window.run("document.querySelector('#push-token').value = 'a'; document.querySelector('#push').requestSubmit()")
        window.wait_for("document.querySelector('#push-answer').innerText.includes('scope')")
        window.run("document.querySelector('#logout').click()")
        window.wait_for("!document.querySelector('#login').hidden")
        assert window.run("[sessionStorage.length, localStorage.length, document.cookie.length]") == [0, 0, 0]
        assert window.run("window.faults") == []


def feed(fleet: Fleet, key: str = "", origin: str = "") -> websocket.WebSocket:
    """The page's WebSocket."""
    place = f"{fleet.host}:{fleet.api_port}"
    offered = ["push-dashboard", *([f"key.{key}"] if key else [])]
    return websocket.create_connection(
        f"ws://{place}/dashboard/live", timeout=20, subprotocols=offered, origin=origin or f"http://{place}"
    )


def end_of(opened: websocket.WebSocket) -> str:
    """The reason in the close frame that comes sooner or later."""
    while True:
        kind, data = opened.recv_data()
        if kind == websocket.ABNF.OPCODE_CLOSE:
            assert int.from_bytes(data[:2], "big") == 1008
            return str(data[2:].decode())


def test_the_feed_is_for_keys_that_may_read_and_for_this_page(fleet: Fleet) -> None:
    assert "workers" in json.loads(feed(fleet).recv())
    assert end_of(feed(fleet, origin="http://evil.example")) == "foreign_page"
    with Fleet(status=True, workers=1) as locked:
        key = make_key(locked, "looker", "read")
        wait_until(lambda: Api(locked)("GET", "/v1/fleet").status == 401, "keys are known", 20)
        assert end_of(feed(locked)) == "unauthorized"
        assert end_of(feed(locked, "pgk_wrong")) == "unauthorized"
        assert end_of(feed(locked, make_key(locked, "shop", "push"))) in ("insufficient_scope", "unauthorized")
        assert end_of(feed(locked, key, "http://evil.example")) == "foreign_page"
        figures_are_for_keys_that_may_read(locked, key)
        opened = feed(locked, key)
        assert opened.subprotocol == "push-dashboard"
        assert "workers" in json.loads(opened.recv())
        command = [sys.executable, "-m", "services.pushctl.main", "key", "revoke", "looker"]
        subprocess.run(command, env=locked.environ, check=True, capture_output=True, timeout=60)
        assert end_of(opened) == "unauthorized"


def figures_are_for_keys_that_may_read(fleet: Fleet, key: str) -> None:
    """All beside the dashboard and /v1; health is for everybody, metrics for this machine too."""
    nobody, reader = Api(fleet), Api(fleet, key)
    assert nobody("GET", "/health/live").status == 200
    assert nobody("GET", "/health/ready").status == 200
    assert nobody("GET", "/stats").code == "unauthorized"
    assert "workers" in reader("GET", "/stats").body
    assert nobody("GET", "/metrics").status == 200
    assert nobody("GET", "/metrics", X_Forwarded_For="192.0.2.1").code == "unauthorized"
    assert reader("GET", "/metrics", X_Forwarded_For="192.0.2.1").status == 200
    place = f"ws://{fleet.host}:{fleet.api_port}/live"
    assert end_of(websocket.create_connection(place, timeout=20)) == "unauthorized"
    opened = websocket.create_connection(place, timeout=20, header=reader.headers)
    assert "workers" in json.loads(opened.recv())
    opened.close()


def test_headers_let_nothing_in(fleet: Fleet) -> None:
    with urllib.request.urlopen(f"http://{fleet.host}:{fleet.api_port}/", timeout=10) as answer:
        policy = answer.headers["Content-Security-Policy"]
        text = answer.read().decode()
        tag = answer.headers["ETag"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "style=" not in text
    assert "onclick" not in text
    assert Api(fleet)("GET", "/", If_None_Match=tag).status == 304
    assert Api(fleet)("POST", "/").status == 405
    assert Api(fleet)("GET", "/dashboard/../pages.py").status == 404
