"""Every shape ever written still folds to what it did, on every way to fold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from projections import catalogue, folding, rebuilding
from projections.replay import digests, fixtures

ROOT = Path(__file__).parent.parent.parent / "replay_fixtures"
CASES = fixtures.cases(ROOT)


def named(case: Path) -> str:
    """The case's name."""
    return case.name


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_case_folds_to_its_state(case: Path) -> None:
    """State and digests are those that were kept, from the tables and from a fold in memory; and again after a rebuild."""
    areas = fixtures.areas_of(case)
    with fixtures.load(case) as store:
        for _ in range(2):
            with store.snapshot() as db:
                assert fixtures.state_text(db, areas) == (case / "state.json").read_text()
                assert fixtures.digest_text(db, areas) == (case / "digest.txt").read_text()
                past = folding.database_at(db, store.head().position)
            assert fixtures.digest_text(past, areas) == (case / "digest.txt").read_text()
            past.close()
            assert rebuilding.rebuild(store).differed == ()


def test_every_shape_ever_written_is_in_a_case() -> None:
    """Each event type in each of its schema versions; whoever adds one adds a case."""
    written = {(type, version) for type in catalogue.AREA_OF_TYPE for version in range(1, catalogue.version_of(type) + 1)}
    kept = {(event.type, event.schemaversion) for case in CASES for event in fixtures.events(case)}
    assert written - kept == set()
    assert kept - written == set()


def test_digests_do_not_depend_on_the_hash_seed() -> None:
    """Two processes with different seeds give the kept digests."""
    script = "import sys; from pathlib import Path; from projections.replay import fixtures as f\n" + (
        "for case in f.cases(Path(sys.argv[1])):\n"
        "    with f.load(case) as store, store.snapshot() as db: print(case.name, f.digest_text(db, f.areas_of(case)))"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", script, str(ROOT)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    kept = "".join(f"{case.name} {(case / 'digest.txt').read_text()}\n" for case in CASES)
    assert answers == {kept}


def test_remaking_a_case_changes_nothing(tmp_path: Path) -> None:
    """What `python -m projections.replay.fixtures` writes is what is kept."""
    for case in CASES[:3]:
        copy = tmp_path / case.name
        copy.mkdir()
        (copy / "events.jsonl").write_bytes((case / "events.jsonl").read_bytes())
        fixtures.remake(copy)
        for name in ("state.json", "digest.txt"):
            assert (copy / name).read_bytes() == (case / name).read_bytes()


def test_a_digest_is_of_every_column(tmp_path: Path) -> None:
    """Any change of any value of any row changes it."""
    with fixtures.load(ROOT / "settings") as store:
        with store.reading() as db:
            before = digests.of_area(db, catalogue.BY_NAME["settings"])
        store.transact(lambda t: t.db.execute("UPDATE settings_values SET value = '61' WHERE name = 'brightness'") and None)
        with store.reading() as db:
            assert digests.of_area(db, catalogue.BY_NAME["settings"]) != before
