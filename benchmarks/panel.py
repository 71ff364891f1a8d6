"""How soon the panel shows what was asked for: from the HTTP answer to the first changed pixel in the panel's memory.

    .venv/bin/python benchmarks/panel.py [--rounds 100] [--display sim:ili9341] [--json]

Runs `pixelog up` over a temporary directory, reads the panel's memory from where the player publishes it, and prints the distribution for
activation and for the deletion of the item on the panel, each with a still and with an animation on the panel. A change that came before the
answer counts as the time that one look takes. Exit code 1 when a p99 is beyond the goal.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests" / "e2e")]

import samples  # noqa: E402 - found through the path above
from harness import Pixelog, until  # noqa: E402

GOAL_P99_MS = 150.0
SIZE = (240, 320)


def changed_ms(pixelog: Pixelog, ask: Callable[[], object], new: set[bytes]) -> float:
    """Milliseconds from the answer of `ask` until the panel holds one of the pictures `new`."""
    ask()
    answered = time.perf_counter()
    sequence = None
    while True:
        newest = pixelog.screen_sequence()
        if newest != sequence:
            sequence = newest
            screen = pixelog.screen()
            if screen is not None and screen.ram in new:
                return max(0.0, (time.perf_counter() - answered) * 1000)
        if time.perf_counter() - answered > 10:
            raise SystemExit("the panel did not change within 10 s")
        time.sleep(0.0002)


def frames_of(pixelog: Pixelog, slug: str, count: int) -> set[bytes]:
    """Each picture that the panel holds while this item plays."""
    pixelog.prepared(slug)
    pixelog.send("PUT", "/active", {"slug": slug})
    until(lambda: pixelog.shows(slug), f"{slug} on the panel")
    seen: set[bytes] = set()

    def whole() -> bool:
        screen = pixelog.screen()
        if screen is not None:
            seen.add(screen.ram)
        return len(seen) == count

    until(whole, f"every frame of {slug}")
    return seen


def spread(values_ms: list[float]) -> dict[str, float]:
    """The distribution in a few numbers."""
    ordered = sorted(values_ms)
    last = len(ordered) - 1
    return {
        "p50": round(ordered[round(0.5 * last)], 2),
        "p99": round(ordered[round(0.99 * last)], 2),
        "max": round(ordered[last], 2),
        "n": len(ordered),
    }


def activations_ms(pixelog: Pixelog, slugs: list[str], frames: list[set[bytes]], rounds: int) -> list[float]:
    """Back and forth between two items."""
    times_ms: list[float] = []
    for index in range(rounds):
        slug = slugs[index % 2]
        times_ms.append(changed_ms(pixelog, lambda slug=slug: pixelog.send("PUT", "/active", {"slug": slug}), frames[index % 2]))
        time.sleep(0.02)
    return times_ms


def deletions_ms(pixelog: Pixelog, slugs: list[str], frames: list[set[bytes]], rounds: int) -> list[float]:
    """The item on the panel is deleted, and comes back for the next round."""
    times_ms: list[float] = []
    for _ in range(rounds):
        changed_ms(pixelog, lambda: pixelog.send("PUT", "/active", {"slug": slugs[0]}), frames[0])
        times_ms.append(changed_ms(pixelog, lambda: pixelog.send("DELETE", f"/media/{slugs[0]}"), frames[1]))
        pixelog.send("POST", f"/media/{slugs[0]}/restore")
        pixelog.send("POST", "/loop/items", {"slug": slugs[0], "at": 0})
    return times_ms


def measure(display: str, rounds: int, folder: Path) -> dict[str, dict[str, float]]:
    """Activation and deletion on one kind of panel."""
    results: dict[str, dict[str, float]] = {}
    with Pixelog(folder / display.replace(":", "-"), display=display) as pixelog:
        pixelog.send("PATCH", "/settings", {"defaultDuration": 600})
        for kind, a, b in (
            ("still", samples.png(SIZE, 1), samples.png(SIZE, 2)),
            ("animation", samples.webp(SIZE, 3), samples.apng(SIZE, 4)),
        ):
            pixelog.send("PUT", "/loop", {"items": []})
            slugs = [pixelog.upload(one.filename, one.content, addToLoop="true")["slug"] for one in (a, b)]
            frames = [frames_of(pixelog, slug, len(one.frames)) for slug, one in zip(slugs, (a, b), strict=True)]
            results[f"activation, {kind}"] = spread(activations_ms(pixelog, slugs, frames, rounds))
            results[f"deletion, {kind}"] = spread(deletions_ms(pixelog, slugs, frames, rounds))
        pixelog.stop()
    return results


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--display", action="append", help="sim, sim:ili9341, sim:st7789 (default: all three)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pixelog-panel-") as folder:
        displays: list[str] = options.display or ["sim", "sim:ili9341", "sim:st7789"]
        results = {display: measure(display, options.rounds, Path(folder)) for display in displays}
    if options.json:
        print(json.dumps({"goalP99Ms": GOAL_P99_MS, "milliseconds": results}))
    else:
        print(f"{'panel':14}{'change':24}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}{'n':>6}")
        for display, rows in results.items():
            for name, row in rows.items():
                print(f"{display:14}{name:24}{row['p50']:>10}{row['p99']:>10}{row['max']:>10}{row['n']:>6}")
    return 0 if all(row["p99"] < GOAL_P99_MS for rows in results.values() for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
