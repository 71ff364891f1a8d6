"""After a failed sync the system may take for written what is not: nothing is written behind that, by nobody."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from eventstore.errors import Stopped, Unusable
from eventstore.head import runtime_folder
from eventstore.store import EventStore
from eventstore.testing.faults import Fault, FaultyVFS
from tests.eventstore.conftest import event, texts


def after_a_cut(path: Path, first: int, last: int, folder: Path) -> list[str]:
    """What a start finds when these bytes of the write-ahead log never reached the disk."""
    folder.mkdir()
    shutil.copy(path, folder / path.name)
    log = bytearray(Path(f"{path}-wal").read_bytes())
    log[first:last] = bytes(max(0, min(last, len(log)) - first))
    Path(f"{folder / path.name}-wal").write_bytes(log)
    with EventStore.open(folder / path.name) as store:
        return texts(store)


@pytest.mark.parametrize("relaxed", [False, True])
def test_what_is_acknowledged_after_a_new_start_survives_a_cut(path: Path, tmp_path: Path, relaxed: bool) -> None:
    """The pages of the failed sync are in the page cache only; the log that is opened anew brings them to the disk first."""
    log = Path(f"{path}-wal")
    with FaultyVFS("doubt") as vfs:
        store = EventStore.open(path, vfs=vfs.name)
        store.append("s", event("one"))
        first = log.stat().st_size
        if relaxed:
            store.append("s", event("relaxed"), durable=False)
        vfs.plant(Fault("eio", 1, ("sync",), for_good=True))
        with pytest.raises(Stopped):
            store.append("s", event("two"))
        last = log.stat().st_size
        store.close()
        assert vfs.fired
        vfs.plant(None)
        with EventStore.open(path, vfs=vfs.name) as store:
            answer = store.append("s", event("three"))
            kept = after_a_cut(path, first, last, tmp_path / "cut")
    assert (kept[0], kept[-1], len(kept)) == (event("one").data, event("three").data, answer.position)


@pytest.mark.parametrize("way", ["commit", "checkpoint", "checkpoint after a commit"])
def test_another_process_does_not_write_behind_it_either(path: Path, way: str) -> None:
    """Whoever has the log open when somebody's sync fails stops at the next commit; a start waits until all have ended."""
    with FaultyVFS("doubt") as vfs:
        failing, other = EventStore.open(path, vfs=vfs.name), EventStore.open(path)
        other.append("s", event("one"))
        assert failing.writer is not None
        if way == "commit":
            vfs.plant(Fault("eio", 1, ("sync",), for_good=True))
            with pytest.raises(Stopped):
                failing.append("s", event("two"))
        elif way == "checkpoint":
            vfs.plant(Fault("eio", 1, ("sync",), for_good=True))
            with pytest.raises(Stopped):
                failing.writer.checkpoint(0)
        else:
            failing.writer._checkpoint_at = 1
            vfs.plant(Fault("eio", 2, ("sync",), for_good=True))
            failing.append("s", event("two"))
        assert vfs.fired
        vfs.plant(None)
        for _ in range(2):
            with pytest.raises(Stopped, match="failed in another program"):
                other.append("s", event("three"))
        with other.snapshot() as db:
            kept: int = db.execute("SELECT count(*) FROM events").get
            assert kept == 1 + (way == "checkpoint after a commit")
            with pytest.raises(Unusable, match="end every program"):
                EventStore.open(path)
        failing.close()
        other.close()
    note = runtime_folder(path.parent) / f"{path.name}.doubted"
    assert note.exists()
    with EventStore.open(path) as store:
        assert store.append("s", event("three")).position == kept + 1
    assert not note.exists()
