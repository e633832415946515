"""A headless browser, driven by the DevTools protocol over two pipes."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
AXE = "AXE_CORE"
"""The variable with the path of axe.min.js, if it is not in node_modules."""


def find_browser() -> str | None:
    """The program of the first browser that is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def find_axe() -> Path | None:
    """The script of axe-core: AXE_CORE, or node_modules of the folder, of a parent or of home."""
    given = [Path(os.environ[AXE])] if os.environ.get(AXE) else []
    folders = [Path.cwd(), *Path.cwd().parents, Path.home()]
    given += [folder / "node_modules/axe-core/axe.min.js" for folder in folders]
    return next((path for path in given if path.is_file()), None)


_EXEC = """import os, sys
for given, wanted in zip(sys.argv[1:3], (3, 4)):
    os.dup2(int(given), wanted)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Becomes a browser, which reads commands from file 3 and writes results to file 4."""


class Browser:
    """One tab; commands wait for their results."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = os.fdopen(read, "rb"), os.fdopen(write, "wb")
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self("Page.enable")

    def __call__(self, method: str, **parameters: Any) -> Any:
        """Run a command of the protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        self._write.flush()
        while (answer := self._next()).get("id") != self._number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _next(self) -> Any:
        while b"\0" not in self._rest:
            more = os.read(self._read.fileno(), 1 << 20)
            if not more:
                raise RuntimeError("the browser ended")
            self._rest += more
        first, _, self._rest = self._rest.partition(b"\0")
        return json.loads(first)

    def close(self) -> None:
        """End the browser."""
        self._session = None
        self("Browser.close")

    def open(self, page: Path, width: int = 1440, scheme: str = "light", media: str = "") -> None:
        """Load a page in a window of `width` pixels with a colour scheme."""
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self("Emulation.setEmulatedMedia", media=media, features=features)
        self("Page.navigate", url=page.as_uri())
        while self.run("[location.href, document.readyState]") != [page.as_uri(), "complete"]:
            pass

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        result = self("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"]["description"])
        return result["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """Save a picture of the whole page."""
        data = self("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self, path: Path) -> None:
        """Print the page to A4."""
        data = self("Page.printToPDF", printBackground=False, paperWidth=8.27, paperHeight=11.69)
        path.write_bytes(base64.b64decode(data["data"]))


@contextmanager
def browser(program: str, profile: Path) -> Iterator[Browser]:
    """Start a headless browser with an empty profile, and end it."""
    (their_read, write), (read, their_write) = os.pipe(), os.pipe()
    command = [
        sys.executable, "-c", _EXEC, str(their_read), str(their_write), program,
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--hide-scrollbars", "--remote-debugging-pipe", f"--user-data-dir={profile}",
        "--no-first-run", "--disable-extensions", "--disable-background-networking",
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        pass_fds=(their_read, their_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(their_read)
    os.close(their_write)
    try:
        tab = Browser(read, write)
        yield tab
        tab.close()
    finally:
        process.terminate()
        process.wait()
