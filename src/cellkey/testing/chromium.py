"""A headless Chromium, driven through a pipe: real key presses, pictures, and a record of what went wrong.

Chromium speaks its debugging protocol over two inherited pipes, so no driver program, port or package is needed.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Chromium", "find_chromium"]

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-default-apps", "--mute-audio", "--hide-scrollbars", "--remote-debugging-pipe",
)
_LAUNCH = (
    "import os, sys; r, w = int(sys.argv[1]), int(sys.argv[2]); a, b = os.dup(r), os.dup(w); os.dup2(a, 3); "
    "os.dup2(b, 4); [os.set_inheritable(f, True) for f in (3, 4)]; os.execv(sys.argv[3], sys.argv[3:])"
)
"""Chromium reads commands from file descriptor 3 and answers on 4."""
_NAMED = {
    "Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), "ArrowDown": (40, ""), "ArrowUp": (38, ""), " ": (32, " "),
    "Home": (36, ""), "End": (35, ""), "PageDown": (34, ""), "PageUp": (33, ""), "Backspace": (8, ""),
}


def find_chromium() -> str | None:
    """Return the path of a Chromium or Chrome; None if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Chromium:
    """A browser with one page; use it as a context.

    Attributes
    ----------
    problems
        Errors in the console, exceptions, and refusals of the page's policy, in order.
    requests
        Addresses that the page asked for.

    Parameters
    ----------
    width, height
        Of the window in pixels.
    program
        The browser; :func:`find_chromium` by default.
    """

    def __init__(self, *, width: int = 1400, height: int = 900, program: str | None = None) -> None:
        found = program or find_chromium()
        if found is None:
            msg = "no Chromium found"
            raise FileNotFoundError(msg)
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._program = found
        self._size = (width, height)
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._number = 0
        self._session = ""

    def __enter__(self) -> Self:
        self.profile = Path(tempfile.mkdtemp(prefix="chromium-"))
        read_end, self._write = os.pipe()
        self._read, write_end = os.pipe()
        command = [sys.executable, "-c", _LAUNCH, str(read_end), str(write_end), self._program, *_FLAGS,
                   f"--user-data-dir={self.profile}", f"--window-size={self._size[0]},{self._size[1]}", "about:blank"]
        self._process = subprocess.Popen(
            command, pass_fds=(read_end, write_end), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_end)
        os.close(write_end)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        try:
            self._attach()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            self._session = ""
            self.send("Browser.close", patience=5)
        with contextlib.suppress(OSError):
            os.close(self._write)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._listener.join(5)
        with contextlib.suppress(OSError):
            os.close(self._read)
        shutil.rmtree(self.profile, ignore_errors=True)

    def _attach(self) -> None:
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        width, height = self._size
        self.resize(width, height)

    def _listen(self) -> None:
        waiting = b""
        while True:
            try:
                piece = os.read(self._read, 2**20)
            except OSError:
                return
            if not piece:
                return
            waiting += piece
            *messages, waiting = waiting.split(b"\0")
            for message in messages:
                self._answers.put(json.loads(message))

    def send(self, method: str, *, patience: float = 60, **parameters: Any) -> dict[str, Any]:
        """Send a command of the debugging protocol and return its result.

        Raises
        ------
        TimeoutError
            If there is no answer in ``patience`` seconds.
        RuntimeError
            If the browser refuses.
        """
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._send_all(json.dumps(message).encode() + b"\0")
        end = time.monotonic() + patience
        while True:
            try:
                answer = self._answers.get(timeout=max(end - time.monotonic(), 0.01))
            except queue.Empty:
                msg = f"no answer to {method} in {patience} s"
                raise TimeoutError(msg) from None
            if answer.get("id") == number:
                if "error" in answer:
                    msg = f"{method}: {answer['error'].get('message')}"
                    raise RuntimeError(msg)
                result: dict[str, Any] = answer.get("result", {})
                return result
            self._note(answer)

    def _send_all(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[os.write(self._write, view):]

    def _note(self, event: dict[str, Any]) -> None:
        what, values = event.get("method", ""), event.get("params", {})
        if what == "Runtime.exceptionThrown":
            details = values["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details.get("text", ""))
        elif what == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning", "assert"):
            self.problems.append(" ".join(str(a.get("value", a.get("description"))) for a in values["args"]))
        elif what == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.problems.append(values["entry"]["text"])
        elif what == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])

    def open(self, address: str | Path, *, patience: float = 60) -> None:
        """Open a page and wait until it is loaded."""
        url = address.resolve().as_uri() if isinstance(address, Path) else address
        self.run("window.isLeft = true")
        if "loaderId" in self.send("Page.navigate", url=url):
            self.wait("!window.isLeft && document.readyState === 'complete'", patience=patience)

    def reload(self, *, patience: float = 60) -> None:
        """Load the page again and wait until it is there."""
        self.run("window.isLeft = true")
        self.send("Page.reload")
        self.wait("!window.isLeft && document.readyState === 'complete'", patience=patience)

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page; promises are waited for.

        Raises
        ------
        RuntimeError
            If the expression throws.
        """
        done = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        if "exceptionDetails" in done:
            details = done["exceptionDetails"]
            msg = details.get("exception", {}).get("description") or details["text"]
            raise RuntimeError(msg)
        return done["result"].get("value")

    def wait(self, condition: str, *, patience: float = 20) -> Any:
        """Wait until an expression in the page is true, and return its value.

        Raises
        ------
        TimeoutError
            If it does not become true in ``patience`` seconds.
        """
        end = time.monotonic() + patience
        while not (value := self._in_between_pages(condition)):
            if time.monotonic() > end:
                msg = f"did not become true in {patience} s: {condition}"
                raise TimeoutError(msg)
            time.sleep(0.02)
        return value

    def _in_between_pages(self, condition: str) -> Any:
        """The value of an expression; None while the page it was asked of goes away."""
        try:
            return self.run(condition)
        except RuntimeError as error:
            if any(word in str(error) for word in ("navigated", "context")):
                return None
            raise

    def press(self, *keys: str) -> None:
        """Press keys one after the other: ``"a"``, ``"Enter"``, ``"ArrowDown"``, ``"Control+z"``."""
        for key in keys:
            *held, name = key.split("+") if len(key) > 1 else [key]
            modifiers = sum({"Alt": 1, "Control": 2, "Meta": 4, "Shift": 8}[h] for h in held)
            code, text = _NAMED.get(name, (ord(name.upper()[0]), name))
            common: dict[str, Any] = {"key": name, "windowsVirtualKeyCode": code, "modifiers": modifiers}
            shown = text if not modifiers & 2 else ""
            self.send("Input.dispatchKeyEvent", type="keyDown", **common, text=shown)
            self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Type text where the focus is."""
        self.send("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click in the middle of the first element that a CSS selector finds."""
        where = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center', "
            "behavior: 'instant'}); const b = e.getBoundingClientRect(); "
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left", clickCount=1)

    def choose_file(self, selector: str, path: Path) -> None:
        """Give a file to the first file input that a CSS selector finds, as if a person had chosen it."""
        self.send("DOM.enable")
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", files=[str(path.resolve())], nodeId=node)

    def resize(self, width: int, height: int) -> None:
        """Give the page another size in pixels."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, *, dark: bool) -> None:
        """Let the system prefer dark or light colours."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[feature])

    def download_to(self, folder: Path) -> None:
        """Let downloads go to a folder."""
        session, self._session = self._session, ""
        try:
            self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        finally:
            self._session = session

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write a PNG of what is seen, or of the whole page."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self, path: Path) -> None:
        """Print the page to a PDF file."""
        path.write_bytes(base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"]))
