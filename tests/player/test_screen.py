"""The published screen is whole or absent, whatever its writer does."""

import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from player.screen import FACTS_SIZE_MAX_BYTES, Screen, ScreenReader, ScreenWriter, process_runs, screen_path

WIDTH, HEIGHT = 24, 32
DEADLINE_S = 20.0

HAMMER = """
import sys
from pathlib import Path
from player.screen import ScreenWriter

writer = ScreenWriter(Path(sys.argv[1]), 240, 320, driver="hammer")
pictures = [bytes([n]) * (2 * 240 * 320) for n in range(256)]
n = 0
while True:
    n += 1
    writer.publish(pictures[n % 256], planned_us=n, position=2 * n, wall_us=3 * n)
    writer.publish_facts(b"%d " % n * 256)
    if n == 1:
        print("ready", flush=True)
"""

KILLED_IN_PUBLISH = """
import os, signal, sys
from pathlib import Path
import player.screen
from player.screen import ScreenWriter

writer = ScreenWriter(Path(sys.argv[1]), 24, 32, driver="doomed")
for n in range(1, int(sys.argv[2]) + 1):
    writer.publish(bytes([n]) * (2 * 24 * 32), planned_us=n, position=n, wall_us=n)
    writer.publish_facts(b"%d" % n)

parts = 0
def die(part, total=0):
    global parts
    parts += 1
    if parts == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return 0

player.screen.crc32 = die
writer.publish(b"\\xff" * (2 * 24 * 32), planned_us=99, position=99, wall_us=99)
"""

ONE_PICTURE = """
import sys
from pathlib import Path
from player.screen import ScreenWriter

writer = ScreenWriter(Path(sys.argv[1]), 24, 32, driver="other")
writer.publish(b"\\x42" * (2 * 24 * 32), planned_us=1, position=2, wall_us=3)
print("ready", flush=True)
sys.stdin.read()
writer.close()
"""


@contextmanager
def other_process(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs `script`; killed and waited for at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


def wait_ready(process: subprocess.Popen[str]) -> None:
    """Wait until the process says that it has published."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def wait_gone(reader: ScreenReader) -> None:
    """Wait until the reader finds no live writer."""
    deadline_s = time.monotonic() + DEADLINE_S
    while reader.live_sequence() is not None:
        assert time.monotonic() < deadline_s


def picture(value: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A picture of one colour."""
    return bytes([value]) * (2 * width * height)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the screen is published."""
    return tmp_path / "test.screen"


def test_what_was_published_is_read_back_whole(path: Path) -> None:
    """Every field of the newest picture arrives."""
    writer, reader = ScreenWriter(path, WIDTH, HEIGHT, driver="sim:st7789"), ScreenReader(path)
    writer.publish(picture(1), planned_us=10, position=20, wall_us=30)
    writer.publish(picture(2), planned_us=-11, position=21, wall_us=31)
    screen = reader.read()
    assert screen == Screen(
        width=WIDTH,
        height=HEIGHT,
        planned_us=-11,
        position=21,
        published_us=31,
        sequence=screen.sequence if screen else -1,
        ram=picture(2),
        driver="sim:st7789",
    )
    writer.close()
    reader.close()


def test_each_publication_raises_the_sequence_by_one_and_reading_does_not(path: Path) -> None:
    """`live_sequence` tells a poller whether there is a new picture, and equals what `read` then says."""
    writer, reader = ScreenWriter(path, WIDTH, HEIGHT), ScreenReader(path)
    seen: list[int | None] = []
    for n in range(4):
        writer.publish(picture(n), planned_us=n, position=n, wall_us=n)
        screen = reader.read()
        assert screen is not None
        assert screen.sequence == reader.live_sequence() == reader.live_sequence()
        seen.append(screen.sequence)
    first = seen[0]
    assert first is not None
    assert seen == [first, first + 1, first + 2, first + 3]
    writer.close()


def test_facts_are_published_beside_the_picture(path: Path) -> None:
    """Facts change without a new picture, and the picture keeps its sequence."""
    writer, reader = ScreenWriter(path, WIDTH, HEIGHT), ScreenReader(path)
    writer.publish(picture(1), planned_us=1, position=1, wall_us=1)
    before = reader.live_sequence()
    assert reader.facts() is None
    writer.publish_facts(b'{"playing":true}')
    assert reader.facts() == b'{"playing":true}'
    writer.publish_facts(b"x" * FACTS_SIZE_MAX_BYTES)
    assert reader.facts() == b"x" * FACTS_SIZE_MAX_BYTES
    writer.publish_facts(b"")
    assert reader.facts() == b""
    assert reader.live_sequence() == before
    with pytest.raises(ValueError, match="4097 bytes"):
        writer.publish_facts(b"x" * (FACTS_SIZE_MAX_BYTES + 1))
    writer.close()


def test_there_is_no_screen_without_a_writer_or_a_picture(path: Path) -> None:
    """No file and no picture yet both read as None; a reader made before the writer finds it later."""
    reader = ScreenReader(path)
    assert (reader.read(), reader.facts(), reader.live_sequence()) == (None, None, None)
    writer = ScreenWriter(path, WIDTH, HEIGHT)
    assert (reader.read(), reader.facts(), reader.live_sequence()) == (None, None, None)
    writer.publish(picture(1), planned_us=1, position=1, wall_us=1)
    assert reader.live_sequence() is not None
    writer.close()


def test_a_writer_that_ended_is_not_live_any_more(path: Path) -> None:
    """After `close` there is no screen, no file, and no further publishing; closing again is harmless."""
    writer, reader = ScreenWriter(path, WIDTH, HEIGHT), ScreenReader(path)
    writer.publish(picture(1), planned_us=1, position=1, wall_us=1)
    assert reader.read() is not None
    writer.close()
    writer.close()
    assert (reader.read(), reader.live_sequence()) == (None, None)
    assert list(path.parent.iterdir()) == []
    for publish in (
        lambda: writer.publish(picture(1), planned_us=1, position=1, wall_us=1),
        lambda: writer.publish_facts(b"{}"),
    ):
        with pytest.raises(ValueError, match="closed"):
            publish()


def test_the_mark_of_the_end_counts_even_while_the_file_stays(path: Path) -> None:
    """A reader that keeps another name of the file sees the mark itself."""
    writer = ScreenWriter(path, WIDTH, HEIGHT)
    writer.publish(picture(1), planned_us=1, position=1, wall_us=1)
    kept = path.with_name("kept")
    os.link(path, kept)
    reader = ScreenReader(kept)
    assert reader.read() is not None
    writer.close()
    assert kept.exists()
    assert reader.read() is None


def test_a_new_writer_of_another_size_is_followed(path: Path) -> None:
    """The reader re-opens by the new inode, sequences go on rising, and the old writer does not remove the
    new file."""
    old, reader = ScreenWriter(path, WIDTH, HEIGHT, driver="old"), ScreenReader(path)
    old.publish(picture(1), planned_us=1, position=1, wall_us=1)
    before = reader.read()
    new = ScreenWriter(path, 40, 50, driver="new")
    assert reader.read() is None
    new.publish(picture(2, 40, 50), planned_us=2, position=2, wall_us=2)
    old.publish(picture(3), planned_us=3, position=3, wall_us=3)
    old.close()
    after = reader.read()
    assert before is not None
    assert after is not None
    assert (after.width, after.height, after.driver, after.ram) == (40, 50, "new", picture(2, 40, 50))
    assert after.sequence > before.sequence
    new.close()


def test_a_picture_of_another_size_is_refused(path: Path) -> None:
    """The writer knows its size; so do impossible screens."""
    writer = ScreenWriter(path, WIDTH, HEIGHT)
    with pytest.raises(ValueError, match="1536 bytes, not 4"):
        writer.publish(b"1234", planned_us=1, position=1, wall_us=1)
    writer.close()
    for width, height, driver in ((0, 1, ""), (1, -1, ""), (4097, 4097, ""), (1, 1, "d" * 29)):
        with pytest.raises(ValueError, match="no screen has"):
            ScreenWriter(path, width, height, driver=driver)
    assert not path.exists()


def test_readers_never_see_a_torn_picture(path: Path) -> None:
    """A writer in another process publishes as fast as it can; each picture and its facts are of one
    publication."""
    reader = ScreenReader(path)
    with other_process(HAMMER, path) as process:
        wait_ready(process)
        numbers: list[int] = []
        end_s = time.monotonic() + 1.0
        while time.monotonic() < end_s:
            screen, facts = reader.read(), reader.facts()
            assert screen is not None
            assert facts is not None or screen.planned_us == 1
            n = screen.planned_us
            assert (screen.position, screen.published_us) == (2 * n, 3 * n)
            assert screen.ram == bytes([n % 256]) * len(screen.ram)
            if facts is not None:
                assert facts == facts[: len(facts) // 256] * 256
            numbers.append(n)
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 10
    wait_gone(reader)


@pytest.mark.parametrize("published", [1, 2, 3])
@pytest.mark.parametrize("part", [1, 2, 3])
def test_a_writer_killed_in_the_middle_leaves_the_picture_before(path: Path, published: int, part: int) -> None:
    """After SIGKILL inside a publication the other slot is whole; by default such a writer counts as gone."""
    with other_process(KILLED_IN_PUBLISH, path, published, part) as process:
        assert process.wait(timeout=DEADLINE_S) == -signal.SIGKILL
    witness = ScreenReader(path, is_running=lambda pid, start_ticks: True)
    screen = witness.read()
    assert screen is not None
    assert (screen.planned_us, screen.ram) == (published, picture(published))
    assert screen.sequence == witness.live_sequence()
    assert witness.facts() == b"%d" % published
    assert ScreenReader(path).read() is None


def test_a_killed_writer_is_noticed_and_its_successor_found(path: Path) -> None:
    """SIGKILL leaves the file behind; readers say None until another writer replaces it."""
    reader = ScreenReader(path)
    with other_process(ONE_PICTURE, path) as process:
        wait_ready(process)
        screen = reader.read()
        assert screen is not None
        assert (screen.driver, screen.ram) == ("other", picture(0x42))
        process.kill()
        wait_gone(reader)  # also while the dead process has not been waited for
        assert path.exists()
    assert reader.read() is None
    successor = ScreenWriter(path, WIDTH, HEIGHT)
    successor.publish(picture(7), planned_us=1, position=1, wall_us=1)
    found = reader.read()
    assert found is not None
    assert found.ram == picture(7)
    successor.close()


def test_a_recycled_process_id_is_not_believed() -> None:
    """The same id with another start time is another process."""
    stat = Path(f"/proc/{os.getpid()}/stat").read_bytes()
    started = int(stat.rpartition(b")")[2].split()[19])
    assert process_runs(os.getpid(), started)
    assert not process_runs(os.getpid(), started + 1)


def test_a_damaged_slot_is_passed_over(path: Path) -> None:
    """When the newest picture does not match its checksum, the one before it is the answer."""
    writer = ScreenWriter(path, WIDTH, HEIGHT)
    writer.publish(picture(1), planned_us=1, position=1, wall_us=1)
    writer.publish(picture(2), planned_us=2, position=2, wall_us=2)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        at = memory.rfind(picture(2))
        memory[at + 100] = 3
    screen = ScreenReader(path).read()
    assert screen is not None
    assert (screen.planned_us, screen.ram) == (1, picture(1))
    writer.close()


@pytest.mark.parametrize("content", [b"", b"short", b"PXSCREEN" + b"\xff" * 56, b"\0" * 64, b"PXSCREEN\1" + b"\0" * 500])
def test_a_file_that_is_no_screen_is_not_read(path: Path, content: bytes) -> None:
    """Garbage at the path reads as no screen, and a writer replaces it."""
    path.write_bytes(content)
    reader = ScreenReader(path)
    assert (reader.read(), reader.facts(), reader.live_sequence()) == (None, None, None)
    writer = ScreenWriter(path, WIDTH, HEIGHT)
    writer.publish(picture(1), planned_us=1, position=1, wall_us=1)
    assert reader.read() is not None
    writer.close()


def test_links_are_neither_followed_nor_written_through(path: Path) -> None:
    """In a folder that is everybody's, a planted link leads nowhere: it is replaced, its target is
    untouched."""
    target = path.with_name("target")
    target.write_bytes(b"precious")
    path.symlink_to(target)
    path.with_name(path.name + ".new").symlink_to(target)
    assert ScreenReader(path).read() is None
    writer = ScreenWriter(path, WIDTH, HEIGHT)
    assert target.read_bytes() == b"precious"
    assert path.stat().st_mode & 0o777 == 0o600
    writer.close()


def test_a_folder_without_room_is_an_error_that_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The space is reserved at the start, so a full file system is told then and not by a signal later."""

    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        ScreenWriter(path, WIDTH, HEIGHT)
    assert list(path.parent.iterdir()) == []


def test_player_and_service_of_one_data_directory_meet_at_one_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path depends on the directory and on nothing else, and lies outside it, in memory where there is
    some."""
    (tmp_path / "data").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "data")
    one = screen_path(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert screen_path(Path("data")) == screen_path(tmp_path / "alias") == one
    assert screen_path(tmp_path) != one
    assert one.parent == Path("/dev/shm")
