"""The chat's page in two windows of a headless Chromium, beside a client of binary packets with protobuf."""

import base64
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.clients.kinds import connect
from tests.examples.browsers import Browser, Window, chromium
from tests.examples.chatters import CHAT, PROTOBUFS, ProtobufChatter, protobuf_classes
from tests.examples.programs import Program
from tests.fleet.fleet_process import Fleet

SCRIPT = '<script>document.title = "taken"</script><img src="x" onerror="document.title = \'taken\'">'
TEXTS = "#messages p"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(chromium(), tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture(scope="module")
def fleet(browser: Browser) -> Iterator[Fleet]:
    """After the browser, so that none is started where that is missing."""
    fleet = Fleet(services="subscribe,group,message-cache", protobuf_dir=str(PROTOBUFS))
    with fleet, Program([sys.executable, str(CHAT / "service.py")], fleet.environ):
        yield fleet


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return protobuf_classes(tmp_path_factory.mktemp("protoc"))


@pytest.fixture
def chat(browser: Browser, fleet: Fleet) -> Callable[..., Window]:
    """Opens the page as somebody, and waits until the service has answered it."""

    def open_page(name: str, shown: str, **look: Any) -> Window:
        said = {"name": name, "shown": shown, "gateway": f"ws://{fleet.host}:{fleet.client_port}/"}
        window = browser.open(f"{(CHAT / 'index.html').as_uri()}?{urlencode(said)}", **look)
        window.wait_for(f"document.getElementById('state').textContent === 'connected as {name}'")
        window.wait_for("ask('MMI', {}).then(() => true, () => false)")
        window.run("begin()")
        return window

    return open_page


def choose(window: Window, title: str) -> None:
    """A person or a group, by its button."""
    button = f"[...document.querySelectorAll('nav li button')].find((one) => one.innerText.startsWith('{title}'))"
    window.wait_for(f"!!{button}")
    window.run(f"{button}.click()")


def say(window: Window, text: str) -> None:
    """By the keyboard; the focus is in the field, because a conversation has been chosen."""
    assert window.run("document.activeElement.id") == "text"
    window.type(text)
    window.press("Enter")
    window.wait_for("document.getElementById('text').value === ''")


def wait_for_texts(window: Window, *texts: str) -> None:
    window.wait_for(
        f"JSON.stringify([...document.querySelectorAll('{TEXTS}')].map((one) => one.textContent).slice(-{len(texts)}))"
        f" === JSON.stringify({list(texts)!r})"
    )


def test_two_windows_and_a_binary_client(
    browser: Browser, fleet: Fleet, chat: Callable[..., Window], classes: Any, tmp_path: Path
) -> None:
    alice, bob = chat("alice", "Alice"), chat("bob", "Bob", dark=True)
    with connect("v2", fleet.address) as client:
        client.subscribe("carol")
        carol = ProtobufChatter(client, classes)
        carol.ask("MMI", classes.OwnInfo(display_name="Carol"), classes.User)

        # between the windows, the second of which has not opened the conversation yet
        alice.run("look()")
        choose(alice, "Bob")
        say(alice, "hello bob")
        bob.wait_for("document.querySelector('#people b')?.textContent === '1 new'")
        choose(bob, "Alice")
        wait_for_texts(bob, "hello bob")
        say(bob, "good day, 你好")
        wait_for_texts(alice, "hello bob", "good day, 你好")

        # with the binary client
        alice.run("look()")
        choose(alice, "Carol")
        say(alice, "and you?")
        heard = carol.hear_message()
        assert (heard.sender, heard.user, heard.text) == ("alice", "carol", "and you?")
        carol.ask("MS", classes.NewMessage(user="alice", text="by protobuf"), classes.Message)
        wait_for_texts(alice, "and you?", "by protobuf")

        # what looks like a page's own code is text
        carol.ask("MS", classes.NewMessage(user="alice", text=SCRIPT), classes.Message)
        alice.wait_for("document.querySelectorAll('#messages p').length === 3")
        assert alice.text(TEXTS)[-1] == SCRIPT
        assert alice.run("document.querySelectorAll('#messages script, #messages img').length") == 0
        assert alice.run("document.title") == "chat: alice"

    # a group of the two windows and the client, which is away
    bob.wait_for("look().then(() => document.querySelectorAll('#choices input').length === 2)")
    make_group(bob, "tea", 2)
    say(bob, "milk?")
    choose(alice, "tea")
    wait_for_texts(alice, "Bob has made the group tea", "milk?")
    say(alice, "yes, with carol")
    wait_for_texts(bob, "Bob has made the group tea", "milk?", "yes, with carol")
    bob.wait_for("document.getElementById('with').textContent === 'tea: Alice, Bob, Carol'")
    with connect("v2", fleet.address) as client:
        client.subscribe("carol")
        returned = ProtobufChatter(client, classes)
        returned.position = heard.id
        texts = ["Bob has made the group tea", "milk?", "yes, with carol"]
        assert [returned.hear_message().text for _ in texts] == texts
    keep_screenshot(browser, [alice, bob], tmp_path / "screenshot.png")


def make_group(window: Window, title: str, members: int) -> None:
    """By the keyboard alone."""
    window.tab_to("summary")
    window.press("Enter")
    window.tab_to("#title")
    window.type(title)
    for number in range(1, members + 1):
        window.tab_to(f"#choices label:nth-child({number}) input")
        window.press("Space")
    window.tab_to("#make button")
    window.press("Enter")
    window.wait_for(f"document.getElementById('with').textContent.startsWith({title!r})")


def keep_screenshot(browser: Browser, windows: list[Window], path: Path) -> None:
    """The windows side by side; examples/chat/screenshot.png is one of these."""
    shots = [base64.b64encode(window.screenshot()).decode() for window in windows]
    images = "".join(f'<img src="data:image/png;base64,{shot}">' for shot in shots)
    page = path.with_suffix(".html")
    page.write_text(f"<!doctype html><body style='margin: 0; display: flex'>{images}")
    path.write_bytes(browser.open(page.as_uri(), width=700 * len(windows)).screenshot())
    assert path.stat().st_size > 10_000
    print(f"screenshot: {path}")


def test_who_closed_the_window_finds_everything_on_return(browser: Browser, chat: Callable[..., Window]) -> None:
    dave, erin = chat("dave", "Dave"), chat("erin", "Erin")
    erin.run("look()")
    dave.ask("Page.close")
    choose(erin, "Dave")
    say(erin, "one")
    say(erin, "two")
    wait_for_texts(erin, "one", "two")
    dave = chat("dave", "Dave")
    dave.run("look()")
    choose(dave, "Erin")
    wait_for_texts(dave, "one", "two")
    assert dave.text(TEXTS) == ["one", "two"]  # each once, though the gateway sends them and MP has them too


def test_a_refusal_is_shown_and_the_text_stays(chat: Callable[..., Window]) -> None:
    frank = chat("frank", "Frank")
    frank.run("choose({ user: 'nobody' }, 'nobody')")
    frank.type("are you there?")
    frank.press("Enter")
    frank.wait_for("document.getElementById('fault').textContent === 'there is no nobody'")
    assert frank.run("document.getElementById('text').value") == "are you there?"
