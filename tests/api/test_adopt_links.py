"""Links in a LOOP installation: nothing outside of it is read by them, and an installation that is itself reached by a link moves in whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from moves import Move, frame, gif, item

from api.adopt.documents import Unreadable


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that is no part of the installation, with things that only root may read."""
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "shadow").write_bytes(gif(66))
    (folder / "frame").write_bytes(frame(1))
    return folder


def told(move: Move) -> list[tuple[str, str, str]]:
    """What the report says of links."""
    return [(one.key, one.rule, one.why) for one in move.adopt().warnings if "link" in one.why]


def nothing_came(move: Move, outside: Path) -> None:
    """The item is there without a file, and no blob has what lies outside."""
    with move.state() as state:
        (there,) = state.list_media()
        assert (there.slug, there.status, there.sha256) == ("a", "failed", None)
    blobs = [path.read_bytes() for path in move.data.blobs.rglob("*") if path.is_file()]
    assert not any(path.read_bytes() in blobs for path in outside.rglob("*") if path.is_file())


@pytest.mark.parametrize("target", ["../../../etc/shadow", "{outside}/shadow", "hop"])
def test_an_upload_that_is_a_link_out_is_not_followed(move: Move, outside: Path, target: str) -> None:
    """Relative, absolute, or over another link: the item comes as one without its upload, and why is told of it once."""
    raw = move.media / "raw"
    raw.mkdir()
    (raw / "hop").symlink_to(outside / "shadow")
    (raw / "a_a.gif").symlink_to(target.format(outside=outside))
    move.index({"a": item("a")})
    said = told(move)
    assert said == [
        ("media/a", "IR-0.2", "raw/a_a.gif is a link that leads out of the folder media; it is not followed"),
        ("media/raw/hop", "IR-0.2", "it is a link that leads out of the folder media; it is not followed"),
    ]
    nothing_came(move, outside)


def _folder_raw(move: Move, outside: Path) -> str:
    (outside / "a_a.gif").write_bytes(gif(1))
    (move.media / "raw").symlink_to(outside)
    return "media/raw"


def _folder_of_item(move: Move, outside: Path) -> str:
    (outside / "frame_000001.rgb").write_bytes(frame(1))
    (move.media / "processed").mkdir()
    (move.media / "processed" / "a").symlink_to(outside)
    return "media/a"


def _folder_of_frames(move: Move, outside: Path) -> str:
    (outside / "frame_000001.rgb").write_bytes(frame(1))
    (move.media / "processed" / "a").mkdir(parents=True)
    (move.media / "processed" / "a" / "frames").symlink_to(outside)
    return "media/a"


def _one_frame(move: Move, outside: Path) -> str:
    (move.frames("a") / "frame_000001.rgb").symlink_to(outside / "frame")
    return "media/a"


def _packed_frames(move: Move, outside: Path) -> str:
    (outside / "frames.bin").write_bytes((1).to_bytes(4, "big") + (153_600).to_bytes(4, "big") + frame(1))
    (move.frames("a") / "frames.bin").symlink_to(outside / "frames.bin")
    return "media/a"


def _clip(move: Move, outside: Path) -> str:
    (move.media / "processed" / "a").mkdir(parents=True)
    (move.media / "processed" / "a" / "video.mp4").symlink_to(outside / "shadow")
    return "media/a"


def _archive(move: Move, outside: Path) -> str:
    (move.media / "processed" / "a").mkdir(parents=True)
    (move.media / "processed" / "a" / "a_frames.zip").symlink_to(outside / "shadow")
    return "media/a"


@pytest.mark.parametrize(
    "put",
    [_folder_raw, _folder_of_item, _folder_of_frames, _one_frame, _packed_frames, _clip, _archive],
    ids=lambda put: put.__name__,
)
def test_no_link_leads_out(move: Move, outside: Path, put: Callable[[Move, Path], str]) -> None:
    """Neither a folder of the layout nor any file in it; each is told."""
    key = put(move, outside)
    move.index({"a": item("a")})
    assert [(place, rule) for place, rule, _ in told(move)] == [(key, "IR-0.2")]
    nothing_came(move, outside)


def test_metadata_of_frames_that_is_a_link_out_gives_nothing(move: Move, outside: Path) -> None:
    """The frames play without it."""
    (outside / "metadata.json").write_text('{"fps": 1}')
    (move.frames("a") / "frame_000001.rgb").write_bytes(frame(1))
    (move.media / "processed" / "a" / "metadata.json").symlink_to(outside / "metadata.json")
    move.index({"a": item("a")})
    assert [(place, rule) for place, rule, _ in told(move)] == [("media/a", "IR-0.2")]
    with move.state() as state:
        assert state.list_media()[0].status == "pending"


@pytest.mark.parametrize(
    "name", ["media/index.json", "media/media.db", "media/media.db-wal", "config/config.json", "config.json"]
)
def test_a_state_or_settings_that_is_a_link_out_is_refused(move: Move, outside: Path, name: str) -> None:
    """Nothing at all is taken over: what they hold would be kept in the log."""
    move.index({})
    (outside / "other").write_text(json.dumps({"auths": "x"}))
    if name.endswith("-wal"):
        move.sample("media.sql", "media/media.db")
    path = move.source / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(outside / "other")
    with pytest.raises(Unreadable, match="is a link that leads out of the installation; put the file itself in its place"):
        move.adopt()
    assert not move.data.database.exists()


def test_links_within_are_followed(move: Move) -> None:
    """An upload that is a link to another one, and settings that lie beside their folder."""
    content = move.raw("real.gif", gif(5))
    (move.media / "raw" / "a_a.gif").symlink_to("real.gif")
    (move.source / "settings.json").write_text('{"device": {"name": "Hall"}}')
    (move.source / "config").mkdir()
    (move.source / "config" / "config.json").symlink_to("../settings.json")
    move.index({"a": item("a")})
    assert told(move) == []
    with move.state() as state:
        (there,) = state.list_media()
        assert there.sha256 is not None
        assert state.blobs.path(there.sha256).read_bytes() == content
        assert state.get_settings()["name"] == "Hall"


@pytest.mark.parametrize("linked", ["app", "app/media"])
def test_an_installation_on_another_card_moves_in(move: Move, tmp_path: Path, linked: str) -> None:
    """Its folder, or `media` in it, may be a link."""
    move.raw("a_a.gif", gif(5))
    (move.frames("b") / "frame_000001.rgb").write_bytes(frame(1))
    move.index({"a": item("a"), "b": item("b")})
    place = tmp_path / linked
    place.rename(tmp_path / "card")
    place.symlink_to(tmp_path / "card")
    assert told(move) == []
    with move.state() as state:
        assert {one.slug: one.status for one in state.list_media()} == {"a": "pending", "b": "pending"}
