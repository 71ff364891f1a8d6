"""Pairing as people meet it: a service that others can reach, the link it prints, the symbol on its panel, and what is left after a restart."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import qr_reader
from harness import Pixelog, client, command, environment, run, until
from PIL import Image

from player.pixels import unpack_rgb565

ELSEWHERE = {"X-Forwarded-For": "203.0.113.9"}


def free_port() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def scanned(pixelog: Pixelog) -> str | None:
    """What a telephone reads from the panel now; None when there is no symbol."""
    screen = pixelog.screen()
    if screen is None:
        return None
    try:
        return qr_reader.read(unpack_rgb565(screen.ram, screen.width, screen.height))
    except qr_reader.Unread:
        return None


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
    until(lambda: scanned(pixelog) == link, "the symbol")
    port = pixelog.page.rpartition(":")[2]

    with client(f"http://127.0.0.1:{port}") as own, client(f"http://127.0.0.1:{port}") as phone:
        phone.headers.update(ELSEWHERE)
        seen = unpack_rgb565(own.get("/screen.png") and pixelog.screen().ram, 240, 320)  # type: ignore[union-attr]
        offered = [event for event in own.get("/events").json()["items"] if event["type"] == "session.offered"]
        assert phone.get("/dashboard").status_code == 401
        assert phone.post("/pair", json={"code": code}).status_code == 201
        assert phone.get("/dashboard").status_code == 200
        assert phone.post("/pair", json={"code": code}).status_code == 403
        until(lambda: scanned(pixelog) is None, "an address without a symbol")
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
        assert qr_reader.read(image) == link
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


def test_the_service_alone_says_its_link(tmp_path: Path) -> None:
    """`serve` on another address prints where it listens and a link that signs one browser in; once somebody is paired, how to let another in."""
    data, port = tmp_path / "data", free_port()
    (listening, pair), answers = served(data, port)
    page = listening.removeprefix("pixelog: listening on ")
    link = pair.split()[2]
    assert pair in (f"pixelog: pair   {link}     once, within {minutes} minutes" for minutes in (9, 10))
    assert link.startswith(f"{page}/pair#")
    assert answers == [201, 403]
    for path in (path for path in data.rglob("*") if path.is_file()):
        assert link.partition("#")[2].encode() not in path.read_bytes(), path
    assert served(data, port) == ([listening, "pixelog: pixelog pair lets another browser in"], [])


def served(data: Path, port: int) -> tuple[list[str], list[int]]:
    """The two lines that `pixelog serve --host 0.0.0.0` says first, and what two uses of the code in them are answered."""
    said = data.with_name("said")
    with open(said, "w") as errors:
        line = command("serve", "--host", "0.0.0.0", "--port", str(port), "--data", str(data))
        process = subprocess.Popen(line, stderr=errors, stdout=subprocess.DEVNULL, env=environment())
    try:
        until(lambda: said.read_text().count("\n") == 2, "the invitation")
        lines, answers = said.read_text().splitlines(), list[int]()
        if "#" in lines[1]:
            code = lines[1].split()[2].partition("#")[2]
            with client(f"http://127.0.0.1:{port}") as phone:
                phone.headers.update(ELSEWHERE)
                answers = [phone.post("/pair", json={"code": code}).status_code for _ in range(2)]
        until(lambda: httpx.get(f"http://127.0.0.1:{port}/readyz").is_success, "the service")
    finally:
        process.terminate()
        assert process.wait(15) == 0
    return lines, answers
