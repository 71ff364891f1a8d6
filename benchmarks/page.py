"""How soon a change made elsewhere is seen on the page, what an idle page asks of the service, and what the page weighs.

    .venv/bin/python benchmarks/page.py [--changes 50] [--json]

Two tabs are open. Messages are posted by HTTP, as `curl` does it, and the second tab notes when each text stands in its document; then a button is
pressed in the first tab, and the second notes when its own is. All clocks are this machine's.
Needs Chromium and Playwright, like the page's tests.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "e2e"), str(ROOT / "tests" / "page")]

from harness import Pixelog  # noqa: E402 - found through the path above
from playwright.sync_api import sync_playwright  # noqa: E402
from tools import ARGUMENTS, CHROMIUM, percentile, plain, seen_from_http_ms, seen_from_tab_ms  # noqa: E402

IDLE_SECONDS = 10.0

GOAL_MS = 200.0
"""What the 95th of 100 changes may take."""


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
        seen = {
            "by HTTP": seen_from_http_ms(pixelog, tabs[1], options.changes),
            "in another tab": seen_from_tab_ms(*tabs, options.changes),
        }
        context.close()
        result = {
            "changes": options.changes,
            "seen_ms": {
                origin: {"p50": percentile(times, 50), "p95": percentile(times, 95), "max": times[-1]}
                for origin, times in seen.items()
            },
            "idle": idle(pixelog, browser),
            "bytes": sum(path.stat().st_size for path in files),
            "files": len(files),
        }
        browser.close()
    if options.json:
        print(json.dumps(result))
    else:
        for origin, times in result["seen_ms"].items():
            told = ", ".join(f"{name} {value:.0f} ms" for name, value in times.items())
            print(f"{options.changes} changes made {origin} and seen in a tab: {told} (goal: p95 <= {GOAL_MS:.0f} ms)")
        print(
            f"idle for {IDLE_SECONDS:g} s: {result['idle']['requests']} requests, service {result['idle']['service_cpu_percent']} % of a core"
        )
        print(f"the page: {result['files']} files, {result['bytes']:,} bytes")


if __name__ == "__main__":
    main()
