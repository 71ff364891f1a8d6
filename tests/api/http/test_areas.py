"""Loop, choice, player, messages, heartbeats, jobs, settings and dashboard: each route's shape."""

from __future__ import annotations

import re
from typing import Any

import pytest

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")


def slugs(house: Any) -> list[str]:
    """The loop in order."""
    return [item["slug"] for item in house.get("/loop").json()["items"]]


# -- loop and choice -----------------------------------------------------------------------------------------------------------------


def test_the_loop_is_replaced_as_a_whole(house: Any) -> None:
    """Mode and shuffle stay when left out, `version` is ignored, and what GET gave can be put back."""
    for slug in "abc":
        house.item(slug)
    assert house.get("/loop").json() == {"items": [], "mode": "all", "shuffle": False, "version": 0}
    items = [
        {"slug": "b", "repeat": 2, "duration": 1.5, "when": {"days": ["mon"], "from": "08:00", "until": "18:00"}},
        {"slug": "a"},
    ]
    put = house.put("/loop", json={"items": items, "mode": "one", "shuffle": True})
    assert put.status_code == 200
    assert put.json() == {"items": items, "mode": "one", "shuffle": True, "version": put.json()["version"]}
    assert house.put("/loop", json={"items": [{"slug": "c"}]}).json()["mode"] == "one"
    assert house.put("/loop", json=house.get("/loop").json()).status_code == 200
    assert house.put("/loop", json={"items": [], "version": 99}).json()["items"] == []


def test_unknown_and_repeated_slugs_are_each_named(house: Any) -> None:
    """422, with a pointer to each."""
    house.item("a")
    response = house.put("/loop", json={"items": [{"slug": "a"}, {"slug": "x"}, {"slug": "a"}]})
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == ["/items/1/slug", "/items/2/slug"]


def test_entries_are_put_in_at_a_place_and_taken_out(house: Any) -> None:
    """201 for an entry that is new or moved, 200 when nothing changed."""
    for slug in "abc":
        house.item(slug)
    added = house.post("/loop/items", json={"slug": "a"})
    assert (added.status_code, added.json(), added.headers["Location"]) == (201, {"slug": "a", "at": 0}, "/api/v1/loop/items/a")
    assert house.post("/loop/items", json={"slug": "b", "at": 0, "repeat": 3}).json() == {"slug": "b", "at": 0, "repeat": 3}
    assert house.post("/loop/items", json={"slug": "c", "at": 1}).json()["at"] == 1
    assert slugs(house) == ["b", "c", "a"]
    assert house.post("/loop/items", json={"slug": "a"}).status_code == 200
    assert house.post("/loop/items", json={"slug": "nobody"}).status_code == 422
    assert house.post("/loop/items", json={"slug": "a", "at": 2**70}).status_code == 422
    assert house.get("/loop/items/c").json() == {"slug": "c", "at": 1}
    assert house.delete("/loop/items/c").status_code == 204
    assert house.delete("/loop/items/c").status_code == 404
    assert slugs(house) == ["b", "a"]


def test_ten_thousand_entries_fit(house: Any) -> None:
    """A loop of the largest size with long slugs is refused for what is wrong with it, not for its size."""
    items = [
        {"slug": f"{number:0200d}", "repeat": 2, "duration": 1.5, "when": {"days": ["mon", "tue"]}} for number in range(10_000)
    ]
    response = house.put("/loop", json={"items": items})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/items/0/slug"


def test_the_choice(house: Any) -> None:
    """A pending item is accepted, an unknown one is not, null clears."""
    house.item("a")
    assert house.get("/active").json() == {"slug": None}
    assert house.put("/active", json={"slug": "a"}).json() == {"slug": "a"}
    assert house.put("/active", json={"slug": "x"}).status_code == 422
    assert house.put("/active", json={}).status_code == 422
    assert house.get("/active").json() == {"slug": "a"}
    assert house.put("/active", json={"slug": None}).json() == {"slug": None}


# -- player --------------------------------------------------------------------------------------------------------------------------


def test_buttons_are_events(house: Any) -> None:
    """Each press that changes something is one event; the answer says how it is now."""
    house.item("a")
    house.item("b")
    house.put("/loop", json={"items": [{"slug": "a"}, {"slug": "b"}]})
    before = house.head_position()
    assert house.post("/player/pause").json() == {"playing": False, "held": False}
    assert house.post("/player/toggle").json() == {"playing": True, "held": False}
    assert house.post("/player/hold").json() == {"playing": True, "held": True}
    assert house.post("/player/release").json() == {"playing": True, "held": False}
    assert house.post("/player/play").status_code == 200
    assert house.post("/player/jump", json={"slug": "b"}).status_code == 200
    assert house.post("/player/jump", json={"slug": "x"}).status_code == 422
    assert house.post("/player/next").status_code == house.post("/player/previous").status_code == 200
    assert house.types(before)[:5] == [
        "playback.paused",
        "playback.resumed",
        "playback.held",
        "playback.released",
        "playback.jumped",
    ]


def test_without_a_player_the_log_says_what_was_seen_last(house: Any) -> None:
    """Nothing attached is "none"; what a player recorded before it was gone is "lost"."""
    none = house.get("/player").json()
    assert (none["playing"], none["held"], none["slug"], none["frame"]) == (True, False, None, None)
    assert none["display"] == {
        "driver": None, "width": None, "height": None, "rotation": 0, "brightness": 100, "state": "none",
        "fallbackFrom": None, "error": None, "address": None,
    }  # fmt: skip
    house.item("cat")
    facts = [
        {"fact": "started", "pid": 5},
        {"fact": "attached", "driver": "sim", "width": 240, "height": 320},
        {"fact": "shown", "slug": "cat", "turnStartedUs": 1, "plannedUs": 2, "appliedPosition": 3, "loopIndex": 0},
    ]
    reported = house.post("/player/facts", json={"facts": facts})
    assert reported.status_code == 204
    assert int(reported.headers["Pixelog-Position"]) == house.head_position()
    seen = house.get("/player").json()
    assert (seen["slug"], seen["loopIndex"], seen["appliedPosition"], seen["shownPosition"]) == ("cat", 0, 3, 3)
    assert (seen["display"]["state"], seen["display"]["driver"], seen["display"]["width"]) == ("lost", "sim", 240)
    assert TIME.match(seen["startedAt"])
    assert house.get("/dashboard").json()["player"]["display"]["state"] == "attached"
    assert "frame" not in house.get("/dashboard").json()["player"]


@pytest.mark.parametrize("facts", [[{"fact": "sung"}], [{"fact": "shown"}], [{"fact": "started", "pid": 1, "x": 2}], "x"])
def test_facts_that_are_none_are_refused(shared: Any, facts: Any) -> None:
    """The player's report is checked like everybody's."""
    assert shared.post("/player/facts", json={"facts": facts}).status_code == 422


# -- messages ------------------------------------------------------------------------------------------------------------------------


def test_messages_come_in_drawing_order(house: Any) -> None:
    """The highest priority first, then the oldest; a page goes on from its cursor."""
    for text, priority in (("a", "info"), ("b", "critical"), ("c", "warning"), ("d", "critical")):
        posted = house.post("/messages", json={"text": text, "priority": priority})
        assert posted.status_code == 201
        assert posted.headers["Location"] == f"/api/v1/messages/{posted.json()['id']}"
        assert sorted(posted.json()) == ["id", "postedAt", "priority", "text"]
    page = house.get("/messages?limit=3").json()
    assert ([message["text"] for message in page["items"]], page["total"]) == (["b", "d", "c"], 4)
    assert [message["text"] for message in house.get(f"/messages?cursor={page['next']}").json()["items"]] == ["a"]
    id = page["items"][0]["id"]
    assert house.get(f"/messages/{id}").json()["text"] == "b"
    assert house.delete(f"/messages/{id}").status_code == 204
    assert house.delete(f"/messages/{id}").status_code == 404
    assert house.get("/messages").json()["total"] == 3


def test_messages_expire_and_the_tag_notices(house: Any, until: Any) -> None:
    """An expiry is no event, but it changes what a reader gets."""
    posted = house.post("/messages", json={"text": "short", "ttlSeconds": 0.2}).json()
    assert TIME.match(posted["expiresAt"])
    tag = house.get("/messages").headers["ETag"]
    until(lambda: house.get("/messages", headers={"If-None-Match": tag}).status_code == 200)
    assert house.get("/messages").json() == {"items": [], "next": None, "total": 0}
    assert house.get("/dashboard").json()["messages"] == []
    assert house.get(f"/messages/{posted['id']}").status_code == 404


def test_texts_have_at_most_2000_characters(shared: Any) -> None:
    """Characters, not bytes."""
    assert shared.post("/messages", json={"text": "ü" * 2_000}).status_code == 201
    assert shared.post("/messages", json={"text": "ü" * 2_001}).status_code == 422


# -- heartbeats ----------------------------------------------------------------------------------------------------------------------


def test_heartbeats_say_who_lives(house: Any) -> None:
    """201 the first time; thresholds are the service's own, 30 s and 120 s otherwise."""
    first = house.post("/heartbeats", json={"service": "a b", "status": "ok", "details": {"load": 0.5}})
    assert (first.status_code, first.headers["Location"]) == (201, "/api/v1/heartbeats/a%20b")
    again = house.post("/heartbeats", json={"service": "a b", "status": "degraded"})
    assert (again.status_code, again.json()["status"]) == (200, "degraded")
    house.post("/heartbeats", json={"service": "c", "status": "ok", "staleAfterSeconds": 0.1, "deadAfterSeconds": 0.1})
    page = house.get("/heartbeats").json()
    assert page["total"] == 2
    beat = page["items"][0]
    assert (beat["service"], beat["liveness"]) == ("a b", "alive")
    assert all(TIME.match(beat[name]) for name in ("seenAt", "staleAfter", "deadAfter"))
    assert house.get("/heartbeats/a%20b").json()["service"] == "a b"
    assert house.get("/heartbeats/x").status_code == 404
    assert house.post("/heartbeats", json={"service": "a", "status": "fine"}).status_code == 422


def test_a_silent_service_dies(house: Any, until: Any) -> None:
    """Liveness is judged when it is asked for."""
    house.post("/heartbeats", json={"service": "c", "status": "ok", "staleAfterSeconds": 0.1, "deadAfterSeconds": 0.2})
    until(lambda: house.get("/heartbeats/c").json()["liveness"] == "dead")


# -- jobs ----------------------------------------------------------------------------------------------------------------------------


def test_a_jobs_life(house: Any) -> None:
    """Queued, claimed, reported on, done; then final."""
    queued = house.post("/jobs", json={"kind": "convert", "title": "Cat", "input": {"slug": "cat"}, "priority": 2})
    job = queued.json()
    assert (queued.status_code, queued.headers["Location"]) == (201, f"/api/v1/jobs/{job['id']}")
    assert (job["status"], job["progress"], job["attempt"], job["maxAttempts"], job["steps"]) == ("queued", 0, 0, 3, [])
    claimed = house.post("/jobs/claim", json={"kinds": ["convert"], "worker": "w", "leaseSeconds": 60})
    assert (claimed.status_code, claimed.json()["id"], claimed.json()["status"]) == (200, job["id"], "running")
    assert house.post("/jobs/claim", json={"kinds": ["convert"], "worker": "w", "leaseSeconds": 60}).status_code == 204
    path = f"/jobs/{job['id']}"
    assert house.patch(path, json={"progress": 40, "stage": "decoding"}).json()["progress"] == 40
    before = house.head_position()
    lower = house.patch(path, json={"progress": 10})
    assert (lower.status_code, lower.json()["progress"], house.head_position()) == (200, 40, before)
    assert house.post(f"{path}/cancel").json()["cancelRequested"] is True
    done = house.patch(path, json={"status": "completed"}).json()
    assert (done["status"], done["progress"]) == ("completed", 100)
    assert house.patch(path, json={"progress": 50}).status_code == 409
    assert house.post(f"{path}/cancel").status_code == 409
    assert house.get(path).json() == done
    assert house.get("/jobs/x").status_code == house.patch("/jobs/x", json={}).status_code == 404


def test_an_unfinished_key_answers_with_its_job(house: Any) -> None:
    """200 and nothing appended; ids may be the caller's own, once."""
    first = house.post("/jobs", json={"id": "mine/1", "kind": "a", "title": "b", "dedupeKey": "k"})
    assert (first.status_code, first.headers["Location"]) == (201, "/api/v1/jobs/mine%2F1")
    same = house.post("/jobs", json={"kind": "a", "title": "c", "dedupeKey": "k"})
    assert (same.status_code, same.json()["id"]) == (200, "mine/1")
    assert house.get("/jobs/mine%2F1").json()["title"] == "b"
    assert house.post("/jobs", json={"id": "mine/1", "kind": "a", "title": "b"}).status_code == 409


def test_jobs_are_listed_newest_first(house: Any) -> None:
    """By status and kind, page by page."""
    for kind in ("a", "b", "a"):
        house.post("/jobs", json={"kind": kind, "title": kind})
    house.post("/jobs/claim", json={"kinds": ["b"], "worker": "w", "leaseSeconds": 1})
    page = house.get("/jobs?limit=2").json()
    assert ([job["kind"] for job in page["items"]], page["total"]) == (["a", "b"], 3)
    assert len(house.get(f"/jobs?cursor={page['next']}").json()["items"]) == 1
    assert house.get("/jobs?status=running").json()["total"] == 1
    assert house.get("/jobs?kind=a&status=queued").json()["total"] == 2
    assert house.get("/jobs?status=lost").status_code == 422
    assert [job["kind"] for job in house.get("/dashboard").json()["jobs"]] == ["a", "b", "a"]


def test_steps_of_a_job(house: Any) -> None:
    """One at a time, changed by name, or all at once."""
    path = f"/jobs/{house.post('/jobs', json={'kind': 'a', 'title': 'b'}).json()['id']}/steps"
    made = house.post(path, json={"name": "cut & run"})
    assert (made.status_code, made.json()) == (201, {"name": "cut & run", "status": "pending"})
    assert made.headers["Location"] == f"/api/v1{path}/cut%20%26%20run"
    assert house.post(path, json={"name": "cut & run"}).status_code == 409
    changed = house.patch(f"{path}/cut%20%26%20run", json={"status": "running", "message": "half"})
    assert (changed.status_code, changed.json()["status"], changed.json()["message"]) == (200, "running", "half")
    assert house.get(f"{path}/cut%20%26%20run").json() == changed.json()
    assert house.patch(f"{path}/none", json={"status": "running"}).status_code == 404
    all_steps = house.post(path, json={"steps": [{"name": "x"}, {"name": "y", "status": "running"}]})
    assert (all_steps.status_code, [step["name"] for step in all_steps.json()["steps"]]) == (200, ["x", "y"])
    assert house.post(path, json={}).status_code == 422


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/jobs", {"kind": "a"}),
        ("/jobs", {"kind": "a", "title": "b", "priority": 2**70}),
        ("/jobs/claim", {"kinds": [], "worker": "w", "leaseSeconds": 1}),
        ("/jobs/claim", {"kinds": ["a"], "worker": "w", "leaseSeconds": 0}),
        ("/jobs/claim", {"kinds": ["a"], "worker": "w", "leaseSeconds": 1e300}),
        ("/messages", {"text": "a", "ttlSeconds": 1e300}),
    ],
)
def test_numbers_have_bounds(shared: Any, path: str, body: Any) -> None:
    """However large they are."""
    assert shared.post(path, json=body).status_code == 422


# -- settings and dashboard ----------------------------------------------------------------------------------------------------------


def test_settings(house: Any) -> None:
    """A flat object; wrong names and values are each named, and then nothing changes."""
    before = house.get("/settings").json()
    assert (before["brightness"], before["rotation"], before["fit"], before["defaultDuration"]) == (100, 0, "contain", 10)
    assert house.patch("/settings", json={"brightness": 40, "fit": "cover"}).json() == before | {"brightness": 40, "fit": "cover"}
    wrong = house.patch("/settings", json={"brightness": 101, "rotation": 45, "volume": 3, "fit": "contain"})
    assert wrong.status_code == 422
    assert [error["pointer"] for error in wrong.json()["errors"]] == ["/brightness", "/rotation", "/volume"]
    assert house.get("/settings").json()["fit"] == "cover"
    schema = {entry["name"]: entry for entry in house.get("/settings/schema").json()}
    assert sorted(schema) == sorted(before)
    assert schema["brightness"] == {
        "name": "brightness", "type": "integer", "default": 100, "meaning": schema["brightness"]["meaning"],
        "unit": "%", "minimum": 0, "maximum": 100,
    }  # fmt: skip


def test_the_dashboard_is_one_read(house: Any) -> None:
    """Its parts are those of their own routes, at one position."""
    empty = house.get("/dashboard").json()
    assert (empty["position"], empty["time"], empty["device"], empty["storage"]) == (0, None, None, None)
    house.upload("cat.gif", b"GIF89a1", addToLoop="true", makeActive="true")
    house.post("/messages", json={"text": "hello"})
    dashboard = house.get("/dashboard")
    body = dashboard.json()
    assert sorted(body) == [
        "active", "device", "epoch", "jobs", "logId", "loop", "media", "messages", "player", "position", "settings", "storage", "time",
    ]  # fmt: skip
    assert body["position"] == int(dashboard.headers["Pixelog-Position"]) == house.head_position()
    assert body["active"] == "cat"
    assert body["loop"] == house.get("/loop").json()
    assert body["settings"] == house.get("/settings").json()
    assert body["media"] == house.get("/media").json()
    assert body["messages"] == house.get("/messages").json()["items"]
    assert [job["kind"] for job in body["jobs"]] == ["prepare"]
    assert TIME.match(body["time"])
    assert body["logId"] == house.service.store.log_id
