"""Commands media: what goes into the log for each, in which order, with which turn; and every refusal."""

from __future__ import annotations

from typing import Any

import pytest

from api.commands.active import SetActive
from api.commands.catalogue import HANDLERS
from api.commands.deciding import Rejected
from api.commands.loop import NewEntry, ReplaceLoop
from api.commands.media import (
    PACKS_MAX,
    AddMedia,
    FailPreparing,
    FinishPreparing,
    RemoveMedia,
    RestoreMedia,
    UpdateMedia,
    free_slug,
    slug_base,
)
from projections import catalogue, jobs, media, plan, planning
from projections.active import ActiveCleared, ActiveSet
from projections.jobs import JobCompleted, JobFailed, JobQueued
from projections.loop import Entry, LoopItemAdded, LoopItemRemoved
from projections.media import MediaAdded, MediaFailed, MediaProcessed, MediaRemoved, MediaRestored, MediaUpdated, Pack
from projections.plan import Turn

S = 1_000_000
STEP = 1 << 20


def sha(slug: str) -> str:
    """A hash for the content of an item."""
    return slug.encode().hex().rjust(64, "0")


def add(name: str, **fields: Any) -> AddMedia:
    """An upload of `<name>.gif`."""
    return AddMedia(f"{name}.gif", sha(name), 7, "image/gif", "animation", **fields)


def pack(name: str, rotation: int = 0, fit: str = "contain") -> Pack:
    """A pack for the common panel."""
    return Pack(name, 240, 320, rotation, fit, 99)


def finish(slug: str, job_id: str | None = None, delays: Any = ((1, 0),), made: Pack | None = None) -> FinishPreparing:
    """What the worker says of a prepared item; a still unless `delays` say otherwise."""
    frames = sum(count for count, _ in delays)
    packed = made or pack(f"p-{slug}")
    return FinishPreparing(job_id, slug, sha(slug), "image", "image/gif", 4, 3, frames, delays, packed, f"t-{slug}", "maker 1")


def processed(slug: str, turn: Turn | None, delays: Any = ((1, 0),), packs: tuple[Pack, ...] = ()) -> MediaProcessed:
    """The event that `finish` gives."""
    frames = sum(count for count, _ in delays)
    packs = packs or (pack(f"p-{slug}"),)
    return MediaProcessed(slug, sha(slug), "image", "image/gif", 4, 3, frames, delays, packs, f"t-{slug}", "maker 1", turn)


def refused(bench: Any, command: Any) -> tuple[str, list[str]]:
    """Code and pointers of a refusal, which must leave nothing in the log."""
    head = bench.store.head().position
    with pytest.raises(Rejected) as caught:
        bench.do(command)
    assert bench.store.head().position == head
    return caught.value.code, [fault.pointer for fault in caught.value.faults]


# -- adding --------------------------------------------------------------------------------------------------------------------------


def test_an_upload_is_noted_and_its_preparation_queued(bench: Any) -> None:
    """Two events in two streams; nothing of loop or choice, and no turn."""
    outcome = bench.run(add("cat"))
    added, queued = (catalogue.struct_of(event) for event in outcome.events)
    assert added == MediaAdded("cat", "cat.gif", "animation", "image/gif", 7, sha("cat"))
    assert queued == JobQueued(
        id=queued.id, kind="prepare", title="cat.gif", input={"slug": "cat", "sha256": sha("cat")}, max_attempts=3
    )
    assert [event.stream for event in outcome.events] == ["media/cat", f"jobs/{queued.id}"]


def test_every_command_of_media_is_durable() -> None:
    """Each is on the disk before it is answered."""
    for command in (add("a"), finish("a"), UpdateMedia("a"), RemoveMedia("a"), RestoreMedia("a", True)):
        assert HANDLERS[command.__class__].durable(command)


def test_the_flags_come_in_the_same_batch_and_the_last_event_has_the_turn(bench: Any) -> None:
    """Loop and choice each get their event; the turn in force stands in the last one."""
    now = bench.now_us + 1  # log.opened comes first
    events = bench.do(add("cat", add_to_loop=True, make_active=True))
    assert events[2:] == [LoopItemAdded("cat", 0, Entry("cat", STEP)), ActiveSet("cat", Turn("cat", now))]
    events = bench.do(add("dog", add_to_loop=True))
    assert events[2:] == [LoopItemAdded("dog", 1, Entry("dog", 2 * STEP), Turn(None, now, 1, waiting="cat"))]


def test_content_that_is_held_gives_the_item_and_the_flags_still_apply(bench: Any) -> None:
    """No second item, whatever the file is called; the flags that change nothing append nothing."""
    bench.do(add("cat"))
    again = AddMedia("other name.gif", sha("cat"), 7, "image/gif", "animation", "wanted", True, True)
    now = bench.now_us
    assert bench.do(again) == [LoopItemAdded("cat", 0, Entry("cat", STEP)), ActiveSet("cat", Turn("cat", now))]
    assert bench.do(again) == []
    assert bench.do(add("cat")) == []


def test_held_and_chosen_content_joins_the_loop_with_the_turn(bench: Any) -> None:
    """When the choice stays as it is, the change of the loop carries the turn."""
    bench.do(add("cat"))
    bench.do(finish("cat"))
    now = bench.now_us
    bench.do(SetActive("cat"))
    assert bench.do(add("cat", add_to_loop=True, make_active=True)) == [
        LoopItemAdded("cat", 0, Entry("cat", STEP), Turn("cat", now, 0, cycle=1))
    ]


def test_making_active_again_what_was_chosen_begins_it_again(bench: Any) -> None:
    """As choosing does: an item that is chosen but not on starts at once."""
    for slug in ("cat", "dog"):
        bench.do(add(slug, add_to_loop=True))
        bench.do(finish(slug))
    bench.do(SetActive("cat"))
    bench.clock.advance(11)
    now = bench.now_us
    assert bench.do(add("cat", make_active=True)) == [ActiveSet("cat", Turn("cat", now, 0))]


@pytest.mark.parametrize(
    ("filename", "slug"),
    [
        ("cat.gif", "cat"),
        ("Big Cat.GIF", "big-cat"),
        ("a/b\\C.png", "c"),
        ("archive.tar.gz", "archive.tar"),
        (".gif", "gif"),
        ("...", "media"),
        ("   .png", "media"),
        ("-._.png", "_"),
        ("a\tb\x00c\u2028d.png", "a-b-c-d"),
        ("\udce9t\udce9.png", "t"),
        ("ÉTÉ à Œuvre.webp", "été-à-œuvre"),
        ("😀 🐈.gif", "😀-🐈"),
        ('it\'s "so" & <b>.gif', 'it\'s-"so"-&-<b>'),
        ("日本語.png", "日本語"),
        ("x" * 300 + ".png", "x" * 200),
    ],
)
def test_a_slug_is_made_of_the_files_stem(filename: str, slug: str) -> None:
    """Stem, lower case, blanks as hyphens, nothing that cannot be seen, never empty, never `.` or `..`."""
    assert slug_base(filename) == slug


def test_a_made_slug_is_unique_by_suffix(bench: Any) -> None:
    """The first free number; pattern characters in a name mean themselves; a removed item's slug is free again."""
    for number, expected in enumerate(["ca*t", "ca*t-2", "ca*t-3"]):
        bench.do(AddMedia("ca*t.gif", sha(str(number)), 1, "image/gif", "animation"))
        assert bench.ask(lambda db, n=number: media.slug_of_content(db, sha(str(n)))) == expected
    bench.do(AddMedia("caat.gif", sha("x"), 1, "image/gif", "animation"))
    assert bench.ask(lambda db: media.slug_of_content(db, sha("x"))) == "caat"
    bench.do(RemoveMedia("ca*t-2"))
    bench.do(AddMedia("ca*t.gif", sha("y"), 1, "image/gif", "animation"))
    assert bench.ask(lambda db: media.slug_of_content(db, sha("y"))) == "ca*t-2"
    assert free_slug("a", frozenset({"a", "a-3"})) == "a-2"


def test_a_given_slug_that_is_taken_is_a_conflict(bench: Any) -> None:
    """It is not changed behind the caller's back; a free one is taken as it is."""
    bench.do(add("cat"))
    assert refused(bench, add("dog", slug="cat")) == ("conflict", [])
    assert bench.do(add("dog", slug='ça/"va"? 🐕'))[0].slug == 'ça/"va"? 🐕'


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"slug": ""}, ["/slug"]),
        ({"slug": " a"}, ["/slug"]),
        ({"slug": ".."}, ["/slug"]),
        ({"slug": "a\nb"}, ["/slug"]),
        ({"slug": "x" * 201}, ["/slug"]),
        ({"filename": ""}, ["/filename"]),
        ({"filename": "x" * 256}, ["/filename"]),
        ({"filename": "a\x00", "slug": "\x7f"}, ["/filename", "/slug"]),
    ],
)
def test_bad_names_are_refused(bench: Any, fields: dict[str, Any], pointers: list[str]) -> None:
    """Each with the field to blame."""
    whole = {"filename": "a.gif", "sha256": sha("a"), "size": 1, "type": "image/gif", "kind": "image", **fields}
    assert refused(bench, AddMedia(**whole)) == ("invalid", pointers)


# -- preparing -----------------------------------------------------------------------------------------------------------------------


def job_of(bench: Any) -> str:
    """The one job that waits."""
    return bench.ask(lambda db: jobs.first_waiting(db, ["prepare"])).id


def test_a_prepared_item_that_nothing_names_changes_no_turn_but_says_it(bench: Any) -> None:
    """Item and job end in one batch; what plays goes on."""
    bench.do(add("cat"))
    job = job_of(bench)
    assert bench.do(finish("cat", job)) == [processed("cat", Turn(None, 0)), JobCompleted(job)]


def test_a_waited_for_choice_begins_when_it_is_ready(bench: Any) -> None:
    """The chosen item was passed over; now its turn begins."""
    bench.do(add("cat", make_active=True))
    bench.clock.advance(3)
    now = bench.now_us
    (event,) = bench.do(finish("cat"))
    assert event == processed("cat", Turn("cat", now, outside=True, cycle=2))


def test_a_second_pack_keeps_the_first_and_moves_nothing(bench: Any) -> None:
    """Another geometry is added, the same one replaced, the oldest dropped at the bound."""
    bench.do(add("cat"))
    bench.do(finish("cat", made=pack("p0")))
    packs = [pack("p0")]
    for number, fit in enumerate(("cover", "stretch")):
        for rotation in (0, 90, 180, 270):
            packs.append(pack(f"{number}{rotation}", rotation, fit))
            (event,) = bench.do(finish("cat", made=packs[-1]))
            assert event == processed("cat", None, packs=tuple(packs[-PACKS_MAX:]))
    packs = [*packs[-PACKS_MAX:]]
    del packs[0]
    packs.append(pack("again", 0, "cover"))
    (event,) = bench.do(finish("cat", made=packs[-1]))
    assert event.packs == tuple(packs)


def test_new_frame_times_carry_the_turn_on(bench: Any) -> None:
    """A newer decoder may read other delays: the panel must not jump because of the past."""
    bench.do(add("cat", add_to_loop=True))
    bench.do(add("dog", add_to_loop=True))
    for slug in ("cat", "dog"):
        bench.do(finish(slug, delays=((4, S),)))
    bench.clock.advance(5)
    before = bench.ask(lambda db: plan.at(planning.state(db, bench.now_us), bench.now_us))
    (event,) = bench.do(finish("cat", delays=((8, S),)))
    assert (
        (event.turn.slug, event.turn.started_us) == (before.turn.slug, before.turn.started_us) == ("dog", before.turn.started_us)
    )


def test_a_pack_for_what_is_gone_only_ends_its_job(bench: Any) -> None:
    """Removed, or replaced by other content of that slug."""
    bench.do(add("cat"))
    job = job_of(bench)
    bench.do(RemoveMedia("cat"))
    assert bench.do(finish("cat", job)) == [JobCompleted(job)]
    assert bench.do(finish("cat", job)) == []
    bench.do(AddMedia("cat.gif", sha("other"), 1, "image/gif", "image"))
    assert bench.do(finish("cat")) == []


def test_a_failed_item_says_why_once(bench: Any) -> None:
    """The item and its job end together; the same verdict again is no news."""
    bench.do(add("cat", make_active=True))
    job = job_of(bench)
    failure = FailPreparing(job, "cat", sha("cat"), "not_media", "This is not a picture.")
    assert bench.do(failure) == [
        MediaFailed("cat", "not_media", "This is not a picture.", Turn(None, 2, cycle=1, waiting="cat")),
        JobFailed(job, "This is not a picture."),
    ]
    assert bench.do(failure) == []
    assert bench.ask(lambda db: media.get(db, "cat")).status == "failed"
    assert bench.do(FailPreparing(None, "cat", sha("else"), "x", "y")) == []


def test_the_item_on_that_fails_makes_way(bench: Any) -> None:
    """What cannot be shown any more ends; the next begins now."""
    for slug in ("cat", "dog"):
        bench.do(add(slug, add_to_loop=True))
        bench.do(finish(slug))
    bench.clock.advance(2)
    now = bench.now_us
    (event,) = bench.do(FailPreparing(None, "cat", sha("cat"), "damaged", "No."))
    assert event.turn == Turn("dog", now, 1)


# -- changing ------------------------------------------------------------------------------------------------------------------------


def test_an_update_says_only_what_changes(bench: Any) -> None:
    """What is so already is left out; an update that changes nothing appends nothing."""
    bench.do(add("cat"))
    assert bench.do(UpdateMedia("cat", "new.gif", ("a", "b", "a"))) == [MediaUpdated("cat", "new.gif", ("a", "b"))]
    assert bench.do(UpdateMedia("cat", "new.gif", ("a", "b"), clear_duration=True)) == []
    assert bench.do(UpdateMedia("cat", "new.gif", ())) == [MediaUpdated("cat", tags=())]


def test_a_length_carries_the_turn(bench: Any) -> None:
    """A shorter length that is over ends the turn now; going back to the file's own is a change, too."""
    for slug in ("cat", "dog"):
        bench.do(add(slug, add_to_loop=True))
        bench.do(finish(slug))
    began = bench.ask(lambda db: plan.turn_at(planning.state(db, bench.now_us), bench.now_us)).started_us
    bench.clock.advance(4)
    assert bench.do(UpdateMedia("cat", duration=5)) == [
        MediaUpdated("cat", duration_us=5 * S, turn=Turn("cat", began, 0)),
    ]
    assert bench.do(UpdateMedia("cat", duration=5)) == []
    now = bench.now_us
    assert bench.do(UpdateMedia("cat", duration=3)) == [MediaUpdated("cat", duration_us=3 * S, turn=Turn("dog", now, 1))]
    assert bench.do(UpdateMedia("cat", clear_duration=True)) == [
        MediaUpdated("cat", clear_duration=True, turn=Turn("dog", now, 1))
    ]
    assert bench.ask(lambda db: media.get(db, "cat")).duration is None


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"duration": 0.09}, ["/duration"]),
        ({"duration": float("nan")}, ["/duration"]),
        ({"duration": float("inf")}, ["/duration"]),
        ({"duration": 86_400.1}, ["/duration"]),
        ({"filename": ""}, ["/filename"]),
        ({"filename": "a\nb"}, ["/filename"]),
        ({"tags": ("x" * 101,)}, ["/tags"]),
        ({"tags": ("",)}, ["/tags"]),
        ({"tags": ("a\0",)}, ["/tags"]),
        ({"tags": tuple(str(n) for n in range(51))}, ["/tags"]),
    ],
)
def test_bad_values_are_refused(bench: Any, fields: dict[str, Any], pointers: list[str]) -> None:
    """Each with the field to blame."""
    bench.do(add("cat"))
    assert refused(bench, UpdateMedia("cat", **fields)) == ("invalid", pointers)


@pytest.mark.parametrize("command", [UpdateMedia, RemoveMedia])
def test_an_old_version_is_refused(bench: Any, command: Any) -> None:
    """Decided on what is not so any more."""
    bench.do(add("cat"))
    assert refused(bench, command("cat", expected_version=2)) == ("stale", [])
    bench.do(command("cat", expected_version=1))


# -- removing and restoring ----------------------------------------------------------------------------------------------------------


def test_a_removal_takes_the_item_out_everywhere_in_one_batch(bench: Any) -> None:
    """Library, loop and choice, in this order; the last has the turn: the loop from its first entry, for the chosen item was on."""
    for slug in ("cat", "dog"):
        bench.do(add(slug, add_to_loop=True))
        bench.do(finish(slug))
    bench.do(SetActive("dog"))
    now = bench.now_us
    assert bench.do(RemoveMedia("dog")) == [
        MediaRemoved("dog", "dog.gif", sha("dog")),
        LoopItemRemoved("dog"),
        ActiveCleared("dog", Turn(None, now)),
    ]


def test_a_removal_off_the_panel_disturbs_nothing(bench: Any) -> None:
    """The item on keeps its beginning."""
    for slug in ("cat", "dog", "eel"):
        bench.do(add(slug, add_to_loop=True))
        bench.do(finish(slug))
    bench.do(SetActive("dog"))
    bench.clock.advance(12)
    on = bench.ask(lambda db: plan.turn_at(planning.state(db, bench.now_us), bench.now_us))
    assert on.slug == "eel"
    *_, cleared = bench.do(RemoveMedia("dog"))
    assert cleared == ActiveCleared("dog", Turn("eel", on.started_us, 1))
    assert bench.do(RemoveMedia("cat"))[-1] == LoopItemRemoved("cat", Turn("eel", on.started_us, 0))


def test_an_unnamed_item_leaves_with_one_event(bench: Any) -> None:
    """In neither loop nor choice: the removal itself has the turn."""
    bench.do(add("cat"))
    assert bench.do(RemoveMedia("cat")) == [MediaRemoved("cat", "cat.gif", sha("cat"), Turn(None, 0))]


@pytest.mark.parametrize("command", [UpdateMedia("cat"), RemoveMedia("cat"), RestoreMedia("cat", True)])
def test_what_is_not_there_is_not_found(bench: Any, command: Any) -> None:
    """An item that never was."""
    assert refused(bench, command) == ("not_found", [])


def test_a_removed_item_is_not_found_but_can_be_restored(bench: Any) -> None:
    """It comes back as it was, once; not without its file."""
    bench.do(add("cat"))
    bench.do(finish("cat"))
    bench.do(UpdateMedia("cat", tags=("a",)))
    before = bench.ask(lambda db: media.get(db, "cat"))
    bench.do(RemoveMedia("cat"))
    assert refused(bench, UpdateMedia("cat", tags=())) == ("not_found", [])
    assert refused(bench, RemoveMedia("cat")) == ("not_found", [])
    assert refused(bench, RestoreMedia("cat", False)) == ("gone", [])
    assert bench.do(RestoreMedia("cat", True)) == [MediaRestored("cat")]
    after = bench.ask(lambda db: media.get(db, "cat"))
    assert (after.tags, after.status, after.thumbnail_url) == (before.tags, "ready", before.thumbnail_url)
    assert refused(bench, RestoreMedia("cat", True)) == ("conflict", [])


def test_a_removed_slug_taken_by_another_cannot_be_restored(bench: Any) -> None:
    """The new item stands in its place, with nothing of the old one."""
    bench.do(add("cat"))
    bench.do(finish("cat"))
    bench.do(RemoveMedia("cat"))
    bench.do(AddMedia("cat.gif", sha("new"), 1, "image/gif", "image"))
    item = bench.ask(lambda db: media.get(db, "cat"))
    assert (item.status, item.thumbnail_url, item.width) == ("pending", None, None)
    assert refused(bench, RestoreMedia("cat", True)) == ("conflict", [])


def test_removed_items_leave_no_trace_in_the_plan(bench: Any) -> None:
    """A loop can be set without them, and they are unknown to it."""
    bench.do(add("cat"))
    bench.do(RemoveMedia("cat"))
    assert refused(bench, ReplaceLoop((NewEntry("cat"),))) == ("invalid", ["/items/0/slug"])
