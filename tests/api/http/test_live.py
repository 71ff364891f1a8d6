"""What is outside the log's own routes: the screen, the past, health, the page, and the process around it all."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from eventstore.record import NewEvent
from player.pixels import pack_rgb565
from player.screen import ScreenWriter
from projections.times import parse_rfc3339

# -- the screen ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def watched(serving: Any, tmp_path: Path) -> Any:
    """A service with a player's screen of 4 x 2 pixels: (house, writer)."""
    writer = ScreenWriter(tmp_path / "screen", 4, 2, driver="sim")
    with serving(tmp_path / "data", screen=tmp_path / "screen") as house:
        yield house, writer
    writer.close()


def red() -> bytes:
    """A red picture of 4 x 2 pixels."""
    return pack_rgb565(Image.new("RGB", (4, 2), (255, 0, 0)))


def test_the_screen_is_the_panels_memory(watched: Any) -> None:
    """Exact pixels, with the instant they were planned for and the log they were drawn from."""
    house, writer = watched
    assert house.get("/screen.png").status_code == 503
    house.item("cat")
    event = next(iter(house.service.store.read(1)))
    writer.publish(red(), event.logtime_us + 123, event.position, 0)
    response = house.get("/screen.png")
    assert (response.status_code, response.headers["Content-Type"]) == (200, "image/png")
    assert (response.headers["Cache-Control"], "ETag" in response.headers) == ("no-store", False)
    assert response.headers["Pixelog-Position"] == str(event.position)
    assert parse_rfc3339(response.headers["Pixelog-Screen-Time"]) == event.time_us + 123
    picture = Image.open(io.BytesIO(response.content))
    assert (picture.size, picture.getpixel((3, 1))) == ((4, 2), (255, 0, 0))
    writer.publish(bytes(16), event.logtime_us + 124, event.position, 0)
    assert Image.open(io.BytesIO(house.get("/screen.png").content)).getpixel((0, 0)) == (0, 0, 0)


def test_the_screens_time_is_exactly_its_planned_instant(watched: Any) -> None:
    """Time and position of the headers lead back to that instant, to the microsecond."""
    from projections.replay.points import resolve

    house, writer = watched
    house.item("cat")
    head = house.service.store.head()
    planned_us = head.logtime_us + 7_654_321
    writer.publish(red(), planned_us, head.position, 0)
    headers = house.get("/screen.png").headers
    house.post("/messages", json={"text": "later"})
    with house.service.store.reading() as db:
        instant = resolve(db, headers["Pixelog-Screen-Time"], int(headers["Pixelog-Position"]), 0)
    assert (instant.position, instant.logtime_us) == (head.position, planned_us)


def test_no_player_is_503_no_player(shared: Any) -> None:
    """For the picture and the film; it may be tried again."""
    for path in ("/screen.png", "/screen.mjpeg"):
        response = shared.get(path)
        assert (response.status_code, response.json()["type"]) == (503, "/problems/no-player")
        assert "Retry-After" in response.headers


def test_the_film_has_a_part_for_each_new_picture(watched: Any) -> None:
    """JPEGs in a multipart answer without end; viewers are counted."""
    house, writer = watched
    writer.publish(red(), 0, 0, 0)
    with house.stream("GET", "/screen.mjpeg") as film:
        assert film.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=pixelog-frame"
        pieces = film.iter_raw()
        first = next(pieces)
        writer.publish(bytes(16), 0, 0, 0)
        second = next(pieces)
    for part in (first, second):
        head, _, jpeg = part.partition(b"\r\n\r\n")
        assert head.startswith(b"--pixelog-frame\r\nContent-Type: image/jpeg\r\nContent-Length: ")
        assert Image.open(io.BytesIO(jpeg)).size == (4, 2)
    assert Image.open(io.BytesIO(first.partition(b"\r\n\r\n")[2])).getpixel((1, 1))[0] > 200


def test_viewers_are_bounded(watched: Any, monkeypatch: pytest.MonkeyPatch, until: Any) -> None:
    """One too many is told to come back; a place that is left is free again."""
    from api.http import screen

    monkeypatch.setattr(screen, "VIEWERS_MAX", 1)
    house, writer = watched
    writer.publish(red(), 0, 0, 0)
    with house.stream("GET", "/screen.mjpeg") as film:
        pieces = film.iter_raw()
        next(pieces)
        assert house.get("/screen.mjpeg").json()["type"] == "/problems/too-many-viewers"

    def free() -> bool:
        with house.stream("GET", "/screen.mjpeg") as film:
            return film.status_code == 200

    until(free)


def test_a_live_player_speaks_for_itself(watched: Any) -> None:
    """GET /player is what the player publishes, as it publishes it."""
    house, writer = watched
    facts = {"playing": True, "held": False, "slug": "cat", "frame": 3, "display": {"driver": "sim", "state": "attached"}}
    writer.publish_facts(json.dumps(facts).encode())
    response = house.get("/player")
    assert (response.json(), response.headers["Cache-Control"]) == (facts, "no-store")
    writer.close()
    assert house.get("/player").json()["frame"] is None


# -- the past ------------------------------------------------------------------------------------------------------------------------


def test_the_state_as_it_was(house: Any) -> None:
    """At a position, a time or the head; whole or by area; under a tag that holds for ever."""
    house.item("cat")
    position = house.head_position()
    house.delete("/media/cat")
    then = house.get(f"/history/state?at={position}")
    body = then.json()
    assert (body["position"], list(body["areas"]["media"])) == (position, ["cat"])
    assert body["areas"]["media"]["cat"]["status"] == "pending"
    assert house.get("/history/state?at=head&area=media&area=active").json()["areas"] == {
        "media": {},
        "active": {"active": {"slug": None}},
    }
    assert house.get(f"/history/state?at={body['time']}&through={position}").json() == body
    assert house.get(f"/history/state?at={position}", headers={"If-None-Match": then.headers["ETag"]}).status_code == 304
    for query in ("", "?at=never", "?at=99", "?at=head&area=weather", "?at=head&through=99"):
        assert house.get(f"/history/state{query}").status_code == 422


def test_the_screen_as_it_was(house: Any) -> None:
    """A picture with what is known of its exactness; 404 where there was nothing."""
    assert house.get("/history/screen.png?at=0").status_code == 404
    house.post("/messages", json={"text": "a"})
    response = house.get("/history/screen.png?at=head")
    assert (response.status_code, response.headers["Content-Type"]) == (200, "image/png")
    assert (response.headers["Pixelog-Screen-Exact"], response.headers["Pixelog-Screen-Why"]) == ("false", "no_player")
    assert response.headers["Pixelog-Position"] == str(house.head_position())
    assert Image.open(io.BytesIO(response.content)).size == (240, 320)
    assert house.get("/history/screen.png?at=soon").status_code == 422


# -- health and page -----------------------------------------------------------------------------------------------------------------


def test_probes(shared: Any) -> None:
    """Alive, ready, and each check with its figure; what is not ok says what would mend it."""
    assert httpx.get(shared.url + "/livez").json() == {"status": "ok"}
    assert httpx.get(shared.url + "/readyz").json() == {"status": "ok"}
    health = httpx.get(shared.url + "/healthz").json()
    assert health["status"] == "degraded"  # there is no player
    assert {name: check["status"] for name, check in health["checks"].items()} == {
        "service": "ok", "log": "ok", "start": "ok", "unsynced": "ok", "writer": "ok", "statements": "ok", "readers": "ok", "watch": "ok",
        "projections": "ok", "disk": "ok", "player": "degraded",
    }  # fmt: skip
    checks = health["checks"]
    assert {name: list(check) for name, check in checks.items() if "figures" not in check and "mend" not in check} == {
        name: ["status", "value", "unit"] for name in ("service", "log", "start", "unsynced", "projections", "disk")
    }
    assert checks["player"]["mend"] == "start one: pixelog player, or pixelog up"
    assert checks["writer"]["figures"].keys() == {"commits", "walPages", "checkpointsPutOff"}
    assert checks["writer"]["value"] == shared.service.store.writer.commits
    assert checks["readers"]["figures"].keys() == {"opened", "renewed", "lent", "lentMost", "timeouts"}
    assert checks["readers"]["value"] >= 1  # the event loop's own
    assert checks["watch"]["figures"] == {"missed": 0, "failedLooks": 0}


def test_health_says_what_was_slow(house: Any) -> None:
    """How many, and the newest with its text and its time."""
    assert httpx.get(house.url + "/healthz").json()["checks"]["statements"]["figures"] == {"slow": 0, "ended": 0}
    house.service.store.statements.note("SELECT slow", 1.5)
    said = httpx.get(house.url + "/healthz").json()["checks"]["statements"]
    assert (said["status"], said["value"]) == ("ok", 1)
    assert said["figures"] == {"slow": 1, "ended": 0, "newestMs": 1500, "newestSql": "SELECT slow"}


def test_health_says_what_the_start_looked_at(tmp_path: Path, serving: Any) -> None:
    """The position at which the log ended then."""
    with serving(tmp_path / "data") as house:
        house.item("cat")
        end = house.head_position()
    with serving(tmp_path / "data") as house:
        said = httpx.get(house.url + "/healthz").json()["checks"]["start"]
    assert said == {"status": "ok", "value": end, "unit": "position, its end and guards whole"}


def test_health_takes_in_the_duties_of_idle_time(house: Any) -> None:
    """A stopped area and a found problem fail it, each with its mend."""
    from api.upkeep import Upkeep

    house.post("/messages", json={"text": "a"})
    house.service.upkeep = upkeep = Upkeep(house.service.data, house.service.executor)
    upkeep.check_now()
    assert httpx.get(house.url + "/healthz").status_code == 200
    house.service.store.transact(lambda t: t.db.execute("DELETE FROM messages_posted") and None)
    upkeep.check_now()
    house.service.store.transact(lambda t: t.db.execute("UPDATE projections SET stopped = 'no' WHERE area = 'loop'") and None)
    health = httpx.get(house.url + "/healthz")
    assert (health.status_code, health.json()["status"]) == (503, "failed")
    checks = health.json()["checks"]
    assert (checks["areas"]["status"], checks["areas"]["mend"]) == ("failed", "update pixelog, then: pixelog rebuild loop")
    mend = "make it anew from the log: pixelog rebuild messages"
    assert (checks["verified"]["status"], checks["verified"]["mend"]) == ("failed", mend)


def test_a_read_that_takes_too_long_is_503(tmp_path: Path, serving: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do, on the event loop and on a thread; the service goes on, and has counted it."""
    from api.http import history, messages
    from eventstore.store import EventStore

    def endless(db: Any, *rest: Any) -> Any:
        return db.execute("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n").get

    opening = EventStore.open
    monkeypatch.setattr(EventStore, "open", lambda path, **options: opening(path, read_seconds_max=0.05, **options))
    with serving(tmp_path / "data") as house:
        with monkeypatch.context() as patched:
            patched.setattr(messages.messages, "last_expiry", endless)
            patched.setattr(history, "state", endless)
            for path in ("/messages", "/history/state?at=head"):
                response = house.get(path)
                assert (response.status_code, response.json()["type"]) == (503, "/problems/too-slow")
                assert "ask for less" in response.json()["detail"]
                assert response.headers["Retry-After"] == "5"
        assert house.get("/messages").status_code == 200
        assert house.get("/history/state?at=head").status_code == 200
        assert httpx.get(house.url + "/healthz").json()["checks"]["statements"]["figures"]["ended"] == 2


def test_a_log_that_has_stopped_is_not_ready(house: Any) -> None:
    """Reads go on; probes and commands say that something is wrong."""
    house.item("cat")
    house.service.store.writer._stopped = "the disk went away"
    try:
        ready = httpx.get(house.url + "/readyz")
        assert (ready.status_code, ready.headers["Retry-After"]) == (503, "5")
        health = httpx.get(house.url + "/healthz")
        assert health.status_code == 503
        for name in ("log", "writer"):
            check = health.json()["checks"][name]
            assert (check["status"], check["value"]) == ("failed", "the disk went away")
            assert check["mend"].startswith("restart pixelog; ")
        assert house.post("/messages", json={"text": "a"}).status_code == 503
        assert house.get("/media/cat").status_code == 200
    finally:
        house.service.store.writer._stopped = None


def test_starting_and_stopping_are_not_ready(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with Retry-After, for the probe and for commands."""
    from api.http.door import Door

    monkeypatch.setattr(Door, "stage", "stopping", raising=False)
    stages: list[Door] = []
    monkeypatch.setattr(Door, "free_bytes", lambda self: stages.append(self) or 0)
    httpx.get(house.url + "/healthz")
    stages[0].stage = "stopping"
    for response in (httpx.get(house.url + "/readyz"), house.post("/player/pause")):
        assert (response.status_code, response.json()["type"]) == (503, "/problems/not-ready")
        assert response.headers["Retry-After"] == "1"
    stages[0].stage = "ready"


def test_the_page_is_served_from_the_package(shared: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the right types and a strict policy, and nothing from outside its folder."""
    from api.http import page

    (tmp_path / "parts").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "parts" / "a.js").write_text("export {}")
    (tmp_path / "secret.txt").write_text("x")
    (tmp_path.parent / "outside.js").write_text("x")
    monkeypatch.setattr(page, "FOLDER", tmp_path)
    index = httpx.get(shared.url + "/")
    assert (index.status_code, index.headers["Content-Type"], index.text) == (200, "text/html; charset=utf-8", "<!doctype html>")
    assert index.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert index.headers["X-Content-Type-Options"] == "nosniff"
    assert httpx.get(shared.url + "/", headers={"If-None-Match": index.headers["ETag"]}).status_code == 304
    script = httpx.get(shared.url + "/static/parts/a.js")
    assert (script.status_code, script.headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
    for path in (
        "secret.txt",
        "%2e%2e/outside.js",
        "parts",
        "parts/%2e%2e/a.js",
        "none.js",
        "parts%2f..%2f..%2foutside.js",
        "%5coutside.js",
    ):
        assert httpx.get(f"{shared.url}/static/{path}").status_code == 404


# -- the process ---------------------------------------------------------------------------------------------------------------------

SERVE = """
import socket, sys
from api.http.app import create_app
from api.http.server import Server
from api.service import StateService
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
with StateService(sys.argv[1]) as service:
    Server(create_app(service)).run([listener])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_in_order(tmp_path: Path, number: int, until: Any) -> None:
    """Exit code 0 within moments, although streams are open; what was answered is in the log."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(tmp_path)], stdout=subprocess.PIPE, env=environment, text=True)
    with process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        assert httpx.get(url + "/readyz", timeout=20).status_code == 200
        seen: list[str] = []

        def follow() -> None:
            with httpx.stream("GET", url + "/api/v1/events/stream?after=0", timeout=20) as stream:
                for line in stream.iter_lines():
                    seen.append(line)

        follower = threading.Thread(target=follow)
        follower.start()
        assert httpx.post(url + "/api/v1/messages", json={"text": "a"}).status_code == 201
        until(lambda: any('"message.posted"' in line for line in seen))
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == 0
        assert time.monotonic() - began < 4
        follower.join()
    from eventstore.store import EventStore

    with EventStore.open(tmp_path, read_only=True) as store:
        assert [event.type for event in store.read()] == ["log.opened", "message.posted"]


def test_an_event_of_a_newer_pixelog_refuses_commands_by_name(house: Any) -> None:
    """Another process appended it: commands are 503 problems, reads go on, and health says what mends it."""
    house.post("/messages", json={"text": "a"})
    house.service.store.append("foreign", NewEvent("foreign.thing", "not json"))
    for _ in range(2):
        answer = house.post("/messages", json={"text": "b"})
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unknown-event")
        assert answer.json()["detail"].startswith("the log holds events of a newer pixelog: update it")
        assert answer.headers["Retry-After"] == "60"
    assert [message["text"] for message in house.get("/messages").json()["items"]] == ["a"]
    health = httpx.get(house.url + "/healthz")
    said = health.json()["checks"]["projections"]
    assert (health.status_code, said["status"], said["value"]) == (503, "failed", 1)
    assert said["mend"].startswith("update pixelog: the log holds events of a newer pixelog: update it")
