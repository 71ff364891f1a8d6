"""Long logs for measuring with: what a display writes in a year or two, made from a number alone. Not for tests of what is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import apsw
import msgspec

from eventstore import chain, schema
from eventstore.reading import COLUMNS
from eventstore.store import EventStore
from projections import catalogue
from projections.display import PlayerShown
from projections.heartbeats import HeartbeatRecorded
from projections.jobs import JobClaimed, JobCompleted, JobProgressed, JobQueued
from projections.loop import Entry, LoopItemAdded
from projections.media import MediaAdded, MediaProcessed, Pack
from projections.plays import PlayerPlayed

TIME_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
STEP_US = 30_000_000
BATCH = 10_000

SERVICES = ("player", "worker", "camera", "network")


def _media(number: int) -> tuple[str, str]:
    slug = f"item-{number:06d}"
    return slug, sha256(slug.encode()).hexdigest()


def events(count: int, media: int) -> Iterator[msgspec.Struct]:
    """`count` events: a library of `media` items (at most a quarter of them) prepared by jobs, then heartbeats (two thirds), pictures shown, plays
    and now and then a job, as four services and one panel write them."""
    made = 0
    for number in range(min(media, count // 4 // 7)):
        slug, name = _media(number)
        job = f"job-{number:06d}"
        pack = Pack(f"{name[:60]}", 240, 320, 0, "contain", 153_600)
        yield MediaAdded(slug, f"{slug}.gif", "animation", "image/gif", 40_000 + number, name)
        yield JobQueued(job, "prepare", slug, {"slug": slug, "sha256": name}, dedupe_key=f"prepare/{name}")
        yield JobClaimed(job, "worker-1", 1, 15_000_000)
        yield JobProgressed(job, 50.0, "decoding")
        yield _processed(slug, name, pack)
        yield JobCompleted(job)
        yield LoopItemAdded(slug, number, Entry(slug, number * 1_000)) if number < 1_000 else JobProgressed(job, message="kept")
        made += 7
    items = max(1, made // 7)
    for number in range(count - made):
        slug, name = _media(number % items)
        now_us = (made + number) * STEP_US
        match number % 12:
            case 0 | 4:
                yield PlayerShown(slug, now_us, now_us, made + number, name, number % items)
            case 8 if number % 24 == 8:
                yield PlayerPlayed(slug, f"{slug}.gif", name, now_us, now_us + 10_000_000, 250, 0, True, name[:60])
            case 10:
                yield JobProgressed(f"job-{number % items:06d}", float(number % 100), "encoding") if made else _beat(number)
            case _:
                yield _beat(number)


def library(media: int) -> Iterator[msgspec.Struct]:
    """A library of `media` items, each taken in and prepared, a thousand of them in the loop, and nothing else: two or three events for each."""
    for number in range(media):
        slug, name = _media(number)
        yield MediaAdded(slug, f"Item {number}.gif", "animation", "image/gif", 40_000 + number, name)
        yield _processed(slug, name, Pack(name[:60], 240, 320, 0, "contain", 153_600))
        if number < 1_000:
            yield LoopItemAdded(slug, number, Entry(slug, number * 1_000))


def _processed(slug: str, name: str, pack: Pack) -> MediaProcessed:
    values = {
        "slug": slug, "sha256": name, "kind": "animation", "type": "image/gif", "width": 240, "height": 240, "frameCount": 25,
        "delays": [[25, 40_000]], "packs": [pack], "thumbnail": name[:60], "madeBy": "benchmark",
    }  # fmt: skip
    return msgspec.convert(msgspec.to_builtins(values), MediaProcessed)


def _beat(number: int) -> HeartbeatRecorded:
    return HeartbeatRecorded(SERVICES[number % 4], "ok", {"uptime": number, "rss": 33_000_000 + number % 1_000})


def fill(path: Path, made: Iterator[msgspec.Struct], progress: Callable[[int], None] = lambda done: None) -> int:
    """Make a new log at `path` with these events, chained as the store chains them, and return their number. The tables stay empty."""
    EventStore.open(path).close()
    db = apsw.Connection(str(path))
    db.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 20000").fetchall()
    guards = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in guards:
        db.execute(f"DROP TRIGGER {name}")
    link = db.execute("SELECT chain FROM head").get
    versions: dict[str, int] = {}
    position, logtime_us, rows = 0, 0, []

    def flush() -> None:
        with db:
            db.executemany(f"INSERT INTO events ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)", rows)
        rows.clear()
        progress(position)

    for struct in made:
        new, stream = catalogue.encode(struct), catalogue.stream_of(struct)
        position += 1
        logtime_us = position * STEP_US
        version = versions[stream] = versions.get(stream, 0) + 1
        time_us = TIME_US + logtime_us
        id = position.to_bytes(16, "big")
        header = chain.header(
            position, version, new.schema_version, logtime_us, time_us, id, stream, new.type, "bench", None, None, None
        )
        link = chain.link(link, header, sha256(new.data.encode()).digest())
        rows.append(
            (
                position,
                stream,
                version,
                new.type,
                new.schema_version,
                id,
                logtime_us,
                time_us,
                "bench",
                None,
                None,
                None,
                new.data,
                link,
            )
        )
        if len(rows) == BATCH:
            flush()
    flush()
    db.execute(
        "UPDATE head SET position = ?, chain = ?, logtime = ?, time = ?, synced_position = ?",
        (position, link, logtime_us, TIME_US + logtime_us, position),
    )
    for statement in schema.GUARDS.strip().split("\n\n"):
        db.execute(statement)
    db.close()
    return position
