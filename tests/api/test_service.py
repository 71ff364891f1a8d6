"""StateService: the Python door over a real data directory, with and without somebody else at the same log."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pixelog
from api import media_types
from api.commands.deciding import Rejected
from api.service import StateService
from eventstore.errors import Unusable
from projections.loop import LoopItem, When

GIF = b"GIF89a" + bytes(40)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[StateService]:
    """An open service over a new directory."""
    with pixelog.open(tmp_path / "data") as one:
        yield one


def test_the_contracts_example_runs(service: StateService, tmp_path: Path) -> None:
    """What the contract's page says of Python, line by line."""
    file = tmp_path / "cat.gif"
    file.write_bytes(GIF)
    item = service.add_media(str(file))
    assert (item.slug, item.kind, item.type, item.size, item.status) == ("cat", "animation", "image/gif", 46, "pending")
    assert service.blobs.path(item.sha256 or "").read_bytes() == GIF
    assert [one.slug for one in service.reorder_loop(["cat"]).items] == ["cat"]
    assert service.set_active("cat").slug == "cat"
    service.heartbeat("player", status="ok")
    job = service.claim_job(["prepare"], "me", 10)
    assert job is not None
    assert (service.update_job(job.id, progress=40, stage="decoding").progress, service.get_job(job.id)) == (
        40,
        service.update_job(job.id, progress=30),
    )
    assert service.get_dashboard_data().active == "cat"
    assert [one.slug for one in service.list_media()] == service.list_loop() == ["cat"]
    assert service.get_active() == "cat"
    service.remove_media("cat")
    assert (service.list_media(), service.list_loop(), service.get_active()) == ([], [], None)
    seen = service.subscribe(after=0)
    types = [next(iter(seen)).type for _ in range(3)]
    seen.close()
    assert types == ["log.opened", "media.added", "job.queued"]


@pytest.mark.parametrize(
    ("make", "filename"),
    [
        (lambda folder: GIF, "upload"),
        (lambda folder: io.BytesIO(GIF), "upload"),
        (lambda folder: tempfile.TemporaryFile(dir=folder), "upload"),  # noqa: SIM115 - closed by the test
        (lambda folder: open(folder / "a b.gif", "w+b"), "a b.gif"),  # noqa: SIM115 - closed by the test
    ],
    ids=["bytes", "BytesIO", "nameless", "named"],
)
def test_a_file_may_come_as_bytes_or_open(service: StateService, tmp_path: Path, make: Any, filename: str) -> None:
    """Its name is the caller's, else its own, else a word."""
    file = make(tmp_path)
    if not isinstance(file, bytes):
        file.write(GIF)
        file.seek(0)
    assert service.add_media(file).filename == filename
    if not isinstance(file, bytes):
        file.close()
    assert service.add_media(GIF, filename="else.gif").filename == filename


@pytest.mark.parametrize(
    ("name", "filename", "slug"),
    [
        (b"caf\xe9.png", "caf\ufffd.png", "caf\ufffd"),
        ("Ω \u202e 1\n2.png".encode(), "Ω \u202e 1\ufffd2.png", "ω-\u202e-1\ufffd2"),
        (b'  "q" ?#%.png', '  "q" ?#%.png', '"q"-?#%'),
        ("🐈.PNG".encode(), "🐈.PNG", "🐈"),
        (b".png", ".png", "png"),
    ],
)
def test_any_name_that_a_disk_can_hold_is_taken(
    service: StateService, tmp_path: Path, name: bytes, filename: str, slug: str
) -> None:
    """What cannot be stored as text is shown as replaced; the item can be found, changed and removed under its slug."""
    path = os.path.join(os.fsencode(tmp_path), name)
    with open(path, "wb") as file:
        file.write(PNG)
    item = service.add_media(os.fsdecode(path))
    assert (item.filename, item.slug) == (filename, slug)
    assert service.get_media(slug) == item
    assert service.update_media(slug, tags=["x"]).tags == ("x",)
    service.remove_media(slug)
    assert service.restore_media(slug).slug == slug


def test_content_that_is_held_gives_the_item(service: StateService) -> None:
    """Whatever name and slug were asked for; another content under a taken slug is a conflict and leaves no item."""
    first = service.add_media(GIF, filename="a.gif", add_to_loop=True)
    assert service.add_media(GIF, filename="b.gif", slug="b") == first
    with pytest.raises(Rejected, match="taken"):
        service.add_media(PNG, slug="a")
    assert [item.slug for item in service.list_media()] == ["a"]


def test_an_empty_file_and_any_bytes_are_taken(service: StateService) -> None:
    """The worker says later what they are worth."""
    assert service.add_media(b"", filename="nothing.gif").type == "image/gif"
    assert service.add_media(b"no picture", filename="a.html").type == "application/octet-stream"


@pytest.mark.parametrize(
    ("filename", "head", "type", "kind"),
    [
        ("x", GIF, "image/gif", "animation"),
        ("x.txt", b"RIFF\0\0\0\0WEBPVP8 ", "image/webp", "image"),
        ("x", b"\0\0\0 ftypisom", "video/mp4", "video"),
        ("x", b"\0\0\0 ftypavif", "image/avif", "image"),
        ("x.webm", b"", "video/webm", "video"),
        ("x.jpg", b"", "image/jpeg", "image"),
        ("x.svg", b"<svg>", "application/octet-stream", "image"),
        ("x.svgz", b"", "application/octet-stream", "image"),
        ("x.html", b"<html>", "application/octet-stream", "image"),
        ("x.xml", b"<html xmlns='http://www.w3.org/1999/xhtml'>", "application/octet-stream", "image"),
        ("x.js", b"alert()", "application/octet-stream", "image"),
        ("x.pdf", b"%PDF", "application/octet-stream", "image"),
        ("", b"", "application/octet-stream", "image"),
    ],
)
def test_the_first_guess_at_a_file(filename: str, head: bytes, type: str, kind: str) -> None:
    """By its first bytes, else its name; never as something that a browser would run."""
    assert media_types.guess(filename, head) == (type, kind)


def test_loop_entries_may_say_more_than_a_slug(service: StateService) -> None:
    """Mappings with the fields of an entry; a field or value that is not known is refused, with its place."""
    service.add_media(GIF, filename="a.gif")
    loop = service.reorder_loop(
        [{"slug": "a", "repeat": 2, "duration": 1.5, "when": {"from": "08:00"}}], mode="one", shuffle=True
    )
    assert loop.items == [LoopItem("a", 2, 1.5, When((), "08:00"))]
    assert (loop.mode, loop.shuffle, loop.version) == ("one", True, 2)
    for bad, pointer in (
        ({"slug": "a", "repeats": 2}, "/items/0/repeats"),
        ({"slug": "a", "repeat": "2"}, "/items/0"),
        ({"repeat": 2}, "/items/0"),
        ({"slug": "a", "repeat": 0}, "/items/0/repeat"),
    ):
        with pytest.raises(Rejected) as caught:
            service.reorder_loop([bad])
        assert (caught.value.code, [fault.pointer for fault in caught.value.faults]) == ("invalid", [pointer])


def test_an_own_length_can_be_taken_back(service: StateService) -> None:
    """To the file's own, which is not known yet here."""
    service.add_media(GIF, filename="a.gif")
    assert service.update_media("a", duration=3).duration == 3
    assert service.update_media("a", clear_duration=True).duration is None


def test_an_item_can_be_restored_only_with_its_file(service: StateService) -> None:
    """The door looks itself whether the blob is held."""
    item = service.add_media(GIF, filename="a.gif")
    service.remove_media("a")
    service.blobs.path(item.sha256 or "").unlink()
    with pytest.raises(Rejected) as caught:
        service.restore_media("a")
    assert caught.value.code == "gone"


def test_buttons_messages_and_settings(service: StateService) -> None:
    """The rest of the door answers with what is so afterwards."""
    service.add_media(GIF, filename="a.gif")
    service.jump("a")
    service.control("pause")
    message = service.post_message("hello", priority="warning", ttl_seconds=5)
    assert (message.text, message.priority) == ("hello", "warning")
    service.dismiss_message(message.id)
    assert service.get_dashboard_data().messages == []
    assert service.change_settings({"brightness": 40})["brightness"] == service.get_settings()["brightness"] == 40
    with pytest.raises(Rejected):
        service.change_settings({"brightness": 400})


def test_a_key_makes_one_job(service: StateService) -> None:
    """Asked twice, the same job comes back; after its end a new one."""
    first = service.queue_job("scan", "look", dedupe_key="k", input={"a": 1}, priority=3)
    assert service.queue_job("scan", "look again", dedupe_key="k") == first
    assert service.cancel_job(first.id).status == "cancelled"
    assert service.queue_job("scan", "look", dedupe_key="k").id != first.id
    assert service.claim_job(["other"], "me", 1) is None


def test_two_doors_on_one_directory(tmp_path: Path) -> None:
    """What one writes the other reads at once."""
    with pixelog.open(tmp_path) as one, pixelog.open(tmp_path) as two:
        one.add_media(GIF, filename="a.gif")
        two.set_active("a")
        assert one.get_active() == "a"
        position = one.store.head().position
        assert two.store.head().position == position


def test_closing_twice_is_one_closing_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """Everything is on the disk, no file is under way, and it opens again with what it held."""
    service = pixelog.open(tmp_path)
    service.add_media(GIF, filename="a.gif")
    service.heartbeat("camera")
    service.close()
    service.close()
    assert list((tmp_path / "tmp").iterdir()) == []
    with pixelog.open(tmp_path) as again:
        assert (again.rebuilt, [item.slug for item in again.list_media()]) == ([], ["a"])
        assert not again.store.head().dirty


def test_a_directory_that_cannot_be_one_says_so(tmp_path: Path) -> None:
    """A file in its place, or somebody else's database; both are left as they were."""
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(Unusable):
        pixelog.open(tmp_path / "file")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pixelog.db").write_bytes(b"not a database, but long enough to be one" * 40)
    with pytest.raises(Unusable):
        pixelog.open(tmp_path / "other")
    assert (tmp_path / "other" / "pixelog.db").read_bytes()[:5] == b"not a"


@pytest.mark.parametrize("left", ["nothing", "an empty file"])
def test_media_without_their_log_are_no_new_directory(tmp_path: Path, left: str) -> None:
    """A database that was lost is not made anew over what it named: that would be swept away."""
    with pixelog.open(tmp_path) as service:
        service.add_media(b"x", filename="x")
    database = tmp_path / "pixelog.db"
    database.unlink()
    if left == "an empty file":
        database.touch()
    with pytest.raises(Unusable, match=r"(missing|empty), but there are files of media"):
        pixelog.open(tmp_path)
    assert [path.read_bytes() for path in (tmp_path / "blobs").rglob("*/*")] == [b"x"]
