"""What the page does when others change things, when the line breaks, and when nothing happens at all."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from harness import until
from tools import (
    order,
    percentile,
    plain,
    seen_from_http_ms,
    seen_from_tab_ms,
    wait_colour,
    wait_count,
    wait_order,
    wait_text,
    when,
)

pytestmark = pytest.mark.page

RED, BLUE = (248, 0, 0), (0, 0, 248)

CHANGES, ROUNDS, SEEN_MS = 50, 2, 200

QUIET_SECONDS = 4
"""How long an idle page is watched."""


def _loaded(pixelog: object, *names: str) -> None:
    for number, name in enumerate(names):
        pixelog.upload(f"{name}.png", plain((40 * number, 80, 120)), addToLoop="true")
    for name in names:
        pixelog.prepared(name)


@pytest.mark.parametrize("origin", ["another tab", "HTTP"])
def test_soon(up: Callable, visit: Callable, context: Callable, origin: str, record_property: Callable) -> None:
    """A change is seen in another tab within 200 ms, whether a tab or a program made it: 95 of 100 times, in the better of two rounds of 50, for
    this machine has others to serve."""
    pixelog = up()
    pixelog.upload("still.png", plain(RED), makeActive="true")
    pixelog.prepared("still")
    inside = context()
    here, there = (visit(pixelog, inside=inside) for _ in range(2))
    p95_ms: list[float] = []
    while len(p95_ms) < ROUNDS and min(p95_ms, default=SEEN_MS + 1) > SEEN_MS:
        times = seen_from_http_ms(pixelog, there, CHANGES) if origin == "HTTP" else seen_from_tab_ms(here, there, CHANGES)
        p95_ms.append(percentile(times, 95))
        record_property("p50_ms", percentile(times, 50))
        for tab in (here, there):
            tab.reload()
            tab.wait_for_selector("#link[data-link=live]")
    assert min(p95_ms) <= SEEN_MS, p95_ms


def test_five_tabs(up: Callable, visit: Callable, context: Callable) -> None:
    """Five tabs of one browser all follow: the order changed in one, playback in another, and a new item by somebody else."""
    pixelog = up()
    _loaded(pixelog, "one", "two", "three")
    inside = context()
    tabs = [visit(pixelog, inside=inside) for _ in range(5)]
    first, second = tabs[0], tabs[1]
    for tab in tabs:
        wait_order(tab, ["one.png", "two.png", "three.png"])
    first.locator("#loop-list .grip").nth(2).focus()
    first.keyboard.press("Home")
    for tab in tabs:
        wait_order(tab, ["three.png", "one.png", "two.png"])
    second.click("#toggle")
    pixelog.upload("four.png", plain(BLUE))
    pixelog.send("PUT", "/active", {"slug": "four"})
    for tab in tabs:
        wait_text(tab, "#now-tag", "Paused")
        wait_text(tab, "#library-list", "four.png")
        wait_colour(tab, BLUE)
        wait_text(tab, "#now-name", "four.png")


def test_drag(up: Callable, visit: Callable) -> None:
    """An item is dragged to another place with the mouse; Escape in mid-drag leaves everything as it was; undo brings it back."""
    pixelog = up()
    _loaded(pixelog, "one", "two", "three")
    page = visit(pixelog)
    wait_order(page, ["one.png", "two.png", "three.png"])

    def carry(place: int, to: int) -> None:
        grip = page.locator("#loop-list .grip").nth(place).bounding_box()
        target = page.locator("#loop-list li").nth(to).bounding_box()
        page.mouse.move(grip["x"] + 20, grip["y"] + 30)
        page.mouse.down()
        page.mouse.move(grip["x"] + 20, target["y"] + 34, steps=6)

    carry(0, 2)
    page.keyboard.press("Escape")
    page.mouse.up()
    assert order(page) == ["one.png", "two.png", "three.png"]
    carry(0, 2)
    page.mouse.up()
    wait_order(page, ["two.png", "three.png", "one.png"])
    until(lambda: [item["slug"] for item in pixelog.get("/loop")["items"]] == ["two", "three", "one"], "the order in the log")
    page.click(".toast:has-text('one.png moved to position 3') .undo")
    wait_order(page, ["one.png", "two.png", "three.png"])


def test_drag_by_touch(up: Callable, visit: Callable, context: Callable) -> None:
    """An item is dragged to another place with a finger."""
    pixelog = up()
    _loaded(pixelog, "one", "two", "three")
    inside = context("phone")
    page = visit(pixelog, inside=inside)
    page.click(".tabs a[href='#loop']")
    wait_order(page, ["one.png", "two.png", "three.png"])
    grip = page.locator("#loop-list .grip").nth(2).bounding_box()
    top = page.locator("#loop-list li").nth(0).bounding_box()
    finger = inside.new_cdp_session(page)
    x, y = grip["x"] + 20, grip["y"] + 30

    def touch(kind: str, y: float) -> None:
        points = [] if kind == "touchEnd" else [{"x": x, "y": y}]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", y)
    for step in range(1, 6):
        touch("touchMove", y + (top["y"] + 20 - y) * step / 5)
    touch("touchEnd", 0)
    wait_order(page, ["three.png", "one.png", "two.png"])
    until(lambda: [item["slug"] for item in pixelog.get("/loop")["items"]] == ["three", "one", "two"], "the order in the log")


def test_idle(up: Callable, visit: Callable, context: Callable) -> None:
    """With a still on the panel the page asks the service nothing; what it hears, it hears on the lines that are open."""
    pixelog = up()
    pixelog.upload("still.png", plain(RED), makeActive="true")
    pixelog.prepared("still")
    pixelog.send("POST", "/player/hold")
    inside = context()
    # Requests of a SharedWorker cannot be watched from here; without one the page follows by itself, with the same code.
    inside.add_init_script("delete window.SharedWorker")
    page = visit(pixelog, inside=inside)
    wait_colour(page, RED)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    def rests(seconds: float) -> bool:
        before = len(asked)
        page.wait_for_timeout(seconds * 1000)
        return len(asked) == before

    until(lambda: rests(1.0), "an end of what opening the page asks")
    assert rests(QUIET_SECONDS), asked


AWAY = """() => {
    const { get } = Object.getOwnPropertyDescriptor(Document.prototype, "hidden");
    Object.defineProperty(document, "hidden", { get: () => window.away || get.call(document) });
    window.show = (shown) => {
        window.away = !shown;
        document.dispatchEvent(new Event("visibilitychange"));
    };
}"""
"""Chromium without a screen never hides a tab, so the tab says that it is hidden; what freezes it is Chromium's own."""


@pytest.mark.parametrize("worker", ["with a worker", "alone"])
def test_a_tab_that_slept(up: Callable, visit: Callable, context: Callable, worker: str) -> None:
    """A tab in the background that was frozen, as phones do it, while the service was killed and came back with something new, shows it when it
    is looked at again: the order, what is on and its picture."""
    pixelog = up()
    _loaded(pixelog, "one", "two")
    inside = context()
    if worker == "alone":
        inside.add_init_script("delete window.SharedWorker")
    page = visit(pixelog, inside=inside)
    wait_order(page, ["one.png", "two.png"])
    page.evaluate(AWAY)
    page.evaluate("window.show(false)")
    chromium = inside.new_cdp_session(page)
    chromium.send("Page.setWebLifecycleState", {"state": "frozen"})
    port = int(pixelog.page.rpartition(":")[2])
    pixelog.kill_all()
    pixelog = up(port=port)
    pixelog.upload("new.png", plain(BLUE), addToLoop="true", makeActive="true")
    pixelog.prepared("new")
    chromium.send("Page.setWebLifecycleState", {"state": "active"})
    page.evaluate("window.show(true)")
    wait_order(page, ["one.png", "two.png", "new.png"])
    wait_text(page, "#now-name", "new.png")
    wait_colour(page, BLUE)
    assert page.get_attribute("#link", "data-link") == "live"


def test_a_line_that_died_without_a_word(up: Callable, visit: Callable, context: Callable) -> None:
    """A tab that is shown again after the machine slept does not trust its line: it has a new one at once, not after the silence of twenty
    seconds."""
    pixelog = up()
    inside = context()
    # Requests of a SharedWorker cannot be watched from here.
    inside.add_init_script("delete window.SharedWorker")
    page = visit(pixelog, inside=inside)
    page.evaluate(AWAY)
    page.evaluate("window.show(false)")
    page.evaluate("(now => { Date.now = () => now() + 60_000; })(Date.now.bind(Date))")
    with page.expect_request("**/api/v1/events/stream?**", timeout=5000):
        page.evaluate("window.show(true)")
    page.wait_for_selector("#link[data-link=live]")
    pixelog.upload("new.png", plain(BLUE), addToLoop="true")
    wait_order(page, ["new.png"])


def test_what_is_old_is_called_so(up: Callable, visit: Callable) -> None:
    """Without the service nothing claims to be on now, no time runs, and no picture is shown as broken."""
    pixelog = up()
    _loaded(pixelog, "one", "two")
    page = visit(pixelog)
    wait_text(page, "#now-tag", "On now")
    wait_text(page, "#now-left", "left")
    pixelog.kill_all()
    wait_text(page, "#now-tag", "Was on")
    assert page.text_content("#now-left") == ""
    assert page.text_content("#now-next") == ""
    page.evaluate("for (const one of document.querySelectorAll('.thumb img')) one.src = '/api/v1/media/gone/thumbnail'")
    when(page, "() => [...document.querySelectorAll('.thumb img')].every((one) => one.hidden)")


def test_the_name_changes_with_the_picture(up: Callable, visit: Callable) -> None:
    """When the loop goes on by itself, the page names what it shows: the two change within a quarter of a second in the better half of the turns."""
    pixelog = up()
    pixelog.send("PATCH", "/settings", {"defaultDuration": 1.5})
    for number, name in enumerate(("red", "blue")):
        pixelog.upload(f"{name}.png", plain((RED, BLUE)[number]), addToLoop="true")
        pixelog.prepared(name)
    page = visit(pixelog)
    page.evaluate(
        """() => {
            const pen = document.getElementById("screen").getContext("2d");
            const read = { picture: () => (pen.getImageData(120, 160, 1, 1).data[0] > 100 ? "red.png" : "blue.png"),
                name: () => document.getElementById("now-name").textContent };
            const last = {};
            window.changes = { picture: [], name: [] };
            setInterval(() => {
                for (const [kind, value] of Object.entries(read).map(([kind, ask]) => [kind, ask()])) {
                    if (value !== last[kind]) window.changes[kind].push([value, performance.now()]);
                    last[kind] = value;
                }
            }, 10);
        }"""
    )
    turns = 6
    changes = until(
        lambda: (seen := page.evaluate("window.changes")) and min(map(len, seen.values())) > turns + 1 and seen, "six turns", 30
    )

    def apart_ms(name: str, moment: float) -> float:
        return min(abs(moment - other) for told, other in changes["name"] if told == name)

    apart = sorted(apart_ms(name, moment) for name, moment in changes["picture"][1 : turns + 1])
    assert apart[turns // 2] <= 250, apart


def test_another_log(up: Callable, visit: Callable) -> None:
    """When a service with another log answers at the same address, the page shows that one."""
    pixelog = up()
    _loaded(pixelog, "old")
    page = visit(pixelog)
    wait_count(page, "#loop-list li", 1)
    port = int(pixelog.page.rpartition(":")[2])
    pixelog.kill_all()
    page.wait_for_selector("#link[data-link=lost]")
    pixelog.data.rename(pixelog.data.with_name("before"))
    other = up(port=port)
    page.wait_for_selector("#link[data-link=live]")
    wait_count(page, "#loop-list li", 0)
    other.upload("new.png", plain(BLUE), addToLoop="true")
    wait_order(page, ["new.png"])


def test_moves_while_others_move(up: Callable, visit: Callable) -> None:
    """While two hands move at once nothing is lost, and everyone sees the same order in the end."""
    pixelog = up()
    names = ["a", "b", "c", "d", "e"]
    _loaded(pixelog, *names)
    page = visit(pixelog)
    wait_order(page, [f"{name}.png" for name in names])
    other = threading.Thread(target=lambda: [pixelog.send("POST", "/loop/items", {"slug": "e", "at": at}) for at in (3, 2, 1, 0)])
    other.start()
    page.locator("#loop-list .grip").nth(0).focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    other.join()
    until(
        lambda: order(page) == [f"{item['slug']}.png" for item in pixelog.get("/loop")["items"]] and page.evaluate("true"),
        "one order for all",
    )
    assert sorted(order(page)) == [f"{name}.png" for name in names]


def test_slider(up: Callable, visit: Callable) -> None:
    """The slider of time ends at now, goes back by its keys, and shows the loop as it was; the end of it is now again."""
    pixelog = up()
    _loaded(pixelog, "one", "two")
    page = visit(pixelog)
    wait_order(page, ["one.png", "two.png"])
    page.wait_for_timeout(2500)
    pixelog.send("PUT", "/loop", {"items": [{"slug": "two"}]})
    wait_order(page, ["two.png"])
    slider = page.locator("#past-slider")
    assert (slider.get_attribute("max"), slider.input_value()) == ("0", "0")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    assert slider.input_value() == "-3"
    wait_order(page, ["one.png", "two.png"])
    assert page.is_disabled("#toggle")
    page.keyboard.press("End")
    wait_order(page, ["two.png"])
    assert page.text_content("#past-text") == "Now"
    assert page.is_enabled("#toggle")


def test_turned(up: Callable, visit: Callable) -> None:
    """When the picture is turned, the page shows it upright, in a frame that is turned as the panel hangs."""
    pixelog = up()
    pixelog.upload("still.png", plain(RED), makeActive="true")
    pixelog.prepared("still")
    page = visit(pixelog)
    wait_colour(page, RED)
    page.check("[name=rotation][value='90']", force=True)
    when(page, "() => document.getElementById('screen').width === 320 && document.getElementById('screen').height === 240")
    assert pixelog.get("/settings")["rotation"] == 90
    wait_colour(page, RED)
    page.check("[name=rotation][value='0']", force=True)
    when(page, "() => document.getElementById('screen').width === 240")


def test_turned_out_of_sight(up: Callable, visit: Callable) -> None:
    """On a phone the picture is turned in the settings, while the panel is out of sight: it has the room that there is when it is seen again, and
    nothing is wider than the page."""
    pixelog = up()
    pixelog.upload("still.png", plain(RED), makeActive="true")
    pixelog.prepared("still")
    page = visit(pixelog, "phone")
    wait_colour(page, RED)
    page.click(".tabs a[href='#settings']")
    page.click("#set-rotation label:has-text('90°')")
    when(page, "() => document.getElementById('screen').width === 320")
    page.click(".tabs a[href='#panel']")
    until(lambda: page.locator("#screen").bounding_box()["width"] == 284, "the room that there is")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".device").bounding_box()["x"] >= 0


def test_many_tabs_where_they_cannot_share(up: Callable, visit: Callable, context: Callable) -> None:
    """Without a worker of all tabs, those that nobody looks at leave the browser's six lines to the one in front; looked at, each goes on."""
    pixelog = up()
    _loaded(pixelog, "one")
    inside = context()
    inside.add_init_script(
        """delete window.SharedWorker;
        let away = false;
        Object.defineProperty(document, "hidden", { get: () => away });
        window.look = (looked) => {
            away = !looked;
            document.dispatchEvent(new Event("visibilitychange"));
        };"""
    )
    tabs = []
    for _ in range(8):
        for tab in tabs:
            tab.evaluate("look(false)")
        tabs.append(visit(pixelog, inside=inside))
    tabs[-1].click("#hold")
    wait_text(tabs[-1], "#now-tag", "Held")
    wait_colour(tabs[-1], (0, 80, 120))
    tabs[-1].evaluate("look(false)")
    tabs[0].evaluate("look(true)")
    wait_text(tabs[0], "#now-tag", "Held")
    tabs[0].click("#hold")
    wait_text(tabs[0], "#now-tag", "On now")


def test_a_message_is_sent_once(up: Callable, visit: Callable) -> None:
    """However often Enter is pressed while a slow line carries it; the focus stays in the text."""
    pixelog = up()
    page = visit(pixelog)
    page.route("**/api/v1/messages", lambda route: (page.wait_for_timeout(300), route.continue_()))
    page.fill("#message-text", "twice?")
    for _ in range(3):
        page.press("#message-text", "Enter")
    wait_count(page, "#message-list li", 1)
    until(lambda: page.input_value("#message-text") == "", "the field is empty")
    assert len(pixelog.get("/messages")["items"]) == 1
    assert page.evaluate("document.activeElement.id") == "message-text"
