"""How soon a change made elsewhere is seen on the page, what an idle page asks of the service, and what the page weighs.

    .venv/bin/python benchmarks/page.py [--changes 50] [--json]

A message is posted by HTTP while two tabs are open; the second tab notes when the text stands in its document. Both clocks are this machine's.
Needs Chromium and Playwright, like the page's tests.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "e2e"), str(ROOT / "tests" / "page")]

from harness import Pixelog, until  # noqa: E402 - found through the path above
from playwright.sync_api import sync_playwright  # noqa: E402
from tools import ARGUMENTS, CHROMIUM, plain  # noqa: E402

PAUSE_SECONDS = 0.15
"""Between two changes, so that each is read by itself."""

IDLE_SECONDS = 10.0

WATCH = """() => {
    window.seen = {};
    new MutationObserver(() => {
        const now = Date.now();
        for (const text of document.querySelectorAll("#message-list p")) window.seen[text.textContent] ??= now;
    }).observe(document.getElementById("message-list"), { childList: true, subtree: true, characterData: true });
}"""


def latencies_ms(pixelog: Pixelog, tab, changes: int) -> list[float]:
    """From before the request is sent until the text is in the other tab's document."""
    tab.evaluate(WATCH)
    sent: dict[str, float] = {}
    for number in range(changes):
        text = f"change {number}"
        sent[text] = time.time() * 1000
        message = pixelog.send("POST", "/messages", {"text": text}).json()
        time.sleep(PAUSE_SECONDS)
        pixelog.send("DELETE", f"/messages/{message['id']}")
    seen = until(lambda: (seen := tab.evaluate("window.seen")) and len(seen) == changes and seen, "every change")
    return sorted(seen[text] - sent[text] for text in sent)


def idle(pixelog: Pixelog, browser) -> dict[str, float]:
    """Requests of an idle page, and the share of a processor that the service takes for it. The page follows by itself here: requests of a
    SharedWorker cannot be counted."""
    for entry in pixelog.get("/messages")["items"]:
        pixelog.send("DELETE", f"/messages/{entry['id']}")
    context = browser.new_context()
    context.add_init_script("delete window.SharedWorker")
    tab = context.new_page()
    tab.goto(pixelog.page)
    tab.wait_for_selector("#link[data-link=live]")
    tab.wait_for_timeout(2000)
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    before = _cpu_seconds(pixelog.part("serve"))
    tab.wait_for_timeout(IDLE_SECONDS * 1000)
    used = _cpu_seconds(pixelog.part("serve")) - before
    context.close()
    return {"requests": len(asked), "service_cpu_percent": round(100 * used / IDLE_SECONDS, 2)}


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    files = sorted((ROOT / "api" / "dashboard").iterdir())
    folder = tempfile.TemporaryDirectory()
    with folder, sync_playwright() as playwright, Pixelog(Path(folder.name) / "data", display="sim:ili9341") as pixelog:
        pixelog.upload("still.png", plain((20, 120, 110)), makeActive="true")
        pixelog.prepared("still")
        pixelog.send("POST", "/player/hold")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        context = browser.new_context()
        tabs = [context.new_page() for _ in range(2)]
        for tab in tabs:
            tab.goto(pixelog.page)
            tab.wait_for_selector("#link[data-link=live]")
        times = latencies_ms(pixelog, tabs[1], options.changes)
        context.close()
        result = {
            "changes": len(times),
            "p50_ms": round(times[len(times) // 2], 1),
            "p95_ms": round(times[int(len(times) * 0.95) - 1], 1),
            "max_ms": round(times[-1], 1),
            "idle": idle(pixelog, browser),
            "bytes": sum(path.stat().st_size for path in files),
            "files": len(files),
        }
        browser.close()
    if options.json:
        print(json.dumps(result))
    else:
        print(
            f"{result['changes']} changes seen in another tab: p50 {result['p50_ms']} ms, p95 {result['p95_ms']} ms, max {result['max_ms']} ms"
        )
        print(
            f"idle for {IDLE_SECONDS:g} s: {result['idle']['requests']} requests, service {result['idle']['service_cpu_percent']} % of a core"
        )
        print(f"the page: {result['files']} files, {result['bytes']:,} bytes")


if __name__ == "__main__":
    main()
