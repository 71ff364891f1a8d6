"""The library over HTTP: uploads in every form, lists, items, files."""

from __future__ import annotations

import hashlib
import os
import socket
from typing import Any
from urllib.parse import quote

import pytest

from api.http.door import Limits
from eventstore.reading import read_page

GIF = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
ODD_SLUGS = ["a/b", "cat 2.gif", 'say "hi"', "naïve ☃", "🎬/😀", "50%", "a?b#c", "..a", "%2F", "+"]


def form(*parts: tuple[str, str | None, bytes], boundary: str = "xyz", end: bool = True) -> tuple[bytes, dict[str, str]]:
    """A multipart body of (name, filename, content), and its headers."""
    body = b""
    for name, filename, content in parts:
        file = "" if filename is None else f'; filename="{filename}"'
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"
    return body + (f"--{boundary}--\r\n".encode() if end else b""), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def temporary_files(house: Any) -> list[str]:
    """What lies in the folder for uploads under way."""
    return os.listdir(house.service.data.temporary)


def blobs(house: Any) -> set[str]:
    """Names of the blobs that are held."""
    return house.service.blobs.names()


def test_upload_answers_201_with_location_and_the_item(house: Any) -> None:
    """A new file becomes a pending item whose slug is the stem in lower case."""
    response = house.upload("Cat.GIF", GIF)
    item = response.json()
    assert response.status_code == 201
    assert response.headers["Location"] == "/api/v1/media/cat"
    assert int(response.headers["Pixelog-Position"]) == house.head_position()
    assert item == {
        "slug": "cat",
        "filename": "Cat.GIF",
        "kind": "animation",
        "type": "image/gif",
        "size": len(GIF),
        "sha256": hashlib.sha256(GIF).hexdigest(),
        "uploadedAt": item["uploadedAt"],
        "width": None,
        "height": None,
        "duration": None,
        "frameCount": None,
        "status": "pending",
        "error": None,
        "url": "/api/v1/media/cat/content",
        "thumbnailUrl": None,
        "tags": [],
        "version": 1,
    }
    assert house.types() == ["media.added", "job.queued"]


def test_content_that_is_held_answers_200_with_the_existing_item_and_applies_the_flags(house: Any) -> None:
    """The same bytes again add nothing to the library, but do what was asked."""
    house.upload("cat.gif", GIF)
    response = house.upload("other.gif", GIF, addToLoop="true", makeActive="1")
    assert response.status_code == 200
    assert "Location" not in response.headers
    assert response.json()["slug"] == "cat"
    assert [item["slug"] for item in house.get("/loop").json()["items"]] == ["cat"]
    assert house.get("/active").json() == {"slug": "cat"}


def test_a_given_slug_that_is_taken_is_a_conflict_and_a_made_one_gets_a_suffix(house: Any) -> None:
    """Only a slug that nobody asked for may be changed."""
    house.upload("cat.gif", GIF)
    taken = house.upload("dog.gif", GIF + b"1", slug="cat")
    assert taken.status_code == 409
    assert taken.json()["type"] == "/problems/conflict"
    assert house.upload("cat.png", GIF + b"2").json()["slug"] == "cat-2"


@pytest.mark.parametrize("flags_first", [True, False])
def test_parts_may_come_in_any_order(house: Any, flags_first: bool) -> None:
    """Flags are heard before and after the file."""
    file, flags = (
        ("file", "cat.gif", GIF),
        [("slug", None, b"mine"), ("addToLoop", None, b"true"), ("makeActive", None, b"false")],
    )
    body, headers = form(*([*flags, file] if flags_first else [file, *flags]))
    response = house.post("/media", content=body, headers=headers)
    assert response.status_code == 201
    assert response.json()["slug"] == "mine"
    assert [item["slug"] for item in house.get("/loop").json()["items"]] == ["mine"]
    assert house.get("/active").json() == {"slug": None}


@pytest.mark.parametrize("slug", ODD_SLUGS)
def test_slugs_are_opaque_and_percent_encoded_in_paths(shared: Any, slug: str) -> None:
    """Slashes, blanks, quotes and emoji are part of a slug, on every route of an item."""
    house, content = shared, GIF + slug.encode()
    created = house.upload("x.gif", content, slug=slug)
    assert created.status_code == 201
    path = f"/media/{quote(slug, safe='')}"
    assert created.headers["Location"] == f"/api/v1{path}"
    assert house.get(path).json()["slug"] == slug
    assert house.get(f"{path}/content").content == content
    assert house.patch(path, json={"tags": ["a"]}).json()["tags"] == ["a"]
    assert house.post("/loop/items", json={"slug": slug}).status_code == 201
    assert house.delete(f"/loop/items/{quote(slug, safe='')}").status_code == 204
    assert house.delete(path).status_code == 204
    assert house.get(path).status_code == 404
    assert house.post(f"{path}/restore").json()["slug"] == slug


@pytest.mark.parametrize(
    ("header", "filename"),
    [
        ('filename="größe.gif"', "größe.gif"),
        ("filename*=UTF-8''gr%C3%B6%C3%9Fe.gif", "größe.gif"),
        ("filename=\"fallback.gif\"; filename*=UTF-8''caf%C3%A9%20%F0%9F%98%80.gif", "café 😀.gif"),
        ('filename="say %22hi%22.gif"', 'say "hi".gif'),
        ('filename="say \\"hi\\".gif"', 'say "hi".gif'),
        ('filename="C:\\\\photos\\\\cat.gif"', "cat.gif"),
        ('filename="../../etc/passwd"', "passwd"),
        ("filename=plain.gif", "plain.gif"),
    ],
)
def test_file_names_come_in_every_encoding(shared: Any, header: str, filename: str) -> None:
    """Browsers, curl and RFC 5987 write names differently; folders are not part of a name."""
    content = GIF + header.encode()
    body = f'--b\r\nContent-Disposition: form-data; name="file"; {header}\r\n\r\n'.encode() + content + b"\r\n--b--\r\n"
    response = shared.post("/media", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert response.status_code == 201, response.text
    assert response.json()["filename"] == filename


def test_any_bytes_are_accepted(house: Any) -> None:
    """What is not media is the worker's business; an empty file is a file."""
    assert house.upload("notes.txt", b"no picture").status_code == 201
    assert house.upload("page.html", b"<script>alert(1)</script>").json()["type"] == "application/octet-stream"
    assert house.upload("empty.gif", b"").json()["size"] == 0


def test_a_large_file_goes_to_the_blobs_as_it_is(house: Any) -> None:
    """Several chunks make one blob, and nothing stays in the folder for uploads under way."""
    content = bytes(range(256)) * 20_000
    item = house.upload("big.bin", content).json()
    assert (item["size"], item["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert house.get("/media/big/content").content == content
    assert temporary_files(house) == []


@pytest.mark.parametrize(
    ("parts", "pointer"),
    [
        ([("slug", None, b"x")], "/file"),
        ([("file", "", b"")], "/file"),
        ([("file", "a", b"1"), ("file", "b", b"2")], "/file"),
        ([("file", "a", b"1"), ("colour", None, b"red")], "/colour"),
        ([("file", "a", b"1"), ("addToLoop", None, b"maybe")], "/addToLoop"),
        ([("file", "a", b"1"), ("slug", None, b" x ")], "/slug"),
        ([("file", "a", b"1"), ("slug", None, b"\xff")], "/slug"),
        ([("file", "a", b"1"), ("slug", None, b"a\x00b")], "/slug"),
    ],
)
def test_a_form_that_is_wrong_names_the_field(shared: Any, parts: Any, pointer: str) -> None:
    """No file, two files, unknown fields and wrong values are refused, and nothing is appended."""
    body, headers = form(*parts)
    before = shared.head_position()
    response = shared.post("/media", content=body, headers=headers)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    assert shared.head_position() == before
    assert temporary_files(shared) == []


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{}", "application/json", 415),
        (b"a=b", "application/x-www-form-urlencoded", 415),
        (GIF, "image/gif", 415),
        (b"", "multipart/form-data", 400),
        (b"no form", "multipart/form-data; boundary=b", 400),
        (form(("file", "a", b"1"), end=False)[0], "multipart/form-data; boundary=xyz", 400),
        (b"--b\r\n\r\n1\r\n--b--\r\n", "multipart/form-data; boundary=b", 400),
    ],
)
def test_what_is_no_form_is_refused(shared: Any, content: bytes, content_type: str, status: int) -> None:
    """Another type is 415, a form that cannot be read 400; nothing stays."""
    before = blobs(shared)
    response = shared.post("/media", content=content, headers={"Content-Type": content_type})
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert temporary_files(shared) == []
    assert blobs(shared) == before


def test_a_file_beyond_the_limit_is_413_however_it_is_announced(serving: Any, tmp_path: Any) -> None:
    """The limit holds for the announced length and for the bytes that come."""
    with serving(tmp_path / "data", Limits(upload_bytes=1_000)) as house:
        assert house.upload("a", b"x" * 1_000).status_code == 201
        assert house.upload("b", b"x" * 200_000).status_code == 413
        body, headers = form(("file", "c", b"x" * 1_001))

        def pieces() -> Any:
            yield body

        assert house.post("/media", content=pieces(), headers=headers).status_code == 413
        assert temporary_files(house) == []
        assert house.get("/media").json()["total"] == 1


def test_a_disk_without_room_is_507(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the disk takes is refused before it is received, and a disk that fills up on the way leaves nothing."""
    import api.http.door as door

    monkeypatch.setattr(door.Door, "free_bytes", lambda self: 10)
    assert house.upload("a", b"x" * 100).status_code == 507
    monkeypatch.undo()

    from eventstore.blobs import BlobWriter

    def full(self: BlobWriter, chunk: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(BlobWriter, "write", full)
    response = house.upload("a", b"x" * 100)
    assert (response.status_code, response.json()["type"]) == (507, "/problems/out-of-space")
    assert temporary_files(house) == []
    assert house.head_position() == 0


def test_hanging_up_in_the_middle_leaves_nothing(house: Any, until: Any) -> None:
    """An upload that is cut off appends no event and leaves no file."""
    body, headers = form(("file", "cat.gif", b"x" * 1_000_000))
    host, port = house.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(
            f"POST /api/v1/media HTTP/1.1\r\nHost: localhost\r\nContent-Type: {headers['Content-Type']}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
        )
        line.sendall(body[:600_000])
        until(lambda: temporary_files(house) != [])
    until(lambda: temporary_files(house) == [])
    assert house.head_position() == 0
    assert blobs(house) == set()


def test_lists_filter_sort_and_page(house: Any) -> None:
    """q, status, kind, tag and sort choose; limit and cursor page through, and total counts all."""
    for number in range(5):
        house.upload(f"clip {number}.gif", GIF + bytes([number] * (9 - number)))
    house.patch("/media/clip-3", json={"tags": ["news"]})
    slugs = lambda query: [item["slug"] for item in house.get(f"/media?{query}").json()["items"]]  # noqa: E731
    assert slugs("") == [f"clip-{number}" for number in (4, 3, 2, 1, 0)]
    assert slugs("sort=uploadedAt") == [f"clip-{number}" for number in range(5)]
    assert slugs("sort=size") == [f"clip-{number}" for number in (4, 3, 2, 1, 0)]
    assert slugs("sort=-filename&limit=2") == ["clip-4", "clip-3"]
    assert slugs("tag=news") == slugs("q=news") == slugs("q=clip%203") == ["clip-3"]
    assert slugs("status=ready") == []
    assert len(slugs("status=pending&kind=animation")) == 5
    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        page = house.get(f"/media?limit=2&sort=filename{cursor}").json()
        assert page["total"] == 5
        seen += [item["slug"] for item in page["items"]]
        cursor = f"&cursor={page['next']}"
    assert page["next"] is None
    assert seen == [f"clip-{number}" for number in range(5)]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "limit=-1", "sort=age", "status=fine", "kind=x", "cursor=!", "q=" + "x" * 201]
)
def test_a_wrong_query_is_422(shared: Any, query: str) -> None:
    """Each parameter has its bounds."""
    response = shared.get(f"/media?{query}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "?" + query.split("=")[0]


def test_a_cursor_of_another_order_is_refused(house: Any) -> None:
    """A place in one order means nothing in another."""
    house.item("a")
    house.item("b")
    cursor = house.get("/media?limit=1&sort=filename").json()["next"]
    assert house.get(f"/media?sort=size&cursor={cursor}").status_code == 422


def test_patch_changes_what_is_said_and_null_gives_the_own_duration_back(house: Any) -> None:
    """Fields that are left out stay."""
    house.item("cat")
    changed = house.patch("/media/cat", json={"filename": "Tom.gif", "tags": ["a", "b"], "duration": 2.5})
    assert changed.status_code == 200
    assert (changed.json()["filename"], changed.json()["tags"], changed.json()["duration"]) == ("Tom.gif", ["a", "b"], 2.5)
    assert house.patch("/media/cat", json={"duration": None}).json()["duration"] is None
    assert house.patch("/media/cat", json={}).json()["version"] == 3
    assert house.patch("/media/cat", json={"filename": ""}).status_code == 422
    assert house.patch("/media/cat", json={"duration": 1e300}).status_code == 422
    assert house.patch("/media/nobody", json={"tags": []}).status_code == 404


def test_delete_takes_the_item_out_of_loop_and_choice_in_one_batch(house: Any) -> None:
    """The position is that of the last event of the batch; restore brings the item back, not its places."""
    house.upload("cat.gif", GIF, addToLoop="true", makeActive="true")
    before = house.head_position()
    removed = house.delete("/media/cat")
    assert (removed.status_code, removed.content) == (204, b"")
    assert int(removed.headers["Pixelog-Position"]) == house.head_position() == before + 3
    assert set(house.types(before)) == {"media.removed", "loop.item_removed", "active.cleared"}
    assert house.get("/media/cat/content").status_code == 404
    assert house.delete("/media/cat").status_code == 404
    assert house.post("/media/cat/restore").status_code == 200
    assert house.get("/loop").json()["items"] == []
    assert house.post("/media/cat/restore").status_code == 409


def test_content_has_ranges_tags_and_safe_headers(house: Any) -> None:
    """Bytes come with their type, and a browser may do nothing with them."""
    house.upload("cat ü.gif", GIF, slug="cat")
    whole = house.get("/media/cat/content")
    tag = f'"{hashlib.sha256(GIF).hexdigest()}"'
    assert whole.content == GIF
    assert whole.headers["ETag"] == tag
    assert whole.headers["Content-Type"] == "image/gif"
    assert whole.headers["X-Content-Type-Options"] == "nosniff"
    assert whole.headers["Content-Disposition"] == "inline; filename*=UTF-8''cat%20%C3%BC.gif"
    assert "sandbox" in whole.headers["Content-Security-Policy"]
    assert house.get("/media/cat/content", headers={"If-None-Match": tag}).status_code == 304
    part = house.get("/media/cat/content", headers={"Range": "bytes=6-9"})
    assert (part.status_code, part.content) == (206, GIF[6:10])
    assert part.headers["Content-Range"] == f"bytes 6-9/{len(GIF)}"
    assert house.get("/media/cat/content", headers={"Range": "bytes=-3"}).content == GIF[-3:]
    assert house.get("/media/cat/content", headers={"Range": "bytes=6-", "If-Range": '"old"'}).status_code == 200
    assert house.get("/media/cat/content", headers={"Range": "bytes=6-", "If-Range": tag}).status_code == 206
    beyond = house.get("/media/cat/content", headers={"Range": "bytes=900-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(GIF)}")
    assert beyond.headers["Content-Type"] == "application/problem+json"
    head = house.head("/media/cat/content")
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(len(GIF)), b"")


def test_no_thumbnail_is_a_problem(house: Any) -> None:
    """An item that is not ready has none."""
    house.item("cat")
    assert house.get("/media/cat/thumbnail").status_code == 404
    assert house.get("/media/nobody/thumbnail").headers["Content-Type"] == "application/problem+json"


def test_the_actor_is_in_the_log(house: Any) -> None:
    """Each event says who asked."""
    house.item("cat")
    with house.service.store.reading() as db:
        assert {event.actor for event in read_page(db, 0).events if event.type != "log.opened"} == {"http:loopback"}
