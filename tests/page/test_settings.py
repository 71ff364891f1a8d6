"""The settings and what the page says of the machine: changed here, seen there; troubles in a sentence each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import until
from tools import check_rules, go, plain, wait_order, wait_text

import pixelog as python_api
from api.device.facts import Roots
from api.device.watching import DeviceWatch

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.page


def test_time_zone(up: Callable, visit: Callable, context: Callable[..., BrowserContext]) -> None:
    """The browser's own zone is offered first and said to be it; another tab follows, and a zone that browsers do not list is shown all the same."""
    pixelog = up()
    inside = context(timezone_id="Europe/Lisbon")
    here, there = (visit(pixelog, inside=inside) for _ in range(2))
    assert here.input_value("#set-timeZone") == "UTC"
    assert here.locator("#set-timeZone option").first.text_content() == "Europe/Lisbon, as in this browser"
    here.select_option("#set-timeZone", "Europe/Lisbon")
    until(lambda: pixelog.get("/settings")["timeZone"] == "Europe/Lisbon", "the zone")
    until(lambda: there.input_value("#set-timeZone") == "Europe/Lisbon", "the other tab")
    pixelog.send("PATCH", "/settings", {"timeZone": "Etc/GMT+5"})
    for page in (here, there):
        until(lambda page=page: page.input_value("#set-timeZone") == "Etc/GMT+5", "the odd zone")


@pytest.mark.parametrize("size", ["phone", "desk"])
def test_every_setting(up: Callable, visit: Callable, size: str) -> None:
    """Each is changed by touch or key, and is what the service has then."""
    pixelog = up()
    page = visit(pixelog, size)
    go(page, "settings")
    page.focus("#set-brightness")
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    page.click("#set-rotation label:has-text('180°')")
    page.click("#set-fit label:has-text('Cropped')")
    page.click("#set-defaultDuration", click_count=3)
    page.keyboard.type("7.5")
    page.click("#set-name", click_count=3)
    page.keyboard.type("Kitchen")
    page.keyboard.press("Tab")
    wanted = {"brightness": 97, "rotation": 180, "fit": "cover", "defaultDuration": 7.5, "name": "Kitchen"}
    until(lambda: wanted.items() <= pixelog.get("/settings").items(), "what was set")
    wait_text(page, "#name", "Kitchen")
    check_rules(page, "settings")


def test_shuffle_and_only_this_one(up: Callable, visit: Callable) -> None:
    """Two buttons say how the loop is gone through, change nothing else of it, and follow what others set."""
    pixelog = up()
    for place, name in enumerate(("one", "two")):
        pixelog.upload(f"{name}.png", plain((40 * place, 80, 120)), addToLoop="true")
    pixelog.send(
        "PUT", "/loop", {"items": [{"slug": "one", "repeat": 2, "when": {"days": ["mon"]}}, {"slug": "two", "duration": 4}]}
    )
    before = pixelog.get("/loop")
    page = visit(pixelog)
    wait_order(page, ["one.png", "two.png"])

    def pressed() -> tuple[str | None, str | None]:
        return page.get_attribute("#shuffle", "aria-pressed"), page.get_attribute("#only", "aria-pressed")

    assert pressed() == ("false", "false")
    page.click("#shuffle")
    until(lambda: pressed() == ("true", "false"), "shuffle")
    page.click("#only")
    until(lambda: pressed() == ("true", "true"), "only this one")
    after = pixelog.get("/loop")
    assert (after["mode"], after["shuffle"], after["items"]) == ("one", True, before["items"])
    check_rules(page, "both pressed")
    pixelog.send("PUT", "/loop", {"items": after["items"], "mode": "all", "shuffle": False})
    until(lambda: pressed() == ("false", "false"), "what another set")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The files of a machine whose supply is too weak, whose processor is too hot, and whose clock nobody set."""
    root = tmp_path / "machine"
    for name, text in {
        "sys/class/hwmon/hwmon0/name": "rpi_volt\n",
        "sys/class/hwmon/hwmon0/in0_lcrit_alarm": "1\n",
        "sys/class/thermal/thermal_zone0/temp": "84000\n",
        "proc/meminfo": "MemTotal: 441000 kB\nMemAvailable: 20000 kB\n",
        "proc/uptime": "100.0 90.0\n",
    }.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize("size", ["phone", "desk"])
def test_troubles_of_the_machine(up: Callable, visit: Callable, tmp_path: Path, machine: Path, size: str) -> None:
    """What the machine last reported as wrong is said in a sentence each."""
    with python_api.open(tmp_path / "data") as state:
        watch = DeviceWatch(state.executor, tmp_path / "data", Roots.under(machine))
        reported = set(watch.look().conditions)
    assert {"under_voltage", "overheated", "memory_low"} <= reported
    pixelog = up()
    page = visit(pixelog, size)
    wait_text(page, "#banners", "The power supply is too weak.")
    wait_text(page, "#banners", "The processor is too hot.")
    wait_text(page, "#banners", "Memory is nearly used up.")
    assert page.locator("#banners .banner").count() == len(reported)
    check_rules(page, "troubles")


def test_each_field_says_its_name(up: Callable, visit: Callable) -> None:
    """By its label, as somebody hears it who does not see it."""
    page = visit(up())
    names = ("Brightness", "Seconds per picture", "Name of the display", "Time zone")
    for name in names:
        assert page.get_by_label(name).count() == 1, name
    page.get_by_role("slider", name="Brightness").focus()
    page.keyboard.press("ArrowLeft")
    until(lambda: page.text_content("#brightness-text") == "99 %", "one per cent less")
