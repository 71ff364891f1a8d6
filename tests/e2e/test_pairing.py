"""Pairing as people meet it: a service that others can reach, the link it prints, the symbol on its panel, and what is left after a restart."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
from harness import Pixelog, client, run, until
from PIL import Image

from player import qr
from player.pixels import unpack_rgb565

ELSEWHERE = {"X-Forwarded-For": "203.0.113.9"}


def symbol_in(image: Image.Image, text: str) -> bool:
    """Whether the picture holds the symbol of this text, whatever the size of its modules."""
    grey = image.convert("L")
    dark = [bytes(int(grey.getpixel((x, y)) < 128) for x in range(grey.width)) for y in range(grey.height)]  # type: ignore[operator]
    symbol = qr.symbol(text)
    for module in range(8, 1, -1):
        rows = [b"".join(bytes((cell,)) * module for cell in row) for row in symbol for _ in range(module)]
        for top in range(len(dark) - len(rows) + 1):
            left = dark[top].find(rows[0])
            if left >= 0 and all(dark[top + place].startswith(row, left) for place, row in enumerate(rows)):
                return True
    return False


def shown(pixelog: Pixelog, text: str) -> bool:
    """Whether the panel shows the symbol of this text now."""
    screen = pixelog.screen()
    return screen is not None and symbol_in(unpack_rgb565(screen.ram, screen.width, screen.height), text)


def own_address() -> str | None:
    """An address of this machine in a network, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return None


def test_a_first_evening_with_a_telephone(up: Callable[..., Pixelog], tmp_path: Path) -> None:
    """Printed link = symbol on the panel; it signs one browser in, then leaves the panel; the browser stays signed in over a restart, and the past
    still shows the symbol."""
    pixelog = up("--host", "0.0.0.0", display="sim:ili9341")
    link: str = pixelog.announced["pairing"]
    page, _, code = link.partition("/pair#")
    assert page == pixelog.page
    until(lambda: shown(pixelog, link), "the symbol")
    port = pixelog.page.rpartition(":")[2]

    with client(f"http://127.0.0.1:{port}") as own, client(f"http://127.0.0.1:{port}") as phone:
        phone.headers.update(ELSEWHERE)
        seen = unpack_rgb565(own.get("/screen.png") and pixelog.screen().ram, 240, 320)  # type: ignore[union-attr]
        offered = [event for event in own.get("/events").json()["items"] if event["type"] == "session.offered"]
        assert phone.get("/dashboard").status_code == 401
        assert phone.post("/pair", json={"code": code}).status_code == 201
        assert phone.get("/dashboard").status_code == 200
        assert phone.post("/pair", json={"code": code}).status_code == 403
        until(lambda: not shown(pixelog, link), "an address without a symbol")
        cookies = dict(phone.cookies)
    assert len(offered) == 1
    pixelog.stop()

    again = up("--host", "0.0.0.0", display="sim:ili9341")
    assert again.announced["pairing"] is None
    port = again.page.rpartition(":")[2]
    answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/dashboard", headers=ELSEWHERE, cookies=cookies)
    assert answer.status_code == 200
    file = tmp_path / "then.png"
    at = str(max(offered[0]["position"], _attached(again)))
    said = run("replay", "screen", "--at", at, "-o", str(file), "--json", "--data", str(again.data))
    assert said.returncode == 0, said.stderr
    with Image.open(file) as image:
        assert image.convert("RGB").tobytes() == seen.tobytes()
        assert symbol_in(image, link)
    assert json.loads(said.stdout)["exact"] is True
    again.stop()


def _attached(pixelog: Pixelog) -> int:
    """Position at which the first panel was attached."""
    lines = run("log", "--json", "--type", "display.attached", "--limit", "1", "--data", str(pixelog.data)).stdout.splitlines()
    return int(json.loads(lines[0])["position"])


def test_one_address_alone(up: Callable[..., Pixelog]) -> None:
    """A service on one address of the network starts, announces itself and offers to pair, though it has no loopback to ask itself by."""
    address = own_address() or "127.0.0.1"
    pixelog = up("--host", address)
    assert pixelog.page.startswith(f"http://{address}:")
    assert (pixelog.announced["pairing"] is None) == (address == "127.0.0.1")
    assert httpx.get(f"{pixelog.page}/readyz").status_code == 200
    pixelog.stop()


def test_a_service_for_this_machine_alone_offers_nothing(up: Callable[..., Pixelog]) -> None:
    """There is nobody to pair; the log stays as it was."""
    pixelog = up()
    assert pixelog.announced["pairing"] is None
    assert run("log", "--json", "--type", "session.*", "--data", str(pixelog.data)).stdout == ""
    pixelog.stop()
