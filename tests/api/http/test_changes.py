"""Idempotency keys, positions and preconditions, as every command has them."""

from __future__ import annotations

from typing import Any

import pytest


def test_a_repeat_gets_the_first_answer_and_appends_nothing(house: Any) -> None:
    """Status, body, Location and position are those of the first time, whatever happened since and however the JSON was written."""
    key = {"Idempotency-Key": "k1"}
    first = house.post("/messages", json={"text": "a", "priority": "info"}, headers=key)
    house.post("/messages", json={"text": "b"})
    before = house.head_position()
    again = house.post("/messages", content=b'{ "priority":"info",  "text":"\\u0061" }', headers=key)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    for name in ("Location", "Pixelog-Position", "Content-Type"):
        assert again.headers[name] == first.headers[name]
    assert (first.headers.get("Idempotency-Replayed"), again.headers["Idempotency-Replayed"]) == (None, "true")
    assert house.head_position() == before


def test_a_key_with_another_request_is_422(house: Any) -> None:
    """Another body, another route, another method: none is the request that the key belongs to."""
    key = {"Idempotency-Key": "k1"}
    house.post("/messages", json={"text": "a"}, headers=key)
    before = house.head_position()
    for response in (
        house.post("/messages", json={"text": "b"}, headers=key),
        house.post("/heartbeats", json={"service": "a", "status": "ok"}, headers=key),
        house.put("/active", json={"slug": None}, headers=key),
    ):
        assert (response.status_code, response.json()["type"]) == (422, "/problems/key-reused")
    assert house.head_position() == before


def test_keys_outlive_a_restart(serving: Any, tmp_path: Any) -> None:
    """The answer is in the log's own file."""
    key = {"Idempotency-Key": "k1"}
    with serving(tmp_path / "data") as house:
        first = house.post("/jobs", json={"kind": "a", "title": "b"}, headers=key)
    with serving(tmp_path / "data") as house:
        again = house.post("/jobs", json={"kind": "a", "title": "b"}, headers=key)
        assert again.json() == first.json()
        assert again.headers["Idempotency-Replayed"] == "true"
        assert house.get("/jobs").json()["total"] == 1


def test_failures_are_not_kept(house: Any) -> None:
    """The same request may succeed when the state has changed."""
    key = {"Idempotency-Key": "k1"}
    assert house.put("/active", json={"slug": "cat"}, headers=key).status_code == 422
    house.item("cat")
    assert house.put("/active", json={"slug": "cat"}, headers=key).status_code == 200


def test_what_changes_nothing_is_kept_too(house: Any) -> None:
    """Its position is the head that it was judged against, also the second time."""
    house.item("cat")
    key = {"Idempotency-Key": "k1"}
    first = house.post("/player/play", headers=key)
    head = house.head_position()
    assert int(first.headers["Pixelog-Position"]) == head
    house.post("/player/pause")
    again = house.post("/player/play", headers=key)
    assert (int(again.headers["Pixelog-Position"]), again.json()) == (head, {"playing": True, "held": False})
    assert house.get("/dashboard").json()["player"]["playing"] is False


def test_uploads_are_compared_by_content(house: Any) -> None:
    """The same file again is the same request, another file under the key is not."""
    key = {"Idempotency-Key": "k1"}
    first = house.upload("cat.gif", b"GIF89a1", headers=key, addToLoop="true")
    assert first.status_code == 201
    house.delete("/loop/items/cat")
    again = house.upload("cat.gif", b"GIF89a1", headers=key, addToLoop="true")
    assert (again.status_code, again.headers["Location"], again.json()) == (201, first.headers["Location"], first.json())
    assert house.get("/loop").json()["items"] == []
    assert house.upload("cat.gif", b"GIF89a2", headers=key, addToLoop="true").status_code == 422


def test_deletes_have_keys(house: Any) -> None:
    """A repeated delete is 204 again, not 404."""
    house.item("cat")
    key = {"Idempotency-Key": "k1"}
    first = house.delete("/media/cat", headers=key)
    again = house.delete("/media/cat", headers=key)
    assert (first.status_code, again.status_code) == (204, 204)
    assert again.headers["Pixelog-Position"] == first.headers["Pixelog-Position"]
    assert again.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize("key", ["", "x" * 129])
def test_keys_have_one_to_128_bytes(shared: Any, key: str) -> None:
    """Anything else is refused."""
    assert shared.post("/player/hold", headers={"Idempotency-Key": key}).status_code == 422
    assert shared.upload("a", b"a", headers={"Idempotency-Key": key}).status_code == 422


RESOURCES = [
    ("/loop", "PUT", {"items": [{"slug": "b"}, {"slug": "a"}]}, {"items": []}),
    ("/active", "PUT", {"slug": "b"}, {"slug": None}),
    ("/settings", "PATCH", {"brightness": 10}, {"brightness": 20}),
    ("/media/a", "PATCH", {"tags": ["x"]}, {"tags": []}),
]


@pytest.mark.parametrize(("path", "method", "change", "other"), RESOURCES)
def test_if_match_lets_only_the_present_version_change(house: Any, path: str, method: str, change: Any, other: Any) -> None:
    """A change under the tag that was read works once; a stale one is 412 and appends nothing; the answer has the new tag."""
    house.item("a")
    house.item("b")
    tag = house.get(path).headers["ETag"]
    for header in (f'"other", {tag}', "*"):
        done = house.request(method, path, json=change, headers={"If-Match": header})
        assert done.status_code == 200, done.text
    changed = house.request(method, path, json=change, headers={"If-Match": done.headers["ETag"]})
    assert changed.headers["ETag"] == house.get(path).headers["ETag"] != tag
    before = house.head_position()
    for header in (tag, f"W/{done.headers['ETag']}", '"nonsense"'):
        stale = house.request(method, path, json=other, headers={"If-Match": header})
        assert (stale.status_code, stale.json()["type"]) == (412, "/problems/stale")
    assert house.head_position() == before
    assert house.get(path).headers["ETag"] == done.headers["ETag"]


def test_if_match_holds_for_deletes(house: Any) -> None:
    """A stale tag deletes nothing."""
    house.item("a")
    house.post("/loop/items", json={"slug": "a"})
    tag = house.get("/media/a").headers["ETag"]
    house.patch("/media/a", json={"tags": ["x"]})
    assert house.delete("/media/a", headers={"If-Match": tag}).status_code == 412
    assert house.delete("/loop/items/a", headers={"If-Match": '"x"'}).status_code == 412
    assert [item["slug"] for item in house.get("/loop").json()["items"]] == ["a"]
    assert house.delete("/media/a", headers={"If-Match": house.get("/media/a").headers["ETag"]}).status_code == 204


def test_a_repeat_under_if_match_is_answered_before_it_is_judged(house: Any) -> None:
    """Else a retry would fail by its own effect."""
    headers = {"Idempotency-Key": "k", "If-Match": house.get("/settings").headers["ETag"]}
    assert house.patch("/settings", json={"brightness": 5}, headers=headers).status_code == 200
    again = house.patch("/settings", json={"brightness": 5}, headers=headers)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")


def test_another_items_change_leaves_the_tag_of_this_one_alone(house: Any) -> None:
    """A worker that prepares one item does not spoil an edit of another."""
    house.item("a")
    tag = house.get("/media/a").headers["ETag"]
    house.item("b")
    assert house.patch("/media/a", json={"tags": ["x"]}, headers={"If-Match": tag}).status_code == 200


READS = [
    "/dashboard",
    "/media",
    "/media/a",
    "/loop",
    "/active",
    "/messages",
    "/jobs",
    "/settings",
    "/settings/schema",
    "/events",
    "/plays",
]


@pytest.mark.parametrize("path", READS)
def test_reads_have_a_tag_and_a_position_and_304(shared: Any, path: str) -> None:
    """The tag holds as long as the body does; 304 has no body."""
    if shared.get("/media/a").status_code == 404:
        shared.item("a")
    first = shared.get(path)
    tag = first.headers["ETag"]
    assert tag.startswith('"')
    assert int(first.headers["Pixelog-Position"]) == shared.head_position()
    for header in (tag, f'"x", W/{tag}', "*"):
        same = shared.get(path, headers={"If-None-Match": header})
        assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
    assert shared.get(path, headers={"If-None-Match": '"x"'}).content == first.content


def test_tags_follow_what_the_body_depends_on(house: Any) -> None:
    """A change of one area leaves the others' tags alone; lists are tagged by their query, too."""
    tags = {path: house.get(path).headers["ETag"] for path in READS if path != "/media/a"}
    house.post("/messages", json={"text": "a"})
    changed = {path for path, tag in tags.items() if house.get(path).headers["ETag"] != tag}
    assert changed == {"/dashboard", "/messages", "/events"}
    assert house.get("/media?limit=5").headers["ETag"] != house.get("/media?limit=6").headers["ETag"]


@pytest.mark.parametrize("path", ["/heartbeats", "/player"])
def test_what_is_live_is_never_kept(shared: Any, path: str) -> None:
    """No tag, no cache."""
    response = shared.get(path)
    assert "ETag" not in response.headers
    assert response.headers["Cache-Control"] == "no-store"
