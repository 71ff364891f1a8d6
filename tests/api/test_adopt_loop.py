"""A LOOP installation moves in: the samples, the rules, the files behind the items, and second moves that bring only the difference."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import stat
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from moves import FRAME_BYTES, SAMPLES, Move, fingerprint, found, frame, gif, item, prepared
from PIL import Image

import pixelog
from api.adopt.documents import Unreadable
from api.adopt.loop import NoInstallation
from api.adopt.moving import Report, adopt_loop
from api.cli.main import main
from api.cli.ports import PrepareDesk
from api.data import DataDirectory
from player.framepack import FramePack
from player.prepare import prepare

LAVA, HARBOUR, RAIN, FOX = (
    "lava_lamp_6cd0c61ba386c85f",
    "harbour_dusk_bfe42bd04b1978c0",
    "雨の日_2a56db95f02e7775",
    "tiny_fox_d2dcfd167dd6",
)


# -- samples -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sample", "media", "loop", "active", "jobs"),
    [
        ("index.json", 6, [HARBOUR, LAVA, RAIN, FOX], LAVA, 3),
        ("index-empty.json", 0, [], None, 0),
        ("index-dangling.json", 6, [HARBOUR, LAVA], HARBOUR, 0),
        ("index-legacy-list.json", 3, ["wave_3fe10b24", "night_drive_19133785", "logo_1bb87d41"], "night_drive_19133785", 0),
        ("index-legacy-list-2.json", 3, ["wave_3fe10b24", "cube_1e8e096c", "legacy_2"], None, 0),
        ("media.sql", 6, [HARBOUR, LAVA, RAIN], RAIN, 2),
    ],
)
def test_each_sample_gives_what_its_page_says(
    move: Move, sample: str, media: int, loop: list[str], active: str | None, jobs: int
) -> None:
    """Every generation comes in with its items, its loop in order, its choice and its jobs; a second move brings nothing."""
    move.sample(sample, "media/media.db" if sample.endswith("sql") else "media/index.json")
    before = fingerprint(move.source)
    dry = move.adopt(dry_run=True)
    assert not move.data.root.exists()
    report = move.adopt(verify=True)
    assert report.differences == ()
    assert (dry.imported, dry.merged, dry.skipped, dry.warnings, dry.events) == (
        report.imported,
        report.merged,
        report.skipped,
        report.warnings,
        report.events,
    )
    assert fingerprint(move.source) == before
    with move.state() as state:
        assert len(state.list_media()) == media
        assert state.list_loop() == loop
        assert state.get_active() == active
        with state.store.reading() as db:
            assert db.execute("SELECT count(*) FROM jobs WHERE kind = 'convert'").get == jobs
        head = state.store.head().position
    assert report.imported == media + len(loop) + (active is not None) + jobs
    again = move.adopt()
    assert (again.imported, again.merged, again.events) == (0, report.imported, 0)
    with move.state() as state:
        assert state.store.head().position == head


def test_a_fresh_device_brings_nothing(move: Move) -> None:
    """An empty index is no reason for an event."""
    move.sample("index-empty.json")
    assert move.adopt().events == 0


def test_every_repair_is_told_with_key_and_rule(move: Move) -> None:
    """The dangling sample: what is left out, what is mended, and by which rule."""
    move.sample("index-dangling.json")
    report = move.adopt()
    assert found(report.skipped) == [
        ("media/not_an_object", "IR-1.1"),
        ("loop/gone_1234abcd", "IR-1.4"),
        (f"loop/{HARBOUR}", "IR-1.4"),
    ]
    repairs = [one for one in found(report.warnings) if one[1] != "IR-1.9"]
    assert repairs == [
        ("media/blüten_3144e74ee73c4fb7", "IR-1.1"),
        (f"media/{FOX}", "IR-1.1"),
        (f"media/{FOX}", "IR-0.6"),
        ("media/station_clock_3c38e076df3f335f", "IR-0.5"),
        ("active", "IR-1.5"),
    ]
    assert [key for key, rule in found(report.warnings) if rule == "IR-1.9"] == [
        f"media/{slug}" for slug in (LAVA, HARBOUR, "blüten_3144e74ee73c4fb7", FOX, "station_clock_3c38e076df3f335f", RAIN)
    ]


def test_jobs_come_with_their_state_as_found(move: Move) -> None:
    """Running, completed and failed jobs keep progress, stage, message and times, and no worker takes them up."""
    move.sample("index.json")
    move.adopt()
    with move.state() as state:
        running = state.get_job("7d0f6a52-5f0c-4c59-9f0e-0d6a3d3b8a01")
        done = state.get_job("0c3b1f0e-2a64-4f1d-8a40-5a5e6a8f9b02")
        failed = state.get_job("f1e2d3c4-0000-4111-8222-933344455566")
        assert PrepareDesk(state).take() is None
    assert running is not None
    assert done is not None
    assert failed is not None
    assert (running.status, running.progress, running.stage, running.title) == (
        "running",
        42.5,
        "processing",
        "station clock.mov",
    )
    assert (running.message, running.created_at) == ("Processing frame 106/250", "2025-06-27T22:59:55.250000Z")
    assert (done.status, done.progress, done.finished_at) == ("completed", 100, "2025-06-27T22:58:20.500000Z")
    assert (failed.status, failed.progress, failed.error) == ("failed", 100, "Error: Invalid ZIP file")


def test_what_has_no_field_here_is_kept(move: Move) -> None:
    """Unknown keys of an item go along as its extra."""
    move.index({"a": item("a", fps=12.5, mood={"colour": "blue"}, uploadedAt="2025-06-24T18:02:11.999Z")})
    move.adopt()
    with move.state() as state, state.store.reading() as db:
        assert json.loads(db.execute("SELECT extra FROM media_items").get) == {"fps": 12.5, "mood": {"colour": "blue"}}
        assert state.list_media()[0].uploaded_at == "2025-06-24T18:02:11.999000Z"


# -- what cannot be read -------------------------------------------------------------------------------------------------------------


def test_a_truncated_index_appends_nothing(move: Move, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one line with file and place, and not even a data directory."""
    move.sample("index-corrupt.json")
    move.sample("config.json", "config/config.json")
    (move.media / "index.json.tmp").write_text("{}")
    assert main(["adopt", "loop", str(move.source), "--data", str(move.data.root), "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "index.json: line 66, column 15" in captured.err
    assert "index.json.tmp" in captured.err
    assert "FAKE" not in captured.err
    assert not move.data.root.exists()


def test_with_keep_going_the_other_files_come(move: Move, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing comes from the broken file, the settings do, and the exit code still is 2."""
    move.sample("index-corrupt.json")
    move.sample("config.json", "config/config.json")
    assert main(["adopt", "loop", str(move.source), "--data", str(move.data.root), "--json", "--keep-going"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert [(one["key"], one["rule"]) for one in report["skipped"]] == [("index.json", "IR-0.2")]
    with move.state() as state:
        assert state.list_media() == []
        assert state.get_settings()["brightness"] == 80


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{"media": {"a": \xff}}', "byte 16"),
        (b"[]", "not an object"),
        (b'{"media": 7}', "neither a list nor an object"),
        (b"", "line 1, column 1"),
        (b'{"media": ' + b"[" * 100_000, "no JSON reader takes"),
    ],
)
def test_what_is_no_index_is_refused_with_its_place(move: Move, content: bytes, place: str) -> None:
    """Bytes that are no UTF-8, no object, no library, nothing at all, or nested without end."""
    (move.media / "index.json").write_bytes(content)
    with pytest.raises(Unreadable, match=place):
        move.adopt()


def test_a_damaged_database_is_refused(move: Move) -> None:
    """Neither garbage nor a broken page is taken for a library; with keep-going the index beside it is."""
    move.sample("media.sql", "media/media.db")
    whole = (move.media / "media.db").read_bytes()
    for content in (
        b"SQLite format 3\0" + b"\0" * 4000,
        b"no database at all" * 100,
        whole[:4096] + b"\xff" * (len(whole) - 4096),
    ):
        (move.media / "media.db").write_bytes(content)
        with pytest.raises(Unreadable, match=r"media\.db"):
            move.adopt()
    move.sample("index.json")
    report = move.adopt(keep_going=True)
    assert found(report.skipped) == [("media.db", "IR-0.2")]
    assert report.records["media"].imported == 6


def test_nothing_of_loop_is_said_clearly(move: Move) -> None:
    """A folder without state, and one that is not there."""
    with pytest.raises(NoInstallation, match=r"neither media/index\.json nor media/media\.db"):
        move.adopt()
    with pytest.raises(NoInstallation, match="does not exist"):
        adopt_loop(move.data, move.source / "nowhere")


def test_repeated_keys_take_the_last_value_and_are_told(move: Move) -> None:
    """As every old reader did."""
    (move.media / "index.json").write_text('{"media": {"a": {"slug": "a", "size": 1, "size": 2}}, "active": "x", "active": "a"}')
    report = move.adopt()
    assert [key for key, rule in found(report.warnings) if rule == "IR-0.4"] == ["index.json#size", "index.json#active"]
    with move.state() as state:
        assert [one.size for one in state.list_media()] == [2]
        assert state.get_active() == "a"


# -- which state counts --------------------------------------------------------------------------------------------------------------


def test_a_database_with_items_wins(move: Move) -> None:
    """The index beside it is told as ignored, and not even read."""
    move.sample("media.sql", "media/media.db")
    move.sample("index-corrupt.json")
    report = move.adopt()
    assert ("index.json", "IR-1.8") in found(report.skipped)
    with move.state() as state:
        assert state.get_active() == RAIN


def test_an_empty_database_gives_way_to_the_index(move: Move) -> None:
    """A device that was upgraded in place has an empty media.db beside its full index."""
    move.sample("media.sql", "media/media.db")
    database = sqlite3.connect(move.media / "media.db")
    database.executescript("DELETE FROM media; DELETE FROM loop_order; UPDATE settings SET value = NULL")
    database.close()
    move.sample("index.json")
    report = move.adopt()
    assert ("media.db", "IR-1.8") in found(report.warnings)
    with move.state() as state:
        assert state.get_active() == LAVA


def test_a_database_that_was_not_closed_is_read_whole_and_left_alone(move: Move) -> None:
    """What still is in the write-ahead log counts, and no file appears beside the source's."""
    move.sample("media.sql", "media/media.db")
    live = sqlite3.connect(move.media / "media.db")
    live.execute("INSERT INTO media (slug, filename, type, size, uploaded_at) VALUES ('late', 'late.gif', 'image/gif', 3, '')")
    live.commit()
    for name in ("media.db", "media.db-wal"):
        shutil.copy(move.media / name, move.source / name)
    live.close()
    shutil.rmtree(move.media)
    before = fingerprint(move.source)
    assert set(before) == {"media.db", "media.db-wal"}
    report = move.adopt()
    assert fingerprint(move.source) == before
    assert report.records["media"].imported == 7


def test_the_backend_folder_is_found(move: Move) -> None:
    """Later releases lie in `backend`; the folder with the state itself, and a single file, do as well."""
    move.sample("index.json", "backend/media/index.json")
    shutil.rmtree(move.media)
    assert move.adopt().records["media"].imported == 6
    assert adopt_loop(move.data, move.source / "backend" / "media").events == 0
    assert adopt_loop(move.data, move.source / "backend" / "media" / "index.json").events == 0


# -- settings and secrets ------------------------------------------------------------------------------------------------------------


def test_settings_that_correspond_are_taken_and_the_rest_is_kept(move: Move) -> None:
    """Brightness, rotation, the length of stills and the name; unknown keys stay with the adoption."""
    move.sample("config.json", "config/config.json")
    move.sample("index-empty.json")
    report = move.adopt(verify=True)
    assert report.differences == ()
    with move.state() as state, state.store.reading() as db:
        settings = state.get_settings()
        assert (settings["brightness"], settings["rotation"], settings["defaultDuration"], settings["name"]) == (
            80,
            270,
            10,
            "LOOP",
        )
        rest = json.loads(db.execute("SELECT kept FROM adoptions WHERE key = 'loop/rest'").get)["config"]
    assert rest["display"]["spi_speed_hz"] == 48_000_000
    assert rest["wifi"] == {
        "ssid": "ExampleNet",
        "hotspot_ssid": "LOOP-Setup",
        "hotspot_channel": 11,
        "hotspot_enabled": True,
        "timeout": 10,
    }


def test_passwords_go_to_the_secrets_and_nowhere_else(move: Move, capsys: pytest.CaptureFixture[str]) -> None:
    """In a folder 0700 and a file 0600; neither the log, nor the report, nor a message has them."""
    move.sample("config.json", "config/config.json")
    move.sample("index.json")
    assert main(["adopt", "loop", str(move.source), "--data", str(move.data.root), "--json", "--verify"]) == 0
    captured = capsys.readouterr()
    assert "FAKE" not in captured.out + captured.err
    for path in move.data.root.rglob("*"):
        if path.is_file() and path.parent != move.data.secrets:
            assert b"FAKE" not in path.read_bytes(), path
    (kept,) = move.data.secrets.iterdir()
    assert stat.S_IMODE(move.data.secrets.stat().st_mode) == 0o700
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_text()) == {
        "config.wifi.password": "FAKE-wifi-pass",
        "config.wifi.hotspot_password": "FAKE-hotspot",
    }


def test_bad_settings_are_told_and_left_out(move: Move) -> None:
    """A rotation that no panel has is left out, a brightness beyond its bounds is clamped, sections that are none do no harm."""
    move.index({})
    (move.source / "config.json").write_text(
        json.dumps({"display": {"rotation": 45, "brightness": 250}, "media": {"static_image_duration_sec": "soon"}, "device": 7})
    )
    report = move.adopt()
    assert found(report.skipped) == [("config/display.rotation", "IR-0.6"), ("config/media.static_image_duration_sec", "IR-0.6")]
    assert found(report.warnings) == [("config/display.brightness", "IR-0.6"), ("config/device", "IR-0.7")]
    with move.state() as state:
        assert state.get_settings()["brightness"] == 100


# -- files and frames ----------------------------------------------------------------------------------------------------------------


def frames_of(state: pixelog.StateService, slug: str, into: Path) -> list[bytes]:
    """What a panel of 320 x 240 shows of an item."""
    from player.prepare import Geometry

    item = state.get_media(slug)
    assert item is not None
    assert item.sha256 is not None
    done = prepare(state.blobs.path(item.sha256), into, Geometry(320, 240), lambda percent, stage: None)
    with FramePack.open(into / f"{done.pack}.pack") as pack:
        return [pack.frame(number) for number in range(pack.frame_count)]


def test_uploads_come_as_blobs_and_play(move: Move) -> None:
    """Each generation's name for an upload is found; items are prepared by ordinary jobs, and the chosen one is on."""
    contents = {
        "a": move.raw("a_Lava Lamp.gif", gif(1)),
        "b": move.raw("b.gif", gif(2)),
        "c": move.raw("c_ü ?#.gif", gif(3)),
    }
    move.index(
        {
            "a": item("a", filename="Lava Lamp.gif"),
            "b": item("b", filename="b b.gif", original_filename="b b.gif"),
            "c": item("c", filename="other.gif", url="/media/raw/c_%C3%BC%20%3F%23.gif"),
        },
        loop=["a", "b", "c"],
        active="b",
    )
    report = move.adopt(verify=True)
    assert report.differences == ()
    with move.state() as state:
        for slug, content in contents.items():
            item_here = state.get_media(slug)
            assert item_here is not None
            assert (item_here.sha256, item_here.size, item_here.status) == (
                hashlib.sha256(content).hexdigest(),
                len(content),
                "pending",
            )
        assert prepared(state, move.data.packs) == 3
        assert {one.status for one in state.list_media()} == {"ready"}
        assert state.get_active() == "b"
    assert (move.adopt().events, move.adopt(verify=True).differences) == (0, ())


@pytest.mark.parametrize("form", ["frames.bin", "rgb", "rgb565", "zip"])
def test_frames_alone_still_play_pixel_for_pixel(move: Move, tmp_path: Path, form: str) -> None:
    """An item whose upload is gone is shown from LOOP's own frames, in any form that they had."""
    pictures = [frame(number) for number in range(3)]
    metadata = json.dumps(
        {"slug": "a", "type": "video", "width": 320, "height": 240, "frame_count": 3, "format": "rgb565", "fps": 20}
    )
    packed = struct.pack(">II", 3, FRAME_BYTES) + b"".join(pictures)
    folder = move.frames("a") if form != "zip" else move.media
    if form == "frames.bin":
        (folder / "frames.bin").write_bytes(packed)
    elif form == "zip":
        (move.media / "raw").mkdir()
        with zipfile.ZipFile(move.media / "raw" / "a_frames.zip", "w") as archive:
            archive.writestr("metadata.json", metadata)
            archive.writestr("frames.bin", packed)
    else:
        for number, picture in enumerate(pictures):
            (folder / f"frame_{number + (form == 'rgb'):06}.{form}").write_bytes(picture)
    if form != "zip":
        (folder.parent / "metadata.json").write_text(metadata)
    move.index({"a": item("a", frame_count=250)}, loop=["a"])
    report = move.adopt(verify=True)
    assert report.differences == ()
    with move.state() as state:
        assert frames_of(state, "a", tmp_path) == pictures
        prepared(state, move.data.packs)
        here = state.get_media("a")
        assert here is not None
        assert (here.status, here.kind, here.frame_count, here.duration) == ("ready", "animation", 3, 0.15)
    assert move.adopt().events == 0


def test_a_clip_plays_from_its_frames_and_keeps_its_upload(move: Move, tmp_path: Path) -> None:
    """pixelog shows no MP4: the frames that LOOP made of it play, and the upload is held beside."""
    clip = move.raw("a_clip.mp4", b"\0\0\0\x18ftypmp42" + b"x" * 100)
    (move.frames("a") / "frame_000001.rgb").write_bytes(frame(7))
    move.index({"a": item("a", filename="clip.mp4", type="video/mp4", size=len(clip))})
    move.adopt()
    with move.state() as state:
        assert frames_of(state, "a", tmp_path) == [frame(7)]
        assert state.blobs.holds(hashlib.sha256(clip).hexdigest())


def test_a_frame_that_is_cut_short_is_told_and_the_item_stays(move: Move, tmp_path: Path) -> None:
    """Whole frames play, the others are left out; with its upload an item needs none of them."""
    (move.frames("bin") / "frames.bin").write_bytes(struct.pack(">II", 3, FRAME_BYTES) + frame(1) + frame(2) + frame(3)[:-1])
    for number in range(3):
        (move.frames("files") / f"frame_{number:06}.rgb565").write_bytes(frame(number)[: FRAME_BYTES - (number == 1)])
    (move.frames("both") / "frames.bin").write_bytes(struct.pack(">II", 9, FRAME_BYTES) + frame(1)[:99])
    (move.frames("none") / "frames.bin").write_bytes(b"\0\0")
    move.raw("both_both.gif", gif(1))
    move.index({slug: item(slug) for slug in ("bin", "files", "both", "none")}, loop=["files", "none"])
    report = move.adopt()
    told = {
        one.key: one.why for one in report.warnings if "cut short" in one.why or "left out" in one.why or "damaged" in one.why
    }
    assert told == {
        "media/bin": "frames.bin is cut short: 2 of 3 frames are whole",
        "media/files": f"frame_000001.rgb565 has {FRAME_BYTES - 1} bytes instead of {FRAME_BYTES}; this frame is left out",
        "media/both": "frames.bin is cut short: 0 of 9 frames are whole",
        "media/none": f"frames.bin is damaged: it does not begin with a count and {FRAME_BYTES}",
    }
    with move.state() as state:
        assert frames_of(state, "bin", tmp_path) == [frame(1), frame(2)]
        assert frames_of(state, "files", tmp_path) == [frame(0), frame(2)]
        assert {one.slug: one.status for one in state.list_media()} == {
            "bin": "pending",
            "files": "pending",
            "both": "pending",
            "none": "failed",
        }
        assert state.list_loop() == ["files", "none"]


def test_portrait_frames_of_the_first_generation_stand_upright(move: Move) -> None:
    """Its panels were 240 x 320, with the same number of bytes; each frame has its own duration."""
    for number in range(2):
        (move.frames("a") / f"frame_{number:06}.rgb565").write_bytes(frame(number))
    old = {"type": "gif", "slug": "a", "original_filename": "a.gif", "width": 240, "height": 320, "frame_count": 2}
    move.index([old | {"durations": [0.1, 0.4], "format": "rgb565", "loop_count": 0}])
    move.adopt()
    with move.state() as state:
        prepared(state, move.data.packs)
        here = state.get_media("a")
    assert here is not None
    assert (here.width, here.height, here.duration, here.type) == (240, 320, 0.5, "image/apng")


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"metadata.json": b'{"frame_count": 1}', "../frames.bin": b"x" * 2000}, "leads out of it"),
        ({"metadata.json": b'{"frame_count": 1}', "/frames.bin": b"x" * 2000}, "leads out of it"),
        ({"frames.bin": b"x" * 2000}, "no metadata"),
        ({"metadata.json": b'{"frame_count": 0}', "frames.bin": b"x" * 2000}, "names no frames"),
        ({"metadata.json": b'{"frame_count": 1}', "frame_1.rgb": b"x" * 2000}, "no whole frame"),
        ({"metadata.json": b"{}"}, "less than 1000 bytes"),
    ],
)
def test_archives_that_loop_would_refuse_are_refused(move: Move, members: dict[str, bytes], why: str) -> None:
    """Names that lead out, no metadata, no frames, too small: told, and the item is kept without frames."""
    (move.media / "raw").mkdir()
    with zipfile.ZipFile(move.media / "raw" / "a_frames.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    move.index({"a": item("a")})
    report = move.adopt()
    assert any(why in one.why for one in report.warnings)
    with move.state() as state:
        assert [one.status for one in state.list_media()] == ["failed"]


def test_files_that_no_item_names_are_told(move: Move) -> None:
    """They are not taken, but not passed over in silence."""
    move.raw("stray.gif", gif(1))
    (move.frames("gone_slug") / "frame_000001.rgb").write_bytes(b"")
    move.index({"a": item("a")})
    report = move.adopt()
    assert [one.key for one in report.warnings if one.rule == "IR-0.8"] == ["media/raw/stray.gif", "media/processed/gone_slug"]


def test_names_lead_nowhere_else(move: Move) -> None:
    """A slug or a file name that looks like a path reads no file outside of the folder of uploads."""
    (move.source / "secret.gif").write_bytes(gif(9))
    move.index(
        {
            "..": item("..", filename="../../secret.gif", url="/media/raw/../../secret.gif"),
            "a/b": item("a/b", filename="/etc/passwd"),
        }
    )
    move.adopt()
    with move.state() as state:
        assert {one.slug: one.sha256 for one in state.list_media()} == {"..": None, "a/b": None}


# -- the account ---------------------------------------------------------------------------------------------------------------------


def test_every_record_is_counted_once(move: Move) -> None:
    """What the source has is imported, merged or skipped, also items that are called like files of LOOP's."""
    names = ("index.json", "media.db", "config.json", "config/x")
    move.index(
        {**{name: item(name) for name in names}, "none": None},
        loop=[*names, "gone", names[0], 7],
        active="index.json",
        processing={"index.json": {"filename": "x"}, "bad": []},
    )
    (move.source / "config.json").write_text('{"display": {"brightness": 7, "rotation": "x"}}')
    for again in (False, True):
        report = move.adopt()
        counts = {kind: (one.imported, one.merged, one.skipped) for kind, one in report.records.items()}
        brought = {"media": 4, "loop": 4, "active": 1, "jobs": 1, "settings": 1}
        left_out = {"media": 1, "loop": 3, "active": 0, "jobs": 1, "settings": 1}
        assert counts == {kind: ((0, brought[kind]) if again else (brought[kind], 0)) + (left_out[kind],) for kind in brought}


def test_equal_slugs_of_a_list_are_one_record_that_merged(move: Move) -> None:
    """The last one's data in the first one's place; both are accounted for, and so is what is no object."""
    first, second = item("a", filename="one.gif"), item("a", filename="two.gif")
    move.index([first, "stray", item("b"), second, {"filename": "c.gif"}])
    report = move.adopt(verify=True)
    count = report.records["media"]
    assert (count.imported, count.merged, count.skipped, report.differences) == (3, 1, 1, ())
    with move.state() as state, state.store.reading() as db:
        rows = db.execute("SELECT slug, filename FROM media_items ORDER BY position").fetchall()
        assert rows == [("a", "two.gif"), ("b", "b.gif"), ("legacy_4", "c.gif")]
        assert state.list_loop() == ["a", "b", "legacy_4"]


def test_a_dry_run_prints_what_then_is_done(move: Move, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """The same document but for the word that it is one; over a library that is there as well, and with nothing written to it."""
    with move.state() as state:
        state.add_media(gif(1), filename="taken.gif", slug="taken", add_to_loop=True)
    frames = move.frames("framed")
    (frames / "frame_000001.rgb").write_bytes(frame(1))
    move.raw("taken_taken.gif", gif(2))
    move.raw("same_same.gif", gif(3))
    media = {slug: item(slug) for slug in ("taken", "framed", "same", *(f"i{number}" for number in range(600)))}
    move.index(media, loop=["same", "taken", "gone", "framed"], active="nowhere", processing={"j": {"progress": 140}})
    move.sample("config.json", "config/config.json")
    with move.state() as state:
        head = state.store.head().position
    command = ["adopt", "loop", str(move.source), "--data", str(move.data.root), "--json"]
    assert main([*command, "--dry-run"]) == 0
    dry = json.loads(capsysbinary.readouterr().out)
    with move.state() as state:
        assert state.store.head().position == head
    assert list(move.data.secrets.iterdir()) == []
    assert main(command) == 0
    assert dry == {**json.loads(capsysbinary.readouterr().out), "dryRun": True}
    with move.state() as state:
        assert state.store.head().position == head + dry["events"]


def test_a_dry_run_of_a_second_move_knows_what_stays_removed(move: Move, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Over several batches, too: an item that was removed here is not among those that the loop may name."""
    media = {f"i{number:03d}": item(f"i{number:03d}") for number in range(600)}
    for slug in media:
        move.raw(f"{slug}_{slug}.gif", gif(1))
    move.index(media, loop=["i001", "i002"], active="i001")
    move.adopt()
    with move.state() as state:
        state.remove_media("i001")
    media["i001"]["fps"] = 12
    move.index(media, loop=["i002", "i001", "i003"], active="i001")
    command = ["adopt", "loop", str(move.source), "--data", str(move.data.root), "--json"]
    assert main([*command, "--dry-run"]) == 0
    dry = json.loads(capsysbinary.readouterr().out)
    assert main(command) == 0
    assert dry == {**json.loads(capsysbinary.readouterr().out), "dryRun": True}
    assert [one["key"] for one in dry["skipped"]] == ["loop/i001", "active"]


def test_the_same_picture_under_a_slug_that_is_here_merges(move: Move) -> None:
    """A dry run knows that, too, though the picture is made only by the move."""
    (move.frames("a") / "frame_000001.rgb").write_bytes(frame(1))
    move.index({"a": item("a")})
    move.adopt()
    dry = move.adopt(name="other", dry_run=True)
    report = move.adopt(name="other")
    assert (dry.records, dry.warnings, dry.events) == (report.records, report.warnings, report.events)
    assert report.records["media"].merged == 1


# -- nothing is lost in silence ------------------------------------------------------------------------------------------------------


def test_unknown_keys_are_kept_even_when_they_are_null(move: Move, tmp_path: Path) -> None:
    """Of items, jobs and the index; what LOOP itself left out or wrote as null says nothing. All of them go out again, in both forms."""
    from api.adopt.loop_export import export_loop

    move.index(
        {"a": item("a", mood=None, fps=None, duration=None)},
        processing={"j": {"filename": "x", "why": None, "progress": 5}},
        theme={"dark": None},
    )
    move.adopt(verify=True)
    for name in ("json", "db"):
        out = tmp_path / name
        export_loop(move.data, out)
        if name == "json":
            (out / "media/media.db").unlink()
        other = DataDirectory(tmp_path / f"{name}-data")
        assert adopt_loop(other, out, verify=True).differences == ()
        with pixelog.open(other.root) as state, state.store.reading() as db:
            assert json.loads(db.execute("SELECT extra FROM media_items").get) == {"mood": None}
            assert json.loads(db.execute("SELECT input FROM jobs_all WHERE id = 'j'").get)["why"] is None
            assert json.loads(db.execute("SELECT kept FROM adoptions WHERE key = 'loop/rest'").get)["index"]["theme"] == {
                "dark": None
            }


def test_settings_of_another_kind_are_told(move: Move) -> None:
    """Kept as they are; keys that LOOP never had are none of them."""
    move.index({})
    (move.source / "config.json").write_text(
        json.dumps(
            {
                "display": {"dc_pin": "25", "show_progress": 1, "gamma": 1.0},
                "web": {"allowed_origins": "*", "port": None, "theme": []},
                "sync": {"last_sync": 7},
                "extra": {"x": 1},
            }
        )
    )
    report = move.adopt()
    assert [(one.key, one.why) for one in report.warnings] == [
        ("config/display.dc_pin", "it is a text, not a number; kept as it is"),
        ("config/display.show_progress", "it is a number, not true or false; kept as it is"),
        ("config/web.allowed_origins", "it is a text, not a list; kept as it is"),
    ]
    with move.state() as state, state.store.reading() as db:
        kept = json.loads(db.execute("SELECT kept FROM adoptions WHERE key = 'loop/rest'").get)["config"]
    assert (kept["display"]["dc_pin"], kept["web"]["port"], kept["extra"]) == ("25", None, {"x": 1})


def test_secrets_of_any_shape_stay_out_of_the_log(move: Move, capsys: pytest.CaptureFixture[str]) -> None:
    """In settings, items, jobs and the index; as text, number, list or object; the database and its write-ahead log are searched while they are
    open, a second move changes nothing, and one that is gone from the source stays kept."""
    media = {
        "a": item("a", api_key="FAKE-1", source={"auth": [{"token": "FAKE-2"}]}, feed="https://me:FAKE-3@host.example.test/")
    }
    job = {"filename": "x", "status": "error", "progress": 1, "headers": {"credentials": {"user": "FAKE-4"}}}
    move.index(media, processing={"j": job}, jwt="FAKE-5")
    settings = {"wifi": {"password": "FAKE-6", "passwordHash": "FAKE-7", "wpa_keys": {"home": "FAKE-8"}}}
    (move.source / "config.json").write_text(json.dumps(settings))
    with move.state() as reader:  # as long as somebody reads, the write-ahead log stays
        assert main(["adopt", "loop", str(move.source), "--data", str(move.data.root), "--verify", "--json"]) == 0
        said = capsys.readouterr()
        searched = {path.name: path.read_bytes() for path in move.data.root.iterdir() if path.is_file()}
        assert reader.store.head().position > 0
    assert "pixelog.db-wal" in searched
    assert [name for name, content in searched.items() if b"FAKE" in content] == []
    assert "FAKE" not in said.out + said.err
    kept = json.loads((move.data.secrets / "adopted-loop.json").read_text())
    assert sorted(kept) == [
        "config.wifi.password", "config.wifi.passwordHash", "config.wifi.wpa_keys", "index.jwt", "jobs/j.headers.credentials", "media/a.api_key",
        "media/a.feed", "media/a.source.auth.0.token",
    ]  # fmt: skip
    assert kept["config.wifi.wpa_keys"] == {"home": "FAKE-8"}
    assert len([one for one in json.loads(said.out)["warnings"] if one["rule"] == "IR-0.9"]) == 8
    (move.source / "config.json").write_text('{"wifi": {"password": "FAKE-9"}}')
    move.adopt(verify=True)
    now = json.loads((move.data.secrets / "adopted-loop.json").read_text())
    assert now == {**kept, "config.wifi.password": "FAKE-9"}


def test_secrets_within_names_and_sentences_are_covered(move: Move, capsys: pytest.CaptureFixture[str]) -> None:
    """File names, a job's stage and message, types, keys, headers, whatever a report quotes; the rest of them stays, and the whole is kept apart."""
    media = {
        "a": item(
            "a",
            filename="https://me:FAKE-01@host.example.test/a.gif",
            type="https://me:FAKE-02@h/x",
            headers={"Authorization": "FAKE-03"},
        ),
        "b": item(
            "b",
            original_filename="Secret: a garden.gif",
            filename=None,
            uploadedAt="ftp://me:FAKE-04@host.example.test/" + "x" * 90,
        ),
        "c": item("c", via={"https://me:FAKE-05@h": True}, note="Bearer FAKE-0600000"),
    }
    job = {
        "filename": "ftp://me:FAKE-07@h/password=1.gif", "status": "error", "progress": 1, "stage": "api_key=FAKE-08",
        "message": "Error: https://FAKE-09000000000000000@h refused, Authorization: Bearer FAKE-10",
    }  # fmt: skip
    move.index(media, loop=["sftp://me:FAKE-11@h"], active="sftp://me:FAKE-12@h", processing={"j": job})
    (move.source / "config.json").write_text('{"wifi": {"wifi_pw": "FAKE-13"}, "web": {"cookie": "FAKE-14"}}')
    with move.state() as reader:
        assert main(["adopt", "loop", str(move.source), "--data", str(move.data.root), "--verify"]) == 0
        assert main(["adopt", "loop", str(move.source), "--data", str(move.data.root), "--json"]) == 0
        said = capsys.readouterr()
        searched = {path.name: path.read_bytes() for path in move.data.root.iterdir() if path.is_file()}
        b = reader.get_media("b")
        j = reader.get_job("j")
    assert [name for name, content in searched.items() if b"FAKE" in content] == []
    assert "FAKE" not in said.out + said.err
    assert b is not None
    assert j is not None
    assert b.filename == "Secret: a garden.gif"
    assert (j.title, j.stage, j.message) == (
        "ftp://…@h/password=1.gif",
        "api_key=…",
        "Error: https://…@h refused, Authorization: Bearer …",
    )
    kept = (move.data.secrets / "adopted-loop.json").read_text()
    assert [number for number in range(1, 15) if f"FAKE-{number:02d}" not in kept] == [
        4,
        11,
        12,
    ]  # the report speaks of them, no record


def test_a_database_whose_items_cannot_be_taken_still_wins(move: Move) -> None:
    """It has a row of media: the index beside it is older, and ignored."""
    move.sample("media.sql", "media/media.db")
    database = sqlite3.connect(move.media / "media.db")
    database.executescript(
        "DELETE FROM loop_order; DELETE FROM media; INSERT INTO media VALUES (NULL, 'x', 'image/gif', 1, '', '', 0, 0, 0, 0, '', '')"
    )
    database.close()
    move.sample("index.json")
    report = move.adopt()
    assert {("media/None", "IR-1.1"), ("index.json", "IR-1.8")} <= set(found(report.skipped))
    assert report.records["media"].imported == 0


def test_an_archive_that_is_damaged_inside_is_told(move: Move) -> None:
    """Its list of contents is whole, its contents are not: the item is kept without frames, and the move goes on."""
    (move.media / "raw").mkdir()
    path = move.media / "raw" / "a_frames.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", '{"frame_count": 2}')
        archive.writestr("frames.bin", struct.pack(">II", 2, FRAME_BYTES) + frame(1) + frame(2))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = b"\x55" * 400
    path.write_bytes(content)
    move.index({"a": item("a"), "b": item("b")})
    report = move.adopt(verify=True)
    assert any(one.key == "media/a" and "damaged" in one.why for one in report.warnings)
    assert (report.records["media"].imported, report.differences) == (2, ())


def test_an_archive_is_unpacked_once_however_many_frames_it_has(
    move: Move, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames are read one after the other, never from the beginning again."""
    from api.adopt.loop_frames import Frames

    path = tmp_path / "frames.zip"
    packed = struct.pack(">II", 9, FRAME_BYTES) + b"".join(frame(number) for number in range(9))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("frames.bin", packed)
    opened: list[str] = []
    open_member = zipfile.ZipFile.open
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda self, name, *rest: opened.append(name) or open_member(self, name, *rest))
    frames = Frames(tuple(("frames.bin", 8 + number * FRAME_BYTES) for number in range(9)), path, (320, 240), (40_000,) * 9)
    assert b"".join(frames.raw()) == packed[8:]
    assert opened == ["frames.bin"]


@pytest.mark.parametrize("content", ["{broken", "[]", "\ufeff{}"])
def test_metadata_of_frames_that_cannot_be_read_is_told(move: Move, content: str) -> None:
    """With the place in it; the frames play all the same."""
    (move.frames("a") / "frame_000001.rgb").write_bytes(frame(1))
    (move.media / "processed/a/metadata.json").write_text(content)
    move.index({"a": item("a")})
    report = move.adopt()
    (told,) = [one for one in report.warnings if one.rule == "IR-0.2"]
    assert (told.key, "metadata.json" in told.why) == ("media/a", True)
    with move.state() as state:
        assert [one.status for one in state.list_media()] == ["pending"]


# -- held to the source --------------------------------------------------------------------------------------------------------------


def test_what_the_source_learned_of_an_item_comes_before_it_is_prepared(move: Move) -> None:
    """LOOP had not converted it at the first move: size and length come with the second, and no second job."""
    move.raw("a_a.gif", gif(1))
    move.index({"a": item("a", processing_status="processing"), "b": item("b")})
    move.adopt()
    move.index({"a": item("a", width=320, height=240, frame_count=7, duration=1.5), "b": item("b")})
    report = move.adopt(verify=True)
    assert (report.differences, report.events) == ((), 2)
    with move.state() as state, state.store.reading() as db:
        here = state.get_media("a")
        assert here is not None
        assert (here.width, here.height, here.frame_count, here.duration, here.status) == (320, 240, 7, 1.5, "pending")
        assert db.execute("SELECT count(*) FROM jobs_all WHERE kind = 'prepare'").get == 1
        assert prepared(state, move.data.packs) == 1
    assert move.adopt(verify=True).differences == ()


def test_verify_looks_at_each_field_each_pixel_and_each_secret(move: Move) -> None:
    """What was planted in the log's tables, among the blobs and in the secrets is found."""
    (move.frames("framed") / "frame_000001.rgb").write_bytes(frame(1))
    clip = move.raw("clip_clip.mp4", b"\0\0\0\x18ftypmp42" + b"x" * 100)
    (move.frames("clip") / "frame_000001.rgb").write_bytes(frame(2))
    move.index(
        {"framed": item("framed"), "clip": item("clip", filename="clip.mp4", type="video/mp4"), "odd": item("odd", mood=1)},
        theme="dark",
    )
    (move.source / "config.json").write_text('{"wifi": {"password": "FAKE"}}')
    assert move.adopt(verify=True).differences == ()
    move.index(
        {"framed": item("framed"), "clip": item("clip", filename="clip.mp4", type="video/mp4"), "odd": item("odd", mood=2)},
        theme="light",
    )
    (move.frames("framed") / "frame_000001.rgb").write_bytes(frame(3))
    (move.source / "config.json").write_text('{"wifi": {"password": "FAKE-2"}}')
    with move.state() as state:
        held = state.blobs.path(hashlib.sha256(clip).hexdigest())
    held.chmod(0o600)
    held.write_bytes(b"another clip")
    report = move.adopt(verify=True, dry_run=True)
    assert report.differences is not None
    assert [(one.key, one.field, one.here) for one in report.differences] == [
        ("media/framed", "content", "another picture"),
        ("media/clip", "content", "damaged"),
        ("media/odd", "extra", {"mood": 1}),
        ("rest/index", "value", {"last_updated": 1751065201, "theme": "dark"}),
        ("secrets/config.wifi.password", "value", "another"),
    ]
    held.write_bytes(clip)


# -- killed ----------------------------------------------------------------------------------------------------------------------------


def events_of(data: DataDirectory) -> list[tuple[str, str]]:
    """Types and streams of all events of the move, in order."""
    with pixelog.open(data.root) as state:
        return [(event.type, event.stream) for event in state.store.read() if event.type != "log.opened"]


def test_a_move_that_was_killed_is_finished_by_the_next(move: Move, tmp_path: Path) -> None:
    """kill -9 in the middle of 10,000 items, three times; then the log says the same as that of one move, and so does the library."""
    media = {f"slug {number}": item(f"slug {number}", frame_count=number) for number in range(10_000)}
    move.index(
        media, loop=list(media)[:500], active="slug 77", processing={f"j{n}": {"filename": "x", "progress": n} for n in range(50)}
    )
    (move.source / "config.json").write_text('{"display": {"brightness": 80}, "wifi": {"password": "FAKE"}}')
    whole = DataDirectory(tmp_path / "whole")
    once = adopt_loop(whole, move.source)
    command = [sys.executable, "-m", "pixelog", "adopt", "loop", str(move.source), "--data", str(move.data.root), "--json"]
    seen = 0
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as process:
            deadline = time.monotonic() + 60
            while (now := counted(move.data)) < seen + 1_500 and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            assert process.wait(30) == -signal.SIGKILL, "it was faster than the test"
        assert now < 10_000
        seen = counted(move.data)
        assert not (move.data.secrets / "adopted-loop.part").exists()
    last = move.adopt(verify=True)
    assert last.differences == ()
    assert last.records["media"].merged == seen
    assert {kind: one.imported + one.merged for kind, one in last.records.items()} == {
        kind: one.imported for kind, one in once.records.items()
    }
    assert events_of(move.data) == events_of(whole)
    with pixelog.open(whole.root) as one, move.state() as other:
        rows = "SELECT slug, filename, size, uploaded_at, frame_count, extra FROM media_items ORDER BY position"
        with one.store.reading() as left, other.store.reading() as right:
            assert left.execute(rows).fetchall() == right.execute(rows).fetchall()
        assert (one.list_loop(), one.get_active(), one.get_settings()) == (
            other.list_loop(),
            other.get_active(),
            other.get_settings(),
        )
    assert (move.data.secrets / "adopted-loop.json").read_bytes() == (whole.secrets / "adopted-loop.json").read_bytes()


def counted(data: DataDirectory) -> int:
    """Items in the library now, read from outside while it is written."""
    if not data.database.exists():
        return 0
    database = sqlite3.connect(f"file:{data.database}?mode=ro", uri=True, timeout=5)
    try:
        return int(database.execute("SELECT count(*) FROM media_items").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        database.close()


def test_a_database_of_another_program_is_refused(move: Move, capsys: pytest.CaptureFixture[str]) -> None:
    """With none of LOOP's tables it is not LOOP's; an empty one is that of a device that was just upgraded."""
    sqlite3.connect(move.media / "media.db").execute("CREATE TABLE notes (text)").connection.close()
    assert main(["adopt", "loop", str(move.source), "--data", str(move.data.root)]) == 2
    assert "media.db: it has none of LOOP's tables" in capsys.readouterr().err
    assert not move.data.root.exists()
    (move.media / "media.db").write_bytes(b"")
    move.index({"a": item("a")})
    assert move.adopt().imported == 1


# -- nothing is lost without a word ----------------------------------------------------------------------------------------------------


def extras(move: Move) -> dict[str, Any]:
    """What is kept of each item beside its fields."""
    with move.state() as state, state.store.reading() as db:
        rows: list[Any] = db.execute("SELECT slug, extra FROM media_items").fetchall()
    return {slug: json.loads(extra or "{}") for slug, extra in rows}


def told(report: Report, key: str, rule: str) -> list[str]:
    """Why, of one record and by one rule."""
    return [one.why for one in (*report.skipped, *report.warnings) if (one.key, one.rule) == (key, rule)]


def test_rows_that_were_never_committed_do_not_come(move: Move) -> None:
    """A rollback journal that a crash left is played back in the copy, as LOOP's own SQLite would."""
    app = move.source.parent / "running.db"
    database = sqlite3.connect(app, isolation_level=None)
    database.executescript("PRAGMA journal_mode = DELETE; PRAGMA cache_size = 2; PRAGMA cache_spill = 1")
    database.executescript((SAMPLES / "media.sql").read_text())
    database.execute("PRAGMA journal_mode = DELETE")
    database.execute("UPDATE media SET filename = filename || ?", ("x" * 3_000,))
    database.execute("BEGIN")
    database.execute("UPDATE media SET filename = 'HALF DONE' || slug || ?", ("y" * 3_000,))
    for name in ("running.db", "running.db-journal"):
        shutil.copy(app.with_name(name), move.media / name.replace("running", "media"))
    database.execute("ROLLBACK")
    database.close()
    assert b"HALF DONE" in (move.media / "media.db").read_bytes()
    assert move.adopt().records["media"].imported == 6
    with move.state() as state:
        assert [one.slug for one in state.list_media() if "HALF DONE" in one.filename] == []


def test_a_journal_that_leads_out_is_not_followed(move: Move, tmp_path: Path) -> None:
    """Like the database itself."""
    move.sample("media.sql", "media/media.db")
    (tmp_path / "elsewhere").write_bytes(b"x")
    (move.media / "media.db-journal").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unreadable, match=r"media\.db-journal"):
        move.adopt()


def test_what_one_event_cannot_hold_is_left_out_and_told(move: Move) -> None:
    """Of a job, of the index, of a section of the settings, and of all of them together the largest; the move comes to its end."""
    large, half = "L" * 1_100_000, "h" * 200_000
    move.index(
        {"a": item("a")},
        processing={"j": {"filename": "f", "status": "processing", "timestamp": 1750000000, "log": large}},
        notes=large,
        one=half,
        two=half + "2",
        small=1,
    )
    (move.source / "config.json").write_text(
        json.dumps({"web": {"page": large, "port": 80}, "three": half + "33", "four": {"x": half + "444"}})
    )
    report = move.adopt(verify=True)
    assert report.differences == ()
    assert told(report, "jobs/j", "IR-0.7") == ["what it says beside its fields has more than 256 KiB, and is left out"]
    assert [one.key for one in report.skipped] == ["config/web.page", "index.notes", "config/four.x"]
    with move.state() as state, state.store.reading() as db:
        kept = json.loads(db.execute("SELECT kept FROM adoptions WHERE key = 'loop/rest'").get)
        assert json.loads(db.execute("SELECT input FROM jobs_all WHERE id = 'j'").get) == {"timestamp": "2025-06-15T15:06:40Z"}
    assert (sorted(kept["index"]), kept["config"]["web"], sorted(kept["config"])) == (
        ["last_updated", "one", "small", "two"],
        {"port": 80},
        ["three", "web"],
    )
    assert move.adopt().events == 0


def test_names_and_values_that_json_cannot_carry_are_mended_and_told_once_each(move: Move) -> None:
    """Half characters in keys and values, endless numbers and nesting: of an item, a job, the index and the settings."""
    deep: dict[str, Any] = {}
    for _ in range(80):
        deep = {"n": deep}
    half = "\ud800"
    move.index(
        {"a": item("a", **{f"k{half}": 1, f"k{half}x": 2, "k\udfff": 3}, deep=deep, big=2**70), "b": item("b", type=f"t{half}")},
        processing={"j": {"filename": f"f{half}", "status": "error", f"k{half}": 1}},
        **{f"k{half}": 1, "far": 10**400},
    )
    index = move.media / "index.json"
    index.write_text(index.read_text().replace(str(10**400), "1e400"))
    (move.source / "config.json").write_text(json.dumps({f"s{half}": {f"k{half}": half}}))
    report = move.adopt(verify=True)
    assert report.differences == ()
    assert [one.key for one in report.warnings if one.rule == "IR-0.7"] == [
        "index.json",
        "app/config.json",
        "media/a",
        "media/b",
        "jobs/j",
    ]
    assert told(report, "jobs/j", "IR-0.10") == ["filename is no whole Unicode; it was mended"]
    kept = extras(move)["a"]
    assert (kept["k�"], kept["k�x"], kept["big"], len(kept)) == (3, 2, str(2**70), 4)


def test_two_secrets_of_one_path_are_both_kept(move: Move) -> None:
    """The names of items may have dots in them."""
    move.index({"a": item("a", b={"password": "FAKE-1"}), "a.b": item("a.b", password="FAKE-2")})
    move.adopt()
    kept = json.loads((move.data.secrets / "adopted-loop.json").read_text())
    assert sorted(kept.values()) == ["FAKE-1", "FAKE-2"]


def test_null_in_an_item_leaves_its_metadata_in_force(move: Move) -> None:
    """A picture in portrait at ten frames a second stays one."""
    for slug in ("null", "none"):
        for number in (1, 2):
            (move.frames(slug) / f"frame_{number:06d}.rgb565").write_bytes(frame(number))
        (move.media / "processed" / slug / "metadata.json").write_text('{"width": 240, "height": 320, "fps": 10}')
    move.index({"null": item("null", width=None, height=None, fps=None), "none": item("none")})
    move.adopt()
    with move.state() as state:
        null, none = (state.get_media(slug) for slug in ("null", "none"))
        assert null is not None
        assert none is not None
        assert null.sha256 == none.sha256
        assert null.sha256 is not None
        with Image.open(state.blobs.path(null.sha256)) as picture:
            assert (picture.size, picture.info["duration"]) == ((240, 320), 100)


@pytest.mark.parametrize(
    ("slugs", "named", "owner"),
    [
        (["cat", "cat_big"], "cat_big", "cat_big"),
        (["cat", "cat_big"], None, "cat_big"),
        (["cat", "cat_big"], "cat", "cat"),
        (["cat", "dog"], "dog", None),
        (["cat"], "cat_big", "cat"),
    ],
)
def test_an_archive_belongs_to_the_item_that_it_names(move: Move, slugs: list[str], named: str | None, owner: str | None) -> None:
    """By its metadata, else by the longest slug that its name begins with; never to two."""
    (move.media / "raw").mkdir()
    with zipfile.ZipFile(move.media / "raw/cat_big_dog_frames.zip", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"slug": named, "frame_count": 1}))
        archive.writestr("frames.bin", struct.pack(">II", 1, FRAME_BYTES) + frame(1))
    move.index({slug: item(slug) for slug in slugs})
    report = move.adopt()
    with move.state() as state:
        assert [one.slug for one in state.list_media() if one.sha256 is not None] == ([] if owner is None else [owner])
    strays = told(report, "media/raw/cat_big_dog_frames.zip", "IR-0.8")
    assert strays == ([] if owner is not None else ["no item names it; it is not taken"])


def test_a_jobs_texts_of_another_kind_are_kept_and_long_ones_told(move: Move) -> None:
    """A message that is an object goes beside the job; what is cut off is told."""
    jobs = {
        "odd": {"filename": 5, "status": "error", "progress": 1, "stage": ["a"], "message": {"error": "disk"}},
        "long": {"filename": "x" * 5_000, "status": "error", "progress": 1, "message": None},
    }
    move.index({}, processing=jobs)
    report = move.adopt(verify=True)
    assert report.differences == ()
    assert told(report, "jobs/odd", "IR-0.7") == [
        "filename is a number, not text; kept beside the job",
        "stage is a list, not text; kept beside the job",
        "message is an object, not text; kept beside the job",
    ]
    assert told(report, "jobs/long", "IR-0.7") == ["filename has 5000 characters; it ends after 4096"]
    with move.state() as state:
        odd = state.get_job("odd")
    assert odd is not None
    assert odd.input == {"filename": 5, "stage": ["a"], "message": {"error": "disk"}}


def test_more_frames_than_the_header_says_are_told(move: Move) -> None:
    """Those that it counts play."""
    (move.frames("a") / "frames.bin").write_bytes(struct.pack(">II", 1, FRAME_BYTES) + frame(1) + frame(2) + frame(3))
    move.index({"a": item("a")})
    whys = told(move.adopt(), "media/a", "IR-1.9")
    assert whys[0] == "frames.bin holds 3 frames, but begins with a count of 1; no more are taken"


def test_what_else_an_empty_database_holds_is_told(move: Move) -> None:
    """Its jobs and the settings that LOOP does not know, by their number."""
    move.sample("media.sql", "media/media.db")
    database = sqlite3.connect(move.media / "media.db")
    database.executescript("DELETE FROM media; INSERT INTO settings (key, value) VALUES ('theme', 'dark')")
    database.close()
    move.index({"a": item("a")})
    report = move.adopt()
    assert [(one.key, one.rule, one.why) for one in report.skipped] == [
        ("media.db#processing_jobs", "IR-1.8", "index.json is taken instead; rows left out here: 2"),
        ("media.db#settings", "IR-1.8", "index.json is taken instead; rows left out here: 1"),
    ]


def test_an_address_that_says_more_than_where_the_upload_is_stays(move: Move) -> None:
    """That of the upload itself says nothing new, however it is quoted; any other is kept, of whatever kind."""
    move.raw("up.gif", gif(1))
    move.index(
        {
            "clip": item("clip", url="/media/processed/clip/video.mp4"),
            "number": item("number", url=5),
            "other": item("other", url="/media/raw/x.gif"),
            "up": item("up", url="/media/raw/up.gif"),
            "a ü": item("a ü", url="/media/raw/a%20%C3%BC_a%20%C3%BC.gif"),
            "none": item("none", url=None),
        }
    )
    move.adopt()
    assert {slug: extra.get("url") for slug, extra in extras(move).items()} == {
        "clip": "/media/processed/clip/video.mp4",
        "number": 5,
        "other": "/media/raw/x.gif",
        "up": None,
        "a ü": None,
        "none": None,
    }


def test_a_type_with_a_secret_in_it_stays_out_of_the_log(move: Move) -> None:
    """A MIME type has parameters."""
    move.index({"a": item("a", type="image/gif; token=FAKE-1")})
    move.adopt()
    with move.state() as state:
        assert [one.type for one in state.list_media()] == ["image/gif"]
    assert b"FAKE" not in move.data.database.read_bytes()


# -- what is no file, and what must not be read ------------------------------------------------------------------------------------------


def test_a_leftover_of_a_crash_is_never_taken(move: Move) -> None:
    """Not even when it is named."""
    (move.media / "index.json.tmp").write_text('{"media": {}}')
    with pytest.raises(NoInstallation, match=r"never taken \(IR-1\.8\)"):
        adopt_loop(move.data, move.media / "index.json.tmp")


def test_a_second_state_is_told(move: Move) -> None:
    """That of the application counts; the one below its backend can be named. One folder reached twice is one."""
    move.index({"a": item("a")})
    other = move.source / "backend" / "media"
    other.mkdir(parents=True)
    (other / "index.json").write_text('{"media": {"b": {}}}')
    report = move.adopt()
    assert told(report, "backend/media", "IR-1.8") == [f"the state in {other} is ignored; name that folder to move it in instead"]
    with move.state() as state:
        assert [one.slug for one in state.list_media()] == ["a"]
    shutil.rmtree(other)
    other.symlink_to(move.media)
    assert move.adopt().skipped == ()


@pytest.mark.parametrize("folder", ["raw", "processed", "config"])
def test_with_keep_going_a_folder_that_cannot_be_listed_is_passed_over(
    move: Move, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, and the rest comes; without, nothing does."""
    move.index({"a": item("a")})
    barred = move.source / "config" if folder == "config" else move.media / folder
    barred.mkdir()
    names = ("iterdir",) if folder != "config" else ("exists", "stat")
    for name in names:
        usual = getattr(Path, name)

        def refuse(self: Path, *rest: Any, usual: Any = usual, **options: Any) -> Any:
            if barred in (self, self.parent):
                raise PermissionError(13, "Permission denied")
            return usual(self, *rest, **options)

        monkeypatch.setattr(Path, name, refuse)
    where = "config/config.json" if folder == "config" else f"media/{folder}"
    with pytest.raises(Unreadable, match=where):
        adopt_loop(move.data, move.source)
    report = adopt_loop(move.data, move.source, keep_going=True)
    assert (found(report.skipped), report.records["media"].imported) == ([(where, "IR-0.2")], 1)


def test_pipes_are_never_waited_for(move: Move) -> None:
    """In the place of an upload, a frame, frames.bin or metadata: told, and the move goes on."""
    (move.media / "raw").mkdir()
    os.mkfifo(move.media / "raw" / "a_a.gif")
    os.mkfifo(move.frames("b") / "frames.bin")
    (move.frames("c") / "frame_000001.rgb").write_bytes(frame(1))
    os.mkfifo(move.frames("c") / "frame_000002.rgb")
    os.mkfifo(move.media / "processed/c/metadata.json")
    move.index({slug: item(slug) for slug in "abc"})
    report = adopt_loop(move.data, move.source, verify=True)
    assert report.differences == ()
    assert told(report, "media/raw/a_a.gif", "IR-0.8") == ["it is no regular file; it is not taken"]
    assert "frames.bin cannot be read: it is no regular file" in told(report, "media/b", "IR-1.9")
    assert "frame_000002.rgb is no regular file; this frame is left out" in told(report, "media/c", "IR-1.9")
    assert [one.count("metadata.json cannot be read") for one in told(report, "media/c", "IR-0.2")] == [1]
    with move.state() as state:
        assert {one.slug: one.status for one in state.list_media()} == {"a": "failed", "b": "failed", "c": "pending"}


@pytest.mark.parametrize("name", ["index.json", "media.db"])
def test_a_pipe_in_the_place_of_the_state_is_refused(move: Move, name: str) -> None:
    """With its name, at once."""
    os.mkfifo(move.media / name)
    with pytest.raises(Unreadable, match=f"{name}: .*no regular file"):
        adopt_loop(move.data, move.source)


def test_a_database_of_another_shape_is_told_with_its_place(move: Move) -> None:
    """Settings without keys are left out; a view is no table."""
    move.sample("media.sql", "media/media.db")
    database = sqlite3.connect(move.media / "media.db")
    database.executescript("ALTER TABLE settings RENAME COLUMN key TO name; DELETE FROM settings WHERE name <> 'active'")
    report = move.adopt()
    assert told(report, "media.db#settings", "IR-0.8") == ["the key of a row is absent, not text; this row is left out"]
    assert report.records["media"].imported == 6
    database.executescript("ALTER TABLE media RENAME TO items; CREATE VIEW media AS SELECT * FROM items")
    database.close()
    with pytest.raises(Unreadable, match=r"media\.db: media is a view"):
        move.adopt()
