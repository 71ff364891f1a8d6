"""Moving out again: each generation with 500 items goes in and out with nothing lost, and adopt(export(x)) is x for all that LOOP's form can hold."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

import old_loop

import pixelog
from api.adopt import values
from api.adopt.loop_export import NotEmpty, export_loop
from api.adopt.moving import Report, adopt_loop
from api.cli.main import main
from api.commands.adoptions import CONVERT
from api.commands.jobs import UpdateJob
from api.data import DataDirectory
from projections import jobs, media

FRAME = bytes(range(256)) * 600
ITEMS = 500
STEMS = (
    "lava_lamp",
    "雨の日",
    "Ünïcödé 'quoted' \"twice\"",
    "שלום عالم",
    "e\u0301 o\u0308 \u0928\u093f combining",
    "🦊👩\u200d👩\u200d👧",
    "a/b/../c",
    " blank . ",
    "tab\there",
    "x" * 60,
    "a%2Fb#?&=:",
    "\u202eright to left\u202c..",
    "back\\slash\x01\u2028",
)
"""Combining marks, emoji, right-to-left text, quotes, slashes, blanks and dots at the ends."""

LONG = 255
"""Bytes of the longest name that a file can have; items 13 to 15 have such slugs, or such file names."""

EXTENSIONS = {"gif": "image/gif", "png": "image/png", "mp4": "video/mp4", "webp": "image/webp"}


# -- one directory per generation ----------------------------------------------------------------------------------------------------


def named(number: int) -> tuple[str, str, str]:
    """Slug, file name and type of an item."""
    stem, extension = STEMS[number % len(STEMS)], tuple(EXTENSIONS)[number % len(EXTENSIONS)]
    slug = f"{stem.lower().replace(' ', '_')}_{hashlib.sha256(str(number).encode()).hexdigest()[:16]}"
    filename = f"{stem} {number}.{extension}"
    if number == 13:
        slug = "ü" * ((LONG - 17) // 2) + slug[-17:]
    if number == 14:
        filename = "雨" * ((LONG - 6) // 3) + f"{number}.{extension}"
    if number in (15, 16):  # names that end as no other system would have them
        slug, filename = (f"{slug}...", f"{filename}. . ") if number == 15 else (f"{slug} ", f". {filename} ")
    return slug, filename, EXTENSIONS[extension]


def raw_name(number: int, generation: int) -> str | None:
    """The name of its upload, where a file can have it."""
    slug, filename, _ = named(number)
    name = f"{slug}{Path(filename).suffix}" if generation == 2 else f"{slug}_{filename}"
    return name if number % 9 == 0 and "/" not in name and len(name.encode()) <= LONG else None


FRAMED = (7, 8, 9)
"""Items with frames; of the first one they are cut short."""


def item(number: int, generation: int) -> dict[str, Any]:
    """An item as its generation wrote it."""
    slug, filename, type = named(number)
    old: dict[str, Any] = {
        "type": {"image/gif": "gif", "video/mp4": "video"}.get(type, "image"),
        "slug": slug,
        "original_filename": filename,
        "width": 240,
        "height": 320,
        "frame_count": 1 + number % 4,
        "frames": [f"frame_{place:06}.rgb565" for place in range(1 + number % 4)],
        "durations": [0.1] * (1 + number % 4),
        "format": "rgb565",
        "loop_count": -(number % 2),
    }
    if generation == 1:
        return old
    new = {
        "slug": slug,
        "filename": filename,
        "type": type,
        "size": 1_000 + number,
        "uploadedAt": f"2025-06-{1 + number % 28:02}T10:11:12.{number:03}456Z",
        "processing_status": ("completed", "uploaded", "error", "completed", "processing")[number % 5],
        "width": 320,
        "height": 240,
        "frame_count": 1 + number % 4,
    }
    if generation == 2:
        del new["processing_status"]
        return old | new | {"frame_duration": 0.04, "_optimized": True}
    if number % 3 == 0:
        new |= {"duration": number / 8}
    return new | ({"fps": 12.5} if number % 7 == 0 else {"duration": None} if number % 3 else {})


def build(folder: Path, generation: int) -> list[dict[str, Any]]:
    """Write an installation of 500 items with files, frames, a frame cut short, dangling entries and strays; the items that it has."""
    app = folder / "media"
    (app / "raw").mkdir(parents=True)
    items = [item(number, generation) for number in range(ITEMS)]
    for number, one in enumerate(items):
        slug, _, _ = named(number)
        if (name := raw_name(number, generation)) is not None:
            (app / "raw" / name).write_bytes(b"GIF89a upload %d" % number)
        if number in FRAMED:
            place = app / "processed" / slug / "frames"
            place.mkdir(parents=True)
            (place.parent / "metadata.json").write_text("{broken" if number == 8 else '{"format": "rgb565", "fps": 25}')
            count = one["frame_count"]
            if generation in (1, 2):
                for at in range(count):
                    (place / f"frame_{at:06}.rgb565").write_bytes(FRAME if (number, at) != (7, 1) else FRAME[:-7])
            else:
                whole = struct.pack(">II", count, len(FRAME)) + FRAME * count
                (place / "frames.bin").write_bytes(whole if number != 7 else whole[:-7])
    loop = [one["slug"] for one in items[::3]]
    dangling = [*loop[:5], "gone_00ff", *loop[5:], loop[0]]
    chosen = items[42]["slug"]
    job = {
        "filename": "clip 1.mp4",
        "status": "error",
        "progress": 100,
        "stage": "error",
        "message": "Error: no",
        "timestamp": 1751064000.125,
    }
    running = job | {
        "status": "processing",
        "progress": 42.5,
        "stage": "processing",
        "message": "Frame 3",
        "timestamp": 1751065000.5,
    }
    if generation == 5:
        build_database(app / "media.db", items, dangling, chosen)
    else:
        state: dict[str, Any] = {"media": items, "active": chosen, "last_updated": 1751065201.5}
        if generation == 2:
            state["loop"] = []
        if generation >= 3:
            state |= {"media": {one["slug"]: one for one in items}, "loop": dangling}
        if generation == 4:
            state["processing"] = {"job ä": job, "job-2": running}
        (app / "index.json").write_text(json.dumps(state, ensure_ascii=generation % 2 == 0))
    return items


def build_database(path: Path, items: list[dict[str, Any]], loop: list[str], chosen: str) -> None:
    """Write the state of the last generation, with the dangling rows that real ones have."""
    database = sqlite3.connect(path)
    schema = (Path(__file__).parent.parent / "samples" / "loop" / "media.sql").read_text().split("INSERT")[0]
    database.executescript(schema)
    for one in items:
        columns = (
            "slug",
            "filename",
            "type",
            "size",
            "uploadedAt",
            "url",
            "duration",
            "width",
            "height",
            "frame_count",
            "processing_status",
        )
        row = (*(one.get(name) for name in columns), "2025-06-29 10:00:00")
        database.execute(f"INSERT INTO media VALUES ({','.join('?' * 12)})", row)
    database.executemany("INSERT INTO loop_order VALUES (?, ?)", [(2 * place, slug) for place, slug in enumerate(loop)])
    database.execute("INSERT INTO settings (key, value) VALUES ('active', ?), ('last_updated', '1751191500')", (chosen,))
    database.execute(
        "INSERT INTO processing_jobs VALUES ('job ä', 'clip 1.mp4', 'error', 100, 'error', 'Error: no', '2025-06-28 09:00:00', '2025-06-28 09:00:10')"
    )
    database.commit()
    database.close()


@pytest.mark.parametrize("generation", [1, 2, 3, 4, 5])
def test_500_items_of_each_generation_go_in_and_out_with_nothing_lost(tmp_path: Path, generation: int) -> None:
    """Items with their names, times and unknown keys, uploads byte for byte, loop, choice and jobs; what was broken is told once."""
    source, out, data = tmp_path / "app", tmp_path / "out", DataDirectory(tmp_path / "data")
    items = build(source, generation)
    before = untouched(source)
    dry = adopt_loop(data, source, dry_run=True)
    assert not data.root.exists()
    report = adopt_loop(data, source, verify=True)
    assert told(dry) == told(report)
    assert report.differences == ()
    assert {kind: (count.imported, count.merged, count.skipped) for kind, count in report.records.items()} == records_of(
        generation
    )
    cut = [
        one for one in report.warnings if one.key == f"media/{named(7)[0]}" and ("cut short" in one.why or "left out" in one.why)
    ]
    assert len(cut) == 1
    assert [one.key for one in report.warnings if one.rule == "IR-0.2"] == [f"media/{named(8)[0]}"]
    dangling = [] if generation in (1, 2) else ["loop/gone_00ff", f"loop/{items[0]['slug']}"]
    assert [one.key for one in report.skipped] == dangling
    again = adopt_loop(data, source, verify=True)
    assert (again.events, again.imported, again.differences) == (0, 0, ())
    assert untouched(source) == before

    export_loop(data, out)
    index = old_loop.read_index(out)
    from_database = old_loop.read_database(out)
    assert {name: from_database[name] for name in ("loop", "active")} == {name: index[name] for name in ("loop", "active")}
    assert set(from_database["media"]) == set(index["media"])
    assert set(from_database["processing"]) == set(index["processing"])
    assert list(index["media"]) == [one["slug"] for one in items]
    for number, one in enumerate(items):
        check_item(one, index["media"][one["slug"]], number, generation)
        if raw_name(number, generation) is not None:
            assert old_loop.raw_of(out, index["media"][one["slug"]]).read_bytes() == b"GIF89a upload %d" % number
    assert index["active"] == items[42]["slug"]
    assert index["loop"] == [one["slug"] for one in (items if generation in (1, 2) else items[::3])]

    back = DataDirectory(tmp_path / "again")
    assert adopt_loop(back, out, verify=True).differences == ()
    assert held(back) == held(data)


def told(report: Report) -> Any:
    """A report but for what only a real move can say."""
    return msgspec.to_builtins(msgspec.structs.replace(report, dry_run=False, verified=None, differences=None))


def records_of(generation: int) -> dict[str, tuple[int, int, int]]:
    """How many records `build` has written, by kind: imported, merged, skipped."""
    entries = ITEMS if generation in (1, 2) else len(range(0, ITEMS, 3))
    records = {"media": (ITEMS, 0, 0), "loop": (entries, 0, 0 if generation in (1, 2) else 2), "active": (1, 0, 0)}
    return records | ({"jobs": ({4: 2, 5: 1}[generation], 0, 0)} if generation in (4, 5) else {})


def untouched(folder: Path) -> dict[str, Any]:
    """Every file and folder of a source: bytes, times of change, mode."""
    return {
        str(path.relative_to(folder.parent)): (
            path.lstat().st_mtime_ns, path.lstat().st_mode, hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
        )
        for path in (folder, *sorted(folder.rglob("*")))
    }  # fmt: skip


def check_item(source: dict[str, Any], out: dict[str, Any], number: int, generation: int) -> None:
    """Each key that the source had says the same in the export."""
    framed, has_file = number in FRAMED, raw_name(number, generation) is not None
    for key, value in source.items():
        if value is None or (key == "type" and generation == 1) or (key == "fps" and generation == 5):
            continue  # the first generation has no MIME types, the last no column for the rate
        if key == "uploadedAt":
            assert values.instant_us(out[key]) == values.instant_us(value)
        elif key == "size" and (has_file or framed):
            assert out[key] > 0
        elif key == "frame_count" and number == 7:
            assert out[key] == value - 1
        elif key == "original_filename" and generation == 1:
            assert out["filename"] == value
        else:
            assert out[key] == value, key


def held(data: DataDirectory) -> dict[str, Any]:
    """All that a library holds and LOOP's form can hold, times to the millisecond."""
    with pixelog.open(data.root) as state, state.store.reading() as db:
        rows: list[Any] = db.execute(
            "SELECT slug, filename, kind, type, size, sha256, uploaded_at / 1000, width, height, natural_duration, frame_count, status, error, "
            "extra FROM media_items ORDER BY slug"
        ).fetchall()
        found: list[Any] = db.execute(
            "SELECT id, title, status, progress, stage, message, error, input, created_at / 1000, finished_at / 1000 FROM jobs_all "
            f"WHERE kind = '{CONVERT}' ORDER BY id"
        ).fetchall()
        order: list[Any] = db.execute("SELECT slug FROM media_items ORDER BY position").fetchall()
        return {
            "media": [(*row[:-1], json.loads(row[-1] or "{}")) for row in rows],
            "order": order,
            "jobs": found,
            "loop": state.list_loop(),
            "active": state.get_active(),
            "settings": state.get_settings(),
        }


# -- any small state -----------------------------------------------------------------------------------------------------------------

slugs = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=12)
instants = st.integers(-62_000_000_000_000, 250_000_000_000_000).map(lambda ms: values.iso(ms * 1000))
extras = st.dictionaries(
    st.sampled_from(["fps", "mood", "format", "_optimized"]),
    st.one_of(st.integers(-5, 5), st.floats(0, 9), st.text(max_size=5), st.lists(st.booleans(), max_size=2)),
    max_size=2,
)


@st.composite
def libraries(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, bytes]]:
    """An index of the fourth generation with all its freedom, and the uploads of some of its items by slug."""
    media: dict[str, Any] = {}
    uploads: dict[str, bytes] = {}
    for slug in draw(st.lists(slugs, max_size=6, unique=True)):
        optional = {
            "duration": draw(st.one_of(st.none(), st.integers(0, 10**9).map(lambda us: us / 1_000_000))),
            "width": draw(st.one_of(st.none(), st.integers(0, 5_000))),
            "frame_count": draw(st.one_of(st.none(), st.integers(0, 300))),
            "processing_status": draw(st.sampled_from([None, "uploaded", "pending", "processing", "completed", "error"])),
        }
        media[slug] = {
            "slug": slug,
            "filename": draw(slugs),
            "type": draw(st.sampled_from(["image/gif", "image/png", "video/mp4", "application/x-odd"])),
            "size": draw(st.integers(0, 2**40)),
            "uploadedAt": draw(instants),
            **{name: value for name, value in optional.items() if value is not None},
            **draw(extras),
        }
        if draw(st.booleans()):
            uploads[slug] = (
                draw(st.sampled_from([b"GIF89a", b"\x89PNG\r\n\x1a\n", b"nothing", b"\0\0\0\x18ftypmp42"])) + slug.encode()
            )
    loop = draw(st.permutations(list(media)))[: draw(st.integers(0, 6))]
    found: dict[str, Any] = {}
    for id in draw(st.lists(slugs, max_size=3, unique=True)):
        status = draw(st.sampled_from(["processing", "completed", "error"]))
        found[id] = {
            "filename": draw(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8)),
            "status": status,
            "progress": 100 if status == "completed" else draw(st.integers(0, 200)) / 2,
            "stage": draw(st.sampled_from(["starting", "processing", "error", ""])),
            "message": draw(st.sampled_from(["", "Converting", "Error: ü"])),
            "timestamp": draw(st.integers(1_500_000_000_000, 1_900_000_000_000)) / 1000,
        }
    active = draw(st.sampled_from([None, *media]))
    return {"media": media, "loop": loop, "active": active, "last_updated": 1, "processing": found}, uploads


@settings(max_examples=15, deadline=None)
@given(libraries())
def test_what_moves_out_and_in_again_is_the_same(library: tuple[dict[str, Any], dict[str, bytes]]) -> None:
    """adopt(export(x)) = x, also by way of the index alone."""
    index, uploads = library
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = folder / "app" / "media" / "raw"
        raw.mkdir(parents=True)
        for number, (slug, content) in enumerate(uploads.items()):
            (raw / f"upload {number}").write_bytes(content)
            index["media"][slug]["url"] = f"/media/raw/upload%20{number}"
        (raw.parent / "index.json").write_text(json.dumps(index))
        first = DataDirectory(folder / "first")
        report = adopt_loop(first, folder / "app", verify=True)
        assert report.differences == ()
        export_loop(first, folder / "out")
        assert moved(folder / "second", folder / "out").events == report.events
        assert held(DataDirectory(folder / "second")) == held(first)
        (folder / "out" / "media" / "media.db").unlink()
        moved(folder / "third", folder / "out")
        assert held(DataDirectory(folder / "third")) == held(first)


def moved(data: Path, source: Path) -> Report:
    """Move a source into a new directory; nothing may be left out."""
    report = adopt_loop(DataDirectory(data), source, verify=True)
    assert report.differences == ()
    assert [one for one in report.skipped if one.rule != "IR-1.8"] == []
    return report


# -- what is written -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path) -> DataDirectory:
    """A library with two items that never were in LOOP, one of them prepared, one in the loop, and a job of LOOP's kind."""
    from PIL import Image

    from player.prepare import Geometry, prepare

    data = DataDirectory(tmp_path / "data")
    with pixelog.open(data.root) as state:
        pictures = [Image.new("RGB", (32, 24), colour) for colour in ("red", "blue")]
        pictures[0].save(tmp_path / "two.gif", save_all=True, append_images=pictures[1:], duration=200)
        two = state.add_media(tmp_path / "two.gif", slug="two: ü/?", add_to_loop=True, make_active=True)
        state.add_media(b"raw", filename="notes.txt")
        from api.commands.media import FinishPreparing
        from projections.media import Pack

        done = prepare(state.blobs.path(two.sha256 or ""), data.packs, Geometry(240, 320, 90), lambda percent, stage: None)
        pack = Pack(done.pack, 240, 320, 90, "contain", done.pack_size_bytes)
        command = FinishPreparing(
            None, two.slug, two.sha256 or "", done.kind, done.type, done.width, done.height, done.frame_count, done.delays, pack,
            done.thumbnail, done.made_by,
        )  # fmt: skip
        state.executor.execute(command)
        job = state.queue_job(CONVERT, "clip.mp4")
        state.executor.execute(UpdateJob(id=job.id, status="running", progress=12.5, stage="processing"))
        state.change_settings({"brightness": 33})
    return data


def test_the_old_reader_finds_all_that_it_expects(library: DataDirectory, tmp_path: Path) -> None:
    """The database has LOOP's tables, columns and indexes, holds what the index holds, and nothing dangles."""
    export_loop(library, tmp_path / "out")
    index = json.loads((tmp_path / "out/media/index.json").read_text())
    database = sqlite3.connect(tmp_path / "out/media/media.db")
    ask: Callable[[str], list[Any]] = lambda query: database.execute(query).fetchall()  # noqa: E731 - a name for one line
    sample = sqlite3.connect(":memory:")
    sample.executescript((Path(__file__).parent.parent / "samples" / "loop" / "media.sql").read_text())
    shape = 'SELECT m.name, p.cid, p.name, p.type, p."notnull", p.dflt_value, p.pk FROM sqlite_schema m, pragma_table_info(m.name) p ORDER BY 1, 2'
    assert ask(shape) == sample.execute(shape).fetchall()
    indexes = "SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index' ORDER BY name"
    assert ask(indexes) == sample.execute(indexes).fetchall()
    assert (ask("PRAGMA journal_mode"), ask("PRAGMA auto_vacuum"), ask("PRAGMA integrity_check")) == (
        [("wal",)],
        [(2,)],
        [("ok",)],
    )
    assert ask("PRAGMA foreign_key_check") == []
    assert ask("SELECT slug FROM loop_order ORDER BY position") == [("two: ü/?",)]
    assert dict(ask("SELECT key, value FROM settings WHERE key <> 'pixelog'")) == {
        "active": "two: ü/?",
        "last_updated": str(index["last_updated"]),
    }
    assert ask("SELECT slug, size, processing_status, frame_count, duration FROM media ORDER BY slug") == [
        ("notes", 3, "completed", None, None),
        ("two: ü/?", (tmp_path / "two.gif").stat().st_size, "completed", 2, 0.4),
    ]
    assert ask("SELECT filename, status, progress, stage FROM processing_jobs") == [
        ("clip.mp4", "processing", 12.5, "processing")
    ]
    (entry,) = index["processing"].values()
    assert {"job_id", "filename", "status", "progress", "stage", "message", "timestamp"} <= set(entry)
    assert json.loads((tmp_path / "out/config/config.json").read_text())["display"] == {"brightness": 33, "rotation": 0}
    database.close()
    sample.close()


def test_prepared_items_get_frames_at_loops_rate(tmp_path: Path) -> None:
    """Two pictures of 0.2 s each become ten frames of 320 x 240, five of each; without --no-frames only."""
    from PIL import Image

    from player.pixels import pack_rgb565

    data = DataDirectory(tmp_path / "data")
    pictures = [Image.new("RGB", (320, 240), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    pictures[0].save(tmp_path / "two.png", save_all=True, append_images=pictures[1:], duration=200)
    with pixelog.open(data.root) as state:
        two = state.add_media(tmp_path / "two.png")
        from api.cli.ports import PrepareDesk
        from player.prepare import prepare

        desk = PrepareDesk(state)
        task = desk.take()
        assert task is not None
        desk.prepared(task, prepare(task.source, data.packs, task.geometry, lambda percent, stage: None))
    report = export_loop(data, tmp_path / "out")
    assert (report.media, report.files, report.frames) == (1, 1, 1)
    packed = (tmp_path / "out/media/processed" / two.slug / "frames/frames.bin").read_bytes()
    assert packed == struct.pack(">II", 10, 153_600) + pack_rgb565(pictures[0]) * 5 + pack_rgb565(pictures[1]) * 5
    metadata = json.loads((tmp_path / "out/media/processed" / two.slug / "metadata.json").read_text())
    assert (metadata["frame_count"], metadata["fps"], metadata["width"], metadata["format"]) == (10, 25, 320, "rgb565")
    assert export_loop(data, tmp_path / "bare", frames=False).frames == 0
    assert not (tmp_path / "bare/media/processed").exists()


def test_a_clip_that_plays_from_frames_goes_out_with_both(tmp_path: Path) -> None:
    """The upload is the MP4 again, the frames are LOOP's own, and the way back in is the same."""
    raw = tmp_path / "app/media/raw"
    raw.mkdir(parents=True)
    clip = b"\0\0\0\x18ftypmp42" + b"x" * 100
    (raw / "a_clip.mp4").write_bytes(clip)
    frames = tmp_path / "app/media/processed/a/frames"
    frames.mkdir(parents=True)
    packed = struct.pack(">II", 2, len(FRAME)) + FRAME + bytes(reversed(FRAME))
    (frames / "frames.bin").write_bytes(packed)
    entry = {
        "slug": "a",
        "filename": "clip.mp4",
        "type": "video/mp4",
        "size": len(clip),
        "uploadedAt": "2025-06-24T18:02:11Z",
        "fps": 20,
    }
    (raw.parent / "index.json").write_text(json.dumps({"media": {"a": entry}, "loop": ["a"], "active": "a"}))
    data = DataDirectory(tmp_path / "data")
    adopt_loop(data, tmp_path / "app")
    export_loop(data, tmp_path / "out")
    assert (tmp_path / "out/media/raw/a_clip.mp4").read_bytes() == clip
    assert (tmp_path / "out/media/processed/a/frames/frames.bin").read_bytes() == packed
    exported = json.loads((tmp_path / "out/media/index.json").read_text())["media"]["a"]
    assert (exported["type"], exported["size"], exported["fps"]) == ("video/mp4", len(clip), 20)
    moved(tmp_path / "again", tmp_path / "out")
    assert held(DataDirectory(tmp_path / "again")) == held(data)


def test_names_that_no_file_can_have_are_replaced(tmp_path: Path) -> None:
    """Slashes and endless names get a hash for a file name, two of one name too; the address says which, and all come back."""
    raw = tmp_path / "app/media/raw"
    raw.mkdir(parents=True)
    names = {"a/b": "x/y.gif", "long": "z" * 250 + ".gif", "a": "b_c", "a_b": "c"}
    media = {}
    for number, (slug, filename) in enumerate(names.items()):
        (raw / f"{number}.gif").write_bytes(b"GIF89a%d" % number)
        media[slug] = {
            "slug": slug,
            "filename": filename,
            "url": f"/media/raw/{number}.gif",
            "uploadedAt": "2025-06-24T18:02:11Z",
            "size": 7,
        }
    (raw.parent / "index.json").write_text(json.dumps({"media": media, "loop": [], "active": None}))
    data = DataDirectory(tmp_path / "data")
    adopt_loop(data, tmp_path / "app")
    export_loop(data, tmp_path / "out")
    assert len(list((tmp_path / "out/media/raw").iterdir())) == 4
    moved(tmp_path / "again", tmp_path / "out")
    assert held(DataDirectory(tmp_path / "again")) == held(data)


def test_passwords_go_out_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --secrets the settings lack them, and that is told; with it they are where they were, for the owner's eyes alone."""
    config = json.loads((Path(__file__).parent.parent / "samples/loop/config.json").read_text())
    (tmp_path / "app/config").mkdir(parents=True)
    (tmp_path / "app/config/config.json").write_text(json.dumps(config))
    data = str(tmp_path / "data")
    assert main(["adopt", "loop", str(tmp_path / "app"), "--data", data]) == 0
    assert main(["export", "loop", str(tmp_path / "bare"), "--data", data, "--json"]) == 0
    out = capsys.readouterr().out
    assert "config/wifi.password" in out
    assert "FAKE" not in out + (tmp_path / "bare/config/config.json").read_text()
    assert main(["export", "loop", str(tmp_path / "full"), "--data", data, "--secrets"]) == 0
    path = tmp_path / "full/config/config.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text()) == config


def test_nothing_is_overwritten(library: DataDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with something in it is refused with exit code 2."""
    with pytest.raises(NotEmpty):
        export_loop(library, tmp_path)
    assert main(["export", "loop", str(tmp_path), "--data", str(library.root)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_the_log_is_not_touched(library: DataDirectory, tmp_path: Path) -> None:
    """Moving out is reading."""
    with pixelog.open(library.root) as state:
        before = state.store.head().position
    export_loop(library, tmp_path / "out")
    with pixelog.open(library.root) as state, state.store.reading() as db:
        assert state.store.head().position == before
        assert media.get(db, "notes") is not None
        assert jobs.open_count(db) > 0


# -- a second opinion ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sample", "config"),
    [
        ("index.json", "config.json"),
        ("index-empty.json", "config.json"),
        ("index-dangling.json", "config.json"),
        ("index-legacy-list.json", "config-legacy.json"),
        ("index-legacy-list-2.json", "config-legacy.json"),
        ("media.sql", "config.json"),
    ],
)
def test_a_reader_of_loops_own_takes_what_goes_out(tmp_path: Path, sample: str, config: str) -> None:
    """Index and database say the same of the same items; the settings hold only keys that the last LOOP knew, or the export names the others."""
    samples = Path(__file__).parent.parent / "samples" / "loop"
    app = tmp_path / "app"
    (app / "media").mkdir(parents=True)
    if sample.endswith(".sql"):
        database = sqlite3.connect(app / "media/media.db")
        database.executescript((samples / sample).read_text())
        database.close()
    else:
        (app / "media/index.json").write_bytes((samples / sample).read_bytes())
    (app / "config").mkdir()
    (app / "config/config.json").write_bytes((samples / config).read_bytes())
    data, out = DataDirectory(tmp_path / "data"), tmp_path / "out"
    adopt_loop(data, app)
    report = export_loop(data, out)
    index, db = old_loop.read_index(out), old_loop.read_database(out)
    for slug, item in db["media"].items():
        assert {name: index["media"][slug].get(name) for name in item} == item
    assert (set(db["media"]), db["loop"], db["active"]) == (set(index["media"]), index["loop"], index["active"])
    for id, job in db["processing"].items():
        assert {name: index["processing"][id][name] for name in job if name != "timestamp"} == {
            name: job[name] for name in job if name != "timestamp"
        }
    unknown = [one.key for one in report.warnings if one.rule == "IR-0.7"]
    if config == "config-legacy.json":
        assert unknown == ["config/display.gamma"]
        with pytest.raises(old_loop.Refused, match="gamma"):
            old_loop.read_config(out)
    else:
        assert unknown == []
        old_loop.read_config(out)
    back = DataDirectory(tmp_path / "back")
    assert adopt_loop(back, out, verify=True).differences == ()
    assert held(back) == held(data)


def test_prepared_items_are_the_same_again_once_the_worker_has_been(tmp_path: Path) -> None:
    """A library that plays goes out as LOOP's player takes it, and in again: pending until it is prepared here, then all is as it was."""
    from PIL import Image

    from player.pixels import pack_rgb565

    data, out, back = DataDirectory(tmp_path / "data"), tmp_path / "out", DataDirectory(tmp_path / "back")
    pictures = [Image.new("RGB", (320, 240), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    pictures[0].save(tmp_path / "two.gif", save_all=True, append_images=pictures[1:], duration=200)
    pictures[1].save(tmp_path / "one.png")
    with pixelog.open(data.root) as state:
        state.add_media(tmp_path / "two.gif", slug="e\u0301 two", add_to_loop=True)
        state.add_media(tmp_path / "one.png", slug="one", make_active=True)
        prepare_all(state, data)
    export_loop(data, out)
    index, db = old_loop.read_index(out), old_loop.read_database(out)
    assert {slug: item["processing_status"] for slug, item in db["media"].items()} == {
        "e\u0301 two": "completed",
        "one": "completed",
    }
    assert old_loop.raw_of(out, index["media"]["one"]).read_bytes() == (tmp_path / "one.png").read_bytes()
    assert old_loop.read_frames(out, "one") == [pack_rgb565(pictures[1])]
    assert old_loop.read_frames(out, "e\u0301 two") == [pack_rgb565(pictures[0])] * 5 + [pack_rgb565(pictures[1])] * 5
    assert adopt_loop(back, out, verify=True).differences == ()
    with pixelog.open(back.root) as state:
        assert {one.status for one in state.list_media()} == {"pending"}
        prepare_all(state, back)
    assert held(back) == held(data)
    assert adopt_loop(back, out, verify=True).differences == ()


def prepare_all(state: pixelog.StateService, data: DataDirectory) -> None:
    """What the worker does."""
    from api.cli.ports import PrepareDesk
    from player.prepare import prepare

    desk = PrepareDesk(state)
    while (task := desk.take()) is not None:
        desk.prepared(task, prepare(task.source, data.packs, task.geometry, lambda percent, stage: None))


def test_secrets_that_cannot_go_back_are_named(tmp_path: Path) -> None:
    """Those of items, and those that were in a list, whose place is gone."""
    (tmp_path / "app/media").mkdir(parents=True)
    (tmp_path / "app/media/index.json").write_text(json.dumps({"media": {"a": {"api_key": "FAKE-1"}}}))
    (tmp_path / "app/config.json").write_text(
        json.dumps({"wifi": {"known": [{"psk": "FAKE-2"}, 1], "password": "FAKE-3", "tokens": [4]}})
    )
    data = DataDirectory(tmp_path / "data")
    adopt_loop(data, tmp_path / "app")
    report = export_loop(data, tmp_path / "out", secrets=True)
    assert [one.key for one in report.warnings if one.rule == "IR-0.9"] == ["config/wifi.known.0.psk", "media/a.api_key"]
    config = json.loads((tmp_path / "out/config/config.json").read_text())
    assert config["wifi"] == {"known": [{}, 1], "password": "FAKE-3", "tokens": [4]}


def test_what_loop_wrote_since_an_export_counts(tmp_path: Path) -> None:
    """A job that it finished is finished here; of its times only the fraction of the same second is ours."""
    source = tmp_path / "app/media"
    source.mkdir(parents=True)
    job = {"filename": "a.mp4", "status": "processing", "progress": 10, "stage": "s", "message": "m", "timestamp": 1750000000.5}
    (source / "index.json").write_text(json.dumps({"media": {"a": {"filename": "a.gif"}}, "processing": {"j": job}}))
    data = DataDirectory(tmp_path / "data")
    adopt_loop(data, tmp_path / "app")
    export_loop(data, tmp_path / "out")
    database = sqlite3.connect(tmp_path / "out/media/media.db")
    database.execute(
        "UPDATE processing_jobs SET status = 'completed', progress = 100, message = 'done', updated_at = '2025-07-01 00:00:00'"
    )
    database.commit()
    database.close()
    for target in (data, DataDirectory(tmp_path / "again")):
        assert adopt_loop(target, tmp_path / "out", verify=True).differences == ()
        with pixelog.open(target.root) as state:
            here = state.get_job("j")
        assert here is not None
        assert (here.status, here.message, here.created_at, here.finished_at) == (
            "completed",
            "done",
            "2025-06-15T15:06:40.500000Z",
            "2025-07-01T00:00:00.000000Z",
        )


def test_an_item_says_how_many_frames_go_out_with_it(tmp_path: Path) -> None:
    """Two pictures of 0.2 s each are ten frames of LOOP's, in the index, in the database and beside the frames."""
    from PIL import Image

    data = DataDirectory(tmp_path / "data")
    pictures = [Image.new("RGB", (8, 6), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    pictures[0].save(tmp_path / "two.png", save_all=True, append_images=pictures[1:], duration=200)
    with pixelog.open(data.root) as state:
        two = state.add_media(tmp_path / "two.png")
        prepare_all(state, data)
    for name, count in (("out", 10), ("bare", 2)):
        export_loop(data, tmp_path / name, frames=count == 10)
        media_folder = tmp_path / name / "media"
        database = sqlite3.connect(media_folder / "media.db")
        assert database.execute("SELECT frame_count FROM media").fetchall() == [(count,)]
        database.close()
        assert json.loads((media_folder / "index.json").read_text())["media"][two.slug]["frame_count"] == count
    assert json.loads((tmp_path / "out/media/processed" / two.slug / "metadata.json").read_text())["frame_count"] == 10
