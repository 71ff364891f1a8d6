"""Single bits that flip at rest, anywhere in database, write-ahead log and files: each is found, or changes nothing that anybody can read."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import damaging
import msgspec
import pytest

from api.data import DataDirectory
from api.service import StateService
from api.verification import verify
from eventstore.errors import KeyReused, Unusable
from eventstore.testing.clock import FakeClock
from projections import folding, rebuilding
from projections.catalogue import AREAS

SEED = 20260101

Span = tuple[str, str, int, int]
"""Image, file in it, first byte, end."""


class Place(NamedTuple):
    """A bit of a file, and what lies there."""

    part: str
    image: str
    file: str
    byte: int
    bit: int


class Rest(NamedTuple):
    """Two directories, `closed` in order and `cut` off with the newest commits in the write-ahead log alone; where bits may flip, by what lies there;
    and everything that can be read of each."""

    folder: Path
    spans: dict[str, list[Span]]
    readings: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def rest() -> Iterator[Rest]:
    """In memory, for they are copied a thousand times."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        folder = Path(name)
        living = folder / "living"
        damaging.fill(living)
        with StateService(living, clock=FakeClock()) as state:
            rebuilding.rebuild(state.store)  # leaves free pages
        with StateService(living, clock=FakeClock()) as state:
            shutil.copytree(living, folder / "closed", ignore=shutil.ignore_patterns("*-shm", "*-wal"))
            for number in range(8):
                state.set_active(f"picture-{number % 4}")
                state.heartbeat("worker", details={"after": number})
            shutil.copytree(living, folder / "cut", ignore=shutil.ignore_patterns("*-shm"))
        spans = spans_of(folder)
        yield Rest(folder, spans, {image: read(copy(folder, image)) for image in ("closed", "cut")})


def copy(folder: Path, image: str) -> Path:
    """A fresh copy of an image, in the place of the one before."""
    target = folder / "copy"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder / image, target)
    return target


def spans_of(folder: Path) -> dict[str, list[Span]]:
    """Where bits may flip, by what lies there."""
    file = folder / "closed" / "pixelog.db"
    db = apsw.Connection(f"file:{file}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    size: int = db.pragma("page_size")
    pages: list[Any] = db.execute(
        "SELECT s.name, t.type, s.pageno FROM dbstat AS s LEFT JOIN sqlite_schema AS t USING (name) ORDER BY s.pageno"
    ).fetchall()
    db.close()
    found: dict[str, list[Span]] = {"file header": [("closed", "pixelog.db", 0, 100)]}
    for name, type, page in pages:
        part = name if name in ("head", "events", "requests", "projections") else f"other {type}" if type else "schema"
        found.setdefault(part, []).append(("closed", "pixelog.db", (page - 1) * size, page * size))
    used = {page for _, _, page in pages}
    free = [page for page in range(1, file.stat().st_size // size + 1) if page not in used]
    found["free pages"] = [("closed", "pixelog.db", (page - 1) * size, page * size) for page in free]
    found["wal header"] = [("cut", "pixelog.db-wal", 0, 32)]
    found["wal"] = [("cut", "pixelog.db-wal", 32, (folder / "cut" / "pixelog.db-wal").stat().st_size)]
    root = folder / "closed"
    found["blobs"] = [("closed", str(path.relative_to(root)), 0, path.stat().st_size) for path in sorted(root.glob("blobs/*/*"))]
    return found


def drawn(rest: Rest, count: int) -> Iterator[Place]:
    """Bits of every part in turn. Every other byte is one that is not nought: most of a page is empty."""
    source = random.Random(SEED)
    parts = list(rest.spans)
    for number in range(count):
        part = parts[number % len(parts)]
        image, file, first, end = source.choice(rest.spans[part])
        byte = source.randrange(first, end)
        if number // len(parts) % 2:
            raw = (rest.folder / image / file).read_bytes()
            byte = source.choice([place for place in range(first, end) if raw[place]] or [byte])
        yield Place(part, image, file, byte, source.randrange(8))


def read(data: Path) -> dict[str, Any]:
    """Everything that can be read through the door after a boot: events, resources, views, searches, digests, answers to repeats, files."""
    seen: dict[str, Any] = {}
    with StateService(data, clock=FakeClock(boot_id="boot-9")) as state:
        with state.store.snapshot() as db:
            for area in AREAS:
                seen[area.name] = msgspec.to_builtins(area.resources(db))
                for name in (view.split()[2] for view in area.views):
                    seen[f"view {name}"] = db.execute(f"SELECT * FROM {name}").fetchall()
            seen["digest"] = folding.digest_tables((table.name, folding.table_rows(db, table)) for table in folding.all_tables())
        seen["events"] = [msgspec.to_builtins(event) for event in state.store.read()]
        seen["found"] = [msgspec.to_builtins(state.list_media(q=word)) for word in ("picture", "renamed")]
        seen["dashboard"] = msgspec.to_builtins(state.get_dashboard_data())
        seen["head"] = state.store.head().position
        for number in range(damaging.REQUESTS):
            seen[f"answer {number}"] = _answered(state, number)
        for path in sorted((data / "blobs").glob("*/*")):
            seen[str(path.relative_to(data))] = path.read_bytes()
    return seen


def _answered(state: StateService, number: int) -> Any:
    try:
        again = damaging.ask(state, number)
    except KeyReused as refusal:
        return refusal.code
    return again.replayed, again.position, again.answer


def outcome(rest: Rest, image: str, place: Place | None) -> str:
    """found, or harmless; else what went wrong."""
    data = copy(rest.folder, image)
    if place is not None:
        file = data / place.file
        raw = bytearray(file.read_bytes())
        raw[place.byte] ^= 1 << place.bit
        file.write_bytes(raw)
    try:
        report = verify(DataDirectory(data))
        if not report.ok:
            return "found" if all(one.message and one.mend for one in report.problems) else f"a problem without mend: {report}"
        again = read(data)
    except Unusable as error:
        return "found" if error.code in ("damaged", "not_a_log", "newer", "older") else f"unusable: {error}"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is to be told with the place of the bit
        return f"failed: {error!r}"
    different = [key for key in rest.readings[image] if again.get(key) != rest.readings[image][key]]
    return f"differs in {different}" if different else "harmless"


def flips(rest: Rest, count: int) -> None:
    """Flip so many bits, one at a time, and say how many were found and how many harmless, by what lay there."""
    counts: dict[str, Counter[str]] = {part: Counter() for part in rest.spans}
    wrong: list[tuple[Place, str]] = []
    for place in drawn(rest, count):
        said = outcome(rest, place.image, place)
        counts[place.part][said] += 1
        if said not in ("found", "harmless"):
            wrong.append((place, said))
    for part, each in counts.items():
        sys.stdout.write(f"{part}: {each['found']} found, {each['harmless']} harmless\n")
    assert wrong == []
    assert sum(sum(each.values()) for each in counts.values()) == count
    assert counts["free pages"]["harmless"] > 0  # the few bytes of their list are found
    for part in ("file header", "schema", "head", "events", "projections", "requests"):
        assert counts[part]["found"] > 0 < counts[part]["harmless"]
    for part in ("wal header", "wal", "blobs"):
        assert counts[part]["found"] > 0 == counts[part]["harmless"]


def test_nothing_is_found_where_nothing_flipped(rest: Rest) -> None:
    """Neither in a directory that was closed in order nor in one that was cut off."""
    assert [outcome(rest, image, None) for image in ("closed", "cut")] == ["harmless", "harmless"]


def test_flips(rest: Rest) -> None:
    """Some hundred bits, spread over every part of every file."""
    flips(rest, 300)


@pytest.mark.long
def test_a_thousand_flips(rest: Rest) -> None:
    """The same, longer."""
    flips(rest, 1_000)
