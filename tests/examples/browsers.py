"""Headless Chromium, driven by the DevTools protocol: windows, expressions, keys, screenshots."""

import base64
import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import websocket

from tests.fleet.processes import wait_until

DEADLINE_S = 20.0
_KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Space": (32, " ")}


def chromium() -> str:
    """The program. Without it the test is skipped, but fails where CI is set."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        reason = "chromium is not installed"
        print(reason)
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class Browser:
    """One running Chromium with a profile of its own, in `directory`."""

    def __init__(self, program: str, directory: Path) -> None:
        self._log = (directory / "chromium.log").open("wb")
        flags = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"]
        flags += ["--no-sandbox"] if os.geteuid() == 0 else []  # as root there is none
        self._process = subprocess.Popen(
            [program, *flags, "--remote-debugging-port=0", f"--user-data-dir={directory / 'profile'}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._windows: list[DevTools] = []
        try:
            self._port, self._devtools = self._connect(directory / "profile" / "DevToolsActivePort")
        except BaseException:
            self.close()
            raise

    def _connect(self, told: Path) -> tuple[int, "DevTools"]:
        wait_until(lambda: told.exists() and told.read_text().count("\n"), "chromium is up", DEADLINE_S)
        port, path = told.read_text().splitlines()
        return int(port), DevTools(f"ws://127.0.0.1:{port}{path}")

    def open(self, url: str, *, dark: bool = False, width: int = 700, height: int = 560) -> "Window":
        """A new window."""
        target = self._devtools.ask("Target.createTarget", url="about:blank", newWindow=True)["targetId"]
        window = Window(f"ws://127.0.0.1:{self._port}/devtools/page/{target}")
        self._windows.append(window)
        window.ask("Page.enable")
        window.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        window.ask("Emulation.setEmulatedMedia", features=[scheme])
        window.ask("Emulation.setFocusEmulationEnabled", enabled=True)
        window.ask("Page.navigate", url=url)
        window.wait_for("document.readyState === 'complete'")
        return window

    def close(self) -> None:
        for window in self._windows:
            window.socket.close(timeout=1)
        self._process.terminate()
        try:
            self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class DevTools:
    """One DevTools connection."""

    def __init__(self, url: str) -> None:
        self.socket = websocket.create_connection(url, timeout=DEADLINE_S, suppress_origin=True)
        self._numbers = itertools.count(1)

    def ask(self, method: str, **params: Any) -> Any:
        """The result. AssertionError: refused."""
        number = next(self._numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (answer := json.loads(self.socket.recv())).get("id") != number:
            pass  # an event
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]


class Window(DevTools):
    """A page."""

    def run(self, script: str) -> Any:
        """The value of an expression; a promise is waited for."""
        done = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait_for(self, script: str) -> None:
        wait_until(lambda: self.run(script), script, DEADLINE_S)

    def text(self, selector: str) -> list[str]:
        """What the elements say."""
        return self.run(f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.innerText)")

    def press(self, key: str) -> None:
        code, text = _KEYS[key]
        name = " " if key == "Space" else key
        event = {"key": name, "code": key, "windowsVirtualKeyCode": code, "text": text}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **event)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **event)

    def type(self, text: str) -> None:
        """Into what has the focus."""
        self.ask("Input.insertText", text=text)

    def tab_to(self, selector: str) -> None:
        """Moves the focus by Tab alone. AssertionError: it never gets there."""
        for _ in range(40):
            if self.run(f"document.activeElement?.matches({json.dumps(selector)}) ?? false"):
                return
            self.press("Tab")
        raise AssertionError(f"Tab does not lead to {selector}")

    def screenshot(self) -> bytes:
        """A PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot")["data"])
