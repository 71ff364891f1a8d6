"""Second moves: only the difference comes, what the owner did here stays, and whatever LOOP lost is kept."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moves import Move, found, gif, item, prepared

from api.adopt.moving import adopt_loop
from api.cli.main import main
from api.commands import adoptions as adoption_commands
from projections import loop as loop_area


def test_a_second_move_brings_only_the_difference(move: Move) -> None:
    """New items, a new name, a new order, a finished job, a setting: each as one event; the rest as none."""
    media = {slug: item(slug) for slug in ("a", "b", "c")}
    for slug in media:
        move.raw(f"{slug}_{slug}.gif", gif(ord(slug)))
    job = {
        "filename": "x",
        "status": "processing",
        "progress": 10,
        "stage": "processing",
        "message": "m",
        "timestamp": 1751065195.25,
    }
    (move.source / "config.json").write_text('{"display": {"brightness": 80}}')
    move.index(media, loop=["a", "b"], active="a", processing={"j": job})
    move.adopt()
    media["b"]["filename"] = "new name.gif"
    media["d"] = item("d")
    move.raw("d_d.gif", gif(50))
    shutil.move(move.media / "raw" / "b_b.gif", move.media / "raw" / "b_new name.gif")
    (move.source / "config.json").write_text('{"display": {"brightness": 60}}')
    move.index(
        media,
        loop=["d", "b", "a"],
        active="d",
        processing={"j": job | {"status": "completed", "progress": 100, "timestamp": 1751065200}},
    )
    with move.state() as state:
        head = state.store.head().position
    dry = move.adopt(dry_run=True)
    report = move.adopt(verify=True)
    assert (report.differences, report.events) == ((), dry.events)
    with move.state() as state, state.store.reading() as db:
        types = [row[0] for row in db.execute("SELECT type FROM events WHERE position > ? ORDER BY position", (head,)).fetchall()]
    assert types == [
        "media.updated",
        "media.added",
        "job.queued",
        "job.completed",
        "setting.changed",
        "loop.reordered",
        "active.set",
        "adoption.recorded",
    ]


def test_what_was_changed_here_stays(move: Move) -> None:
    """A name, a removal, an order, a choice and a setting of the owner survive a second move of a changed source, and that is told."""
    media = {slug: item(slug) for slug in ("a", "b", "c", "d")}
    for slug in media:
        move.raw(f"{slug}_{slug}.gif", gif(ord(slug)))
    (move.source / "config.json").write_text('{"display": {"brightness": 80}}')
    move.index(media, loop=["a", "b", "c"], active="a")
    move.adopt()
    with move.state() as state:
        state.update_media("a", filename="mine.gif")
        state.remove_media("b")
        state.reorder_loop(["c", {"slug": "a", "repeat": 3}])
        state.set_active("c")
        state.change_settings({"brightness": 30})
    for one in media.values():
        one["fps"] = 12
    (move.source / "config.json").write_text('{"display": {"brightness": 70}}')
    move.index(media, loop=["d", "a", "b"], active="b")
    report = move.adopt()
    with move.state() as state:
        a = state.get_media("a")
        assert a is not None
        assert a.filename == "mine.gif"
        assert state.get_media("b") is None
        # c was taken out of LOOP's loop since, d put in; a stays where the owner has it.
        assert [(entry.slug, entry.repeat) for entry in state.get_loop().items] == [("a", 3), ("d", None)]
        assert state.get_active() == "c"
        assert state.get_settings()["brightness"] == 30
    assert {"media/b", "settings/brightness"} <= {one.key for one in report.warnings if one.rule == "IR-0.3"}
    assert {"loop/b", "active"} <= {one.key for one in report.skipped}


def test_a_file_that_turns_up_later_comes_with_the_next_move(move: Move) -> None:
    """An item that came without its file plays once the file is in the source; tags given here stay."""
    move.index({"a": item("a")}, loop=["a"])
    move.adopt()
    with move.state() as state:
        state.update_media("a", tags=["mine"], duration=7)
    content = move.raw("a_a.gif", gif(4))
    report = move.adopt(verify=True)
    assert report.differences is not None
    assert [one.field for one in report.differences] == ["duration"]
    with move.state() as state:
        here = state.get_media("a")
        assert here is not None
        assert (here.sha256, here.tags, here.duration, here.error) == (hashlib.sha256(content).hexdigest(), ("mine",), 7, None)
        assert prepared(state, move.data.packs) == 1


def test_an_item_in_the_way_is_left_alone(move: Move) -> None:
    """A slug that this library gave to another file stays with it."""
    with move.state() as state:
        state.add_media(gif(1), filename="a.gif", slug="a")
        state.add_media(gif(2), filename="b.gif", slug="b", add_to_loop=True)
    move.raw("a_a.gif", gif(9))
    move.raw("b_b.gif", gif(2))
    move.index({"a": item("a"), "b": item("b"), "c": item("c")}, loop=["c", "b"])
    report = move.adopt()
    assert found(report.skipped) == [("media/a", "IR-0.3")]
    assert (report.records["media"].imported, report.records["media"].merged) == (1, 1)
    with move.state() as state:
        assert state.list_loop() == ["b", "c"]


def test_what_left_the_source_stays_here(move: Move) -> None:
    """A move never removes an item; that it is gone at the source is told."""
    move.index({"a": item("a"), "b": item("b")})
    move.adopt()
    move.index({"a": item("a")})
    report = move.adopt()
    assert ("media/b", "IR-0.3") in found(report.warnings)
    assert report.events == 0
    with move.state() as state:
        assert len(state.list_media()) == 2


def test_an_entry_whose_item_vanished_keeps_its_place(move: Move) -> None:
    """What LOOP lost stays in the loop, behind the entry that it stood behind; a later order of LOOP's still comes. So it is when LOOP lost all."""
    media = {slug: item(slug) for slug in ("a", "b", "c", "d", "e")}
    move.index(media, loop=["a", "b", "c", "d"], active="b")
    move.adopt()
    del media["b"], media["c"]
    move.index(media, loop=["d", "a", "e"], active="d")
    report = move.adopt()
    assert found(report.warnings)[-2:] == [("media/b", "IR-0.3"), ("media/c", "IR-0.3")]
    with move.state() as state:
        assert (state.list_loop(), state.get_active()) == (["d", "a", "b", "c", "e"], "d")
    move.index(media, loop=["e", "a", "d"], active="d")
    move.adopt()
    with move.state() as state:
        assert state.list_loop() == ["e", "a", "b", "c", "d"]
    move.index({})
    for events in (1, 0):  # what is remembered of the source
        report = move.adopt()
        assert report.events == events
        assert {one.key for one in report.warnings if one.rule == "IR-0.3"} == {"active", *(f"media/{slug}" for slug in "abcde")}
        with move.state() as state:
            assert (state.list_loop(), state.get_active()) == (["e", "a", "b", "c", "d"], "d")


def test_an_entry_that_left_the_loop_there_leaves_it_here_and_is_told(move: Move) -> None:
    """The source's loop changes; its item is still there. Emptied, it is empty here; without a choice there, there is none here."""
    media = {slug: item(slug) for slug in ("a", "b", "c")}
    move.index(media, loop=["a", "b", "c"], active="b")
    move.adopt()
    move.index(media, loop=["c", "a"], active="b")
    report = move.adopt()
    assert [(one.key, one.why) for one in report.warnings if one.rule == "IR-0.3"] == [
        ("loop/b", "it was taken out of the loop at the source, and so it is here")
    ]
    assert (report.records["loop"].merged, report.records["loop"].skipped) == (2, 0)
    with move.state() as state:
        assert state.list_loop() == ["c", "a"]
    move.index(media, loop=[])
    report = move.adopt()
    assert [key for key, rule in found(report.warnings) if rule == "IR-0.3"] == ["loop/c", "loop/a"]
    with move.state() as state:
        assert (state.list_loop(), state.get_active()) == ([], None)


def test_what_the_owner_did_is_told_each_time(move: Move) -> None:
    """A name, a removal, an entry taken out, an order, a choice and a setting: each has its line in every report, the source changed or not."""
    media = {slug: item(slug) for slug in ("a", "b", "c", "d", "e")}
    (move.source / "config.json").write_text('{"display": {"brightness": 80}}')
    move.index(media, loop=["a", "b", "c", "d"], active="a")
    move.adopt()
    with move.state() as state:
        state.update_media("a", filename="mine.gif")
        state.remove_media("b")
        state.reorder_loop(["d", "a"])
        state.set_active("d")
        state.change_settings({"brightness": 30})
    kept = {
        "media/a": "it was named 'mine.gif' here, and stays so",
        "media/b": "it was removed here, and stays removed",
        "loop/c": "it was taken out of the loop here, and stays out",
        "loop": "its order was made here, and stays; what is new at the source comes last",
        "active": "'d' was chosen here, and stays chosen",
        "settings/brightness": "it was set here to 30, and stays so",
    }
    again = move.adopt()
    for one in media.values():
        one["fps"] = 12
    move.index(media, loop=["c", "b", "a", "e", "d"], active="c")
    (move.source / "config.json").write_text('{"display": {"brightness": 70}}')
    changed = move.adopt()
    for report in (again, changed):
        assert {one.key: one.why for one in report.warnings if one.rule == "IR-0.3"} == kept
        assert found(report.skipped) == [("loop/b", "IR-1.4")]
    assert again.events == 0
    with move.state() as state:
        assert (state.list_loop(), state.get_active()) == (["d", "a", "e"], "d")


def test_a_move_of_settings_alone_says_nothing_of_the_library(move: Move) -> None:
    """Where there is no state to read, nothing is known of what vanished."""
    (move.source / "config.json").write_text('{"display": {"brightness": 80}}')
    move.index({"a": item("a")}, loop=["a"])
    move.adopt()
    (move.media / "index.json").unlink()
    report = move.adopt()
    assert found(report.warnings) == []
    (move.media / "index.json").write_text('{"media": {')
    report = move.adopt(keep_going=True)
    assert (found(report.warnings), found(report.skipped)) == ([], [("index.json", "IR-0.2")])
    with move.state() as state:
        assert state.list_loop() == ["a"]


def test_a_move_that_was_cut_short_is_finished_by_the_next(move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches that were committed are not brought again; the outcome is that of one move."""
    from api.adopt import moving

    monkeypatch.setattr(moving, "BATCH_EVENTS_MAX", 12)
    move.index({f"i{number}": item(f"i{number}") for number in range(40)}, loop=["i39", "i0"], active="i39")

    def stop(done: int, total: int) -> None:
        if done > 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move.adopt(progress=stop)
    report = move.adopt(verify=True)
    assert report.differences == ()
    assert report.records["media"].merged > 0
    assert report.records["media"].imported + report.records["media"].merged == 40
    with move.state() as state, state.store.reading() as db:
        assert db.execute("SELECT count(*) FROM events WHERE type = 'media.added'").get == 40
        assert len(loop_area.entries(db)) == 2


def test_verify_tells_each_difference(move: Move, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and what is otherwise here, item by item."""
    move.index({"a": item("a"), "b": item("b")}, loop=["a", "b"], active="a")
    move.adopt()
    with move.state() as state:
        state.update_media("a", filename="mine.gif")
        state.remove_media("b")
    assert main(["adopt", "loop", str(move.source), "--data", str(move.data.root), "--verify", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [(one["key"], one["field"]) for one in report["differences"]] == [
        ("media/a", "filename"),
        ("media/b", "record"),
        ("loop", "value"),
    ]


def test_the_plan_goes_on_through_a_move(move: Move) -> None:
    """What is on stays on when a loop moves in around it."""
    with move.state() as state:
        state.add_media(gif(1), filename="mine.gif", slug="mine", add_to_loop=True)
        prepared(state, move.data.packs)
    move.index({"a": item("a")}, loop=["a"])
    move.raw("a_a.gif", gif(5))
    move.adopt()
    with move.state() as state, state.store.snapshot() as db:
        from projections import plan, planning

        now_us = state.store.now_us()
        assert plan.at(planning.state(db, now_us), now_us).slug == "mine"
        assert state.list_loop() == ["mine", "a"]


def test_people_read_a_table(move: Move, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts by kind, what was left out and why, and how many events."""
    move.sample("index-dangling.json")
    assert main(["adopt", "loop", str(move.source), "--data", str(move.data.root), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "loop     2        0             2" in out
    assert "media/not_an_object" in out
    assert "9 events would be appended" in out


def test_two_installations_stay_apart(move: Move, tmp_path: Path) -> None:
    """With a name of its own, a second installation joins the loop instead of replacing it; a bad name is refused."""
    move.index({"a": item("a")}, loop=["a"])
    move.adopt()
    other = Move(tmp_path / "other")
    other.index({"b": item("b")}, loop=["b"])
    adopt_loop(move.data, other.source, name="kitchen")
    with move.state() as state:
        assert state.list_loop() == ["a", "b"]
    with pytest.raises(ValueError, match="small letters"):
        move.adopt(name="../x")


def test_a_key_of_our_own_at_the_source_reads_no_file(move: Move, tmp_path: Path) -> None:
    """What an index claims to be a held upload is not believed: nothing is copied for it on the way out."""
    from api.adopt.loop_export import export_loop

    move.index({"a": item("a", pixelogOriginal={"sha256": "../../../../etc/passwd", "size": 1})})
    report = move.adopt()
    assert ("media/a", "IR-0.7") in found(report.warnings)
    assert export_loop(move.data, tmp_path / "out").files == 0


def test_what_the_source_no_longer_says_of_an_item_goes(move: Move) -> None:
    """Keys that have no field here, once they are gone there; then nothing is left to bring."""
    move.raw("a_a.gif", gif(1))
    move.index({"a": item("a", fps=10, note="n")})
    move.adopt()
    move.index({"a": item("a")})
    assert move.adopt(verify=True).differences == ()
    report = move.adopt(verify=True)
    assert (report.events, report.differences) == (0, ())


def test_a_running_job_comes_as_it_is_now(move: Move) -> None:
    """Another file name, another report and new keys, too; once it has ended, only its end is news."""
    job = {"filename": "x", "status": "processing", "progress": 10, "stage": "s", "message": "m", "timestamp": 1751065195}
    move.index({}, processing={"j": job})
    move.adopt()
    move.index({}, processing={"j": job | {"filename": "y", "timestamp": 1751065199, "codec": "h264", "progress": 5}})
    assert move.adopt(verify=True).differences == ()
    with move.state() as state:
        found = state.get_job("j")
        assert found is not None
        assert (found.title, found.progress, found.input) == ("y", 5, {"codec": "h264", "timestamp": "2025-06-27T22:59:59Z"})
    move.index(
        {},
        processing={
            "j": job | {"filename": "y", "status": "completed", "progress": 100, "timestamp": 1751065205, "codec": "h264"}
        },
    )
    assert move.adopt(verify=True).differences == ()
    with move.state() as state, state.store.reading() as db:
        types = [row[0] for row in db.execute("SELECT type FROM events WHERE stream = 'jobs/j' ORDER BY position").fetchall()]
    begun = ["job.queued", "job.claimed", "job.progressed"]
    assert types == [*begun, *begun, "job.completed"]


def test_an_entry_that_was_taken_out_stays_out_when_its_item_comes_back(move: Move) -> None:
    """LOOP lost the item for a while; that it was taken out here is not forgotten meanwhile."""
    media = {slug: item(slug) for slug in ("a", "b", "c")}
    move.index(media, loop=["a", "b", "c"])
    move.adopt()
    with move.state() as state:
        state.reorder_loop(["a", "c"])
    move.index({})
    move.adopt()
    move.index(media, loop=["a", "b", "c"])
    report = move.adopt()
    assert ("loop/b", "IR-0.3") in found(report.warnings)
    with move.state() as state:
        assert state.list_loop() == ["a", "c"]


def test_an_item_that_was_removed_changes_no_order(move: Move) -> None:
    """A later order of LOOP's still comes; restored and left out of the loop, the item stays out."""
    media = {slug: item(slug) for slug in ("a", "b", "c")}
    for slug in media:
        move.raw(f"{slug}_{slug}.gif", gif(ord(slug)))
    move.index(media, loop=["a", "b", "c"])
    move.adopt()
    with move.state() as state:
        state.remove_media("b")
    move.index(media, loop=["c", "a", "b"])
    assert "loop" not in dict(found(move.adopt().warnings))
    with move.state() as state:
        assert state.list_loop() == ["c", "a"]
        state.restore_media("b")
    report = move.adopt()
    assert ("loop/b", "IR-0.3") in found(report.warnings)
    with move.state() as state:
        assert state.list_loop() == ["c", "a"]


def test_a_loop_that_is_too_long_says_so(move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond the bound is left out by that name each time, and was not taken out by anybody."""
    monkeypatch.setattr(adoption_commands, "ENTRIES_MAX", 2)
    media = {slug: item(slug) for slug in ("a", "b", "c")}
    move.index(media, loop=["a", "b", "c"])
    for _ in range(2):
        report = move.adopt()
        assert found(report.skipped) == [("loop/c", "IR-0.8")]
        assert "IR-0.3" not in {one.rule for one in report.warnings}
    with move.state() as state:
        assert state.list_loop() == ["a", "b"]


def test_a_name_that_came_while_an_item_was_removed_comes_with_it(move: Move) -> None:
    """Restored, it gets what the source has said since; nobody has named it here."""
    move.raw("a_a.gif", gif(1))
    move.index({"a": item("a")})
    move.adopt()
    with move.state() as state:
        state.remove_media("a")
    shutil.move(move.media / "raw" / "a_a.gif", move.media / "raw" / "a_new.gif")
    move.index({"a": item("a", filename="new.gif")})
    assert ("media/a", "IR-0.3") in found(move.adopt().warnings)
    with move.state() as state:
        state.restore_media("a")
    assert "IR-0.3" not in {one.rule for one in move.adopt(verify=True).warnings}
    with move.state() as state:
        here = state.get_media("a")
        assert here is not None
        assert here.filename == "new.gif"


def test_another_item_of_the_same_slug_is_not_put_into_the_loop(move: Move) -> None:
    """What the source's loop and choice name is its own item, not whatever has that slug here; also over several batches of a dry run."""
    with move.state() as state:
        state.add_media(gif(1), filename="a.gif", slug="a")
    media = {slug: item(slug) for slug in ("a", *(f"i{number}" for number in range(200)))}
    for slug in media:
        move.raw(f"{slug}_{slug}.gif", gif(9))
    move.index(media, loop=["a", "i1"], active="a")
    dry = move.adopt(dry_run=True)
    report = move.adopt()
    assert dry == msgspec.structs.replace(report, dry_run=True)
    assert found(report.skipped) == [("media/a", "IR-0.3"), ("loop/a", "IR-1.4"), ("active", "IR-1.5")]
    assert {one.why for one in report.skipped[1:]} == {
        "the item of this slug is another one here",
        "'a': the item of this slug is another one here",
    }
    with move.state() as state:
        assert (state.list_loop(), state.get_active()) == (["i1"], None)


def test_a_file_that_was_lost_here_is_brought_again(move: Move) -> None:
    """As long as the source has it: nothing is appended for it."""
    content = move.raw("a_a.gif", gif(1))
    move.index({"a": item("a")})
    move.adopt()
    blob = next(move.data.blobs.rglob("*/*"))
    blob.unlink()
    report = move.adopt(verify=True)
    assert (report.events, report.differences, blob.read_bytes()) == (0, (), content)


SLUGS = ("a", "b", "c", "d", "e")
some = st.lists(st.sampled_from(SLUGS), unique=True)
sources = st.fixed_dictionaries(
    {
        "media": st.dictionaries(st.sampled_from(SLUGS), st.sampled_from(["one.gif", "two.gif"])),
        "loop": some,
        "active": st.none() | st.sampled_from(SLUGS),
    }
)
deeds = st.lists(
    st.one_of(
        st.tuples(st.just("move"), sources),
        st.tuples(st.just("remove"), st.sampled_from(SLUGS)),
        st.tuples(st.just("restore"), st.sampled_from(SLUGS)),
        st.tuples(st.just("rename"), st.sampled_from(SLUGS)),
        st.tuples(st.just("order"), some),
        st.tuples(st.just("choose"), st.none() | st.sampled_from(SLUGS)),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(first=sources, deeds=deeds, last=sources)
def test_no_order_of_moves_and_deeds_loses_anything(
    first: dict[str, Any], deeds: list[tuple[str, Any]], last: dict[str, Any]
) -> None:
    """Whatever changes there and here in between: a dry run says what then is done, each record is accounted for once, a move takes no item, no entry
    whose item LOOP merely lost and no deed of the owner, and moving at once again appends nothing."""
    with tempfile.TemporaryDirectory() as folder:
        move = Move(Path(folder))
        _moved(move, first)
        for deed, what in deeds:
            if deed == "move":
                _moved(move, what)
            else:
                _done(move, deed, what)
        _moved(move, last)
        again = move.adopt()
        assert (again.events, again.imported) == (0, 0)


def _moved(move: Move, source: dict[str, Any]) -> None:
    media = {slug: item(slug, filename=name) for slug, name in source["media"].items()}
    move.index(media, loop=source["loop"], active=source["active"])
    before = _here(move)
    dry = move.adopt(dry_run=True)
    report = move.adopt()
    after = _here(move)
    assert dry == msgspec.structs.replace(report, dry_run=True)
    counts = {kind: one.imported + one.merged + one.skipped for kind, one in report.records.items()}
    assert counts.get("media", 0) == len(media)
    assert counts.get("loop", 0) == len(source["loop"])
    assert before["items"].keys() <= after["items"].keys()
    told = {one.key for one in (*report.warnings, *report.skipped)}
    for slug in before["loop"]:
        if slug not in after["loop"]:  # only what LOOP has, and took out of its loop
            assert slug in media
            assert slug not in source["loop"]
            assert f"loop/{slug}" in told
    for slug in media.keys() - after["items"].keys():  # removed here, and told
        assert f"media/{slug}" in told
    for slug in (slug for slug in source["loop"] if slug in media and slug not in after["loop"]):
        assert f"loop/{slug}" in told
    for slug, name in source["media"].items():
        if after["items"].get(slug, name) != name:
            assert f"media/{slug}" in told
    first = next((slug for slug in source["loop"] if slug in media), None)
    wanted = source["active"] if source["active"] in media else first
    if source["active"] is not None and after["active"] != wanted:
        assert "active" in told
    common = [slug for slug in source["loop"] if slug in media and slug in after["loop"]]
    if common != [slug for slug in after["loop"] if slug in common]:
        assert "loop" in told


def _here(move: Move) -> dict[str, Any]:
    with move.state() as state:
        return {
            "items": {one.slug: one.filename for one in state.list_media()},
            "loop": state.list_loop(),
            "active": state.get_active(),
        }


def _done(move: Move, deed: str, what: Any) -> None:
    here = _here(move)["items"]
    with move.state() as state:
        if deed == "order":
            state.reorder_loop([slug for slug in what if slug in here])
        elif deed == "restore":
            if what not in here and state.store.head().position and _was_removed(state, what):
                state.restore_media(what)
        elif deed == "choose" and (what is None or what in here):
            state.set_active(what)
        elif deed == "remove" and what in here:
            state.remove_media(what)
        elif deed == "rename" and what in here:
            state.update_media(what, filename="mine.gif")


def _was_removed(state: Any, slug: str) -> bool:
    with state.store.reading() as db:
        return db.execute("SELECT removed_at IS NOT NULL FROM media_items WHERE slug = ?", (slug,)).get == 1
