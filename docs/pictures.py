"""Makes the pictures of README and docs from the real thing: `pixelog up --demo` on a directory of its own, looked at with Chromium.

Run by `make pictures`. What is written to docs/images is committed, so that reading needs no Chromium.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
FRAME_SECONDS = 0.2


def ask(url: str, method: str, body: dict[str, Any]) -> None:
    """One request to the API."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    urllib.request.urlopen(request, timeout=5).close()


def open_page(browser: Browser, url: str, width: int, height: int, scheme: Any) -> Page:
    """A page of this size, settled."""
    page = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()
    page.goto(url)
    page.wait_for_timeout(2_000)
    return page


def still(page: Page, name: str) -> None:
    """The page as it is, as small as a PNG of it can be."""
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(IMAGES / name, optimize=True)


def film(browser: Browser, url: str) -> None:
    """A short evening on the page, as an animated WebP."""
    page = open_page(browser, url, 1120, 720, "light")
    acts = {
        3: lambda: ask(f"{url}/api/v1/active", "PUT", {"slug": "plasma"}),
        10: lambda: ask(f"{url}/api/v1/messages", "POST", {"text": "Tea is ready", "ttlSeconds": 3}),
        18: lambda: ask(f"{url}/api/v1/active", "PUT", {"slug": "clock"}),
    }
    frames: list[Image.Image] = []
    due = time.monotonic()
    for number in range(30):
        acts.get(number, lambda: None)()
        frames.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB").resize((840, 540), Image.Resampling.LANCZOS))
        due += FRAME_SECONDS
        time.sleep(max(0.0, due - time.monotonic()))
    frames[0].save(
        IMAGES / "page.webp",
        save_all=True,
        append_images=frames[1:],
        duration=round(FRAME_SECONDS * 1000),
        loop=0,
        quality=70,
        method=4,
    )


def main() -> None:
    """Make every picture."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pixelog", "up", "--demo", "--json", "--port", "0", "--data", folder]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
        ) as up:
            try:
                url = json.loads(up.stdout.readline())["page"]  # type: ignore[union-attr]
                time.sleep(3)  # the worker prepares the demonstration meanwhile
                with sync_playwright() as playwright:
                    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
                    ask(f"{url}/api/v1/active", "PUT", {"slug": "sunrise"})
                    film(browser, url)
                    for size, width, height in (("desk", 1440, 900), ("phone", 360, 780)):
                        for scheme in ("light", "dark"):
                            ask(f"{url}/api/v1/player/jump", "POST", {"slug": "sunrise"})
                            still(open_page(browser, url, width, height, scheme), f"{size}-{scheme}.png")
                    browser.close()
            finally:
                up.terminate()


if __name__ == "__main__":
    main()
