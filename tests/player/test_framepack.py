"""The frame pack: what is written is read back, and nothing damaged is ever shown."""

import io
import random
import struct
import zlib
from pathlib import Path

import pytest

from player.framepack import FramePack, PackDamaged, PackWriter, runs
from player.pixels import Rect, changed_rects, paste

WIDTH, HEIGHT = 24, 20
SIZE = WIDTH * HEIGHT * 2


def packed(frames: list[bytes], delays: list[int] | None = None) -> bytes:
    file = io.BytesIO()
    writer = PackWriter(file, WIDTH, HEIGHT)
    for index, frame in enumerate(frames):
        writer.add(frame, delays[index] if delays else 40_000)
    writer.finish()
    assert writer.size_bytes == len(file.getvalue())
    return file.getvalue()


def kinds(pack: bytes) -> str:
    """One letter a frame, read from the index by the documented offsets: k, d or s."""
    index_at, count = struct.unpack_from(">QI", pack, len(pack) - 24)
    return "".join("kds"[pack[index_at + 32 * frame + 24]] for frame in range(count))


def walk(count: int) -> list[bytes]:
    """A dot that moves one pixel a frame over noise."""
    base = random.Random(7).randbytes(SIZE)
    frames: list[bytes] = []
    for step in range(count):
        frame = bytearray(base)
        paste(frame, WIDTH, Rect(step % WIDTH, 3, 1, 1), b"\xab\xcd")
        frames.append(bytes(frame))
    return frames


def read_all(path: Path) -> list[bytes]:
    with FramePack.open(path) as pack:
        return [pack.frame(index) for index in range(pack.frame_count)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.pack"


def test_frames_come_back_in_any_order(path: Path) -> None:
    """Keys, deltas and equal frames read back in order, backwards, at random and from the start again."""
    frames = [*walk(80), *[walk(80)[-1]] * 3, random.Random(1).randbytes(SIZE), bytes(SIZE)]
    path.write_bytes(packed(frames, list(range(len(frames)))))
    order = [*range(len(frames)), *reversed(range(len(frames)))]
    order += [random.Random(2).randrange(len(frames)) for _ in range(100)]
    with FramePack.open(path) as pack:
        assert (pack.width, pack.height, pack.frame_count) == (WIDTH, HEIGHT, len(frames))
        assert pack.delays_us == tuple(range(len(frames)))
        for index in order:
            assert pack.frame(index) == frames[index]


def test_changes_are_those_from_the_frame_before(path: Path) -> None:
    """Frame 0 changes everything, equal frames nothing, and a key in the middle only what really changed."""
    frames = [*walk(40), walk(40)[-1]]
    path.write_bytes(packed(frames))
    assert kinds(path.read_bytes()) == "k" + "d" * 31 + "k" + "d" * 7 + "s"
    with FramePack.open(path) as pack:
        assert pack.changes(0) == (Rect(0, 0, WIDTH, HEIGHT),)
        for index in range(1, 40):
            assert pack.changes(index) == changed_rects(frames[index - 1], frames[index], WIDTH, HEIGHT)
            assert len(pack.changes(index)) == 1
        assert pack.changes(40) == ()


def test_a_large_change_is_a_key(path: Path) -> None:
    """Up to 60 % of the pixels are a delta, one row more is a key."""
    base = bytes(SIZE)
    at_60, above_60 = bytearray(base), bytearray(base)
    paste(at_60, WIDTH, Rect(0, 0, WIDTH, 12), b"\xff" * (WIDTH * 24))
    paste(above_60, WIDTH, Rect(0, 0, WIDTH, 13), b"\xff" * (WIDTH * 26))
    assert kinds(packed([base, bytes(at_60)])) == "kd"
    assert kinds(packed([base, bytes(above_60)])) == "kk"


def test_the_layout_is_as_documented() -> None:
    """A pack of one 1 x 1 frame, byte for byte."""
    file = io.BytesIO()
    writer = PackWriter(file, 1, 1)
    writer.add(b"\x12\x34", 5)
    writer.finish()
    header = bytes.fromhex("50585041434b0d0a 0001 0001 0001 000000000000")
    record = bytes.fromhex("0001 0000 0000 0001 0001 1234")
    entry = struct.pack(">QQII", 24, 5, 12, zlib.crc32(record)) + bytes(8)
    trailer = struct.pack(">QII", 36, 1, zlib.crc32(entry))
    expected = header + struct.pack(">I", zlib.crc32(header)) + record + entry + trailer
    assert file.getvalue() == expected + struct.pack(">I", zlib.crc32(trailer)) + b"PXND"


def test_the_same_frames_give_the_same_file() -> None:
    """Two packs of the same input are equal bytes, and the writer's hash is that of the file."""
    import hashlib

    assert packed(walk(50)) == packed(walk(50))
    file = io.BytesIO()
    writer = PackWriter(file, WIDTH, HEIGHT)
    writer.add(bytes(SIZE), 0)
    writer.finish()
    assert writer.sha256 == hashlib.sha256(file.getvalue()).hexdigest()


def test_delays_may_be_longer_than_32_bits(path: Path) -> None:
    """An animated PNG may hold a frame for 65,535 s, which is kept exactly."""
    path.write_bytes(packed([bytes(SIZE)], [65_535_000_000]))
    with FramePack.open(path) as pack:
        assert pack.delays_us == (65_535_000_000,)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda pack: b"GIF89a" + pack[6:], "not_a_pack"),
        (lambda pack: pack[:8] + b"\x00\x02" + pack[10:], "newer_version"),
        (lambda pack: pack[:11] + bytes([pack[11] ^ 1]) + pack[12:], "damaged"),
        (lambda pack: pack[:-1], "truncated"),
        (lambda pack: pack[: len(pack) // 2], "truncated"),
        (lambda pack: pack[:30], "truncated"),
        (lambda pack: b"", "truncated"),
        (lambda pack: pack[:-24] + bytes([pack[-24] ^ 1]) + pack[-23:], "damaged"),
        (lambda pack: pack[:-30] + bytes([pack[-30] ^ 1]) + pack[-29:], "damaged"),
    ],
)
def test_damage_is_refused_on_opening(path: Path, spoil: object, code: str) -> None:
    """A foreign, newer, cut or changed header, index or trailer is refused with its code."""
    assert callable(spoil)
    path.write_bytes(spoil(packed(walk(5))))
    with pytest.raises(PackDamaged) as refused:
        FramePack.open(path)
    assert refused.value.code == code


def test_no_flipped_bit_goes_unseen(path: Path) -> None:
    """Whichever byte is changed, opening or reading raises PackDamaged; no wrong frame comes out."""
    frames = walk(4)
    pack = packed(frames)
    for at in [*range(120), *range(120, len(pack) - 160, 37), *range(len(pack) - 160, len(pack))]:
        path.write_bytes(pack[:at] + bytes([pack[at] ^ 0x10]) + pack[at + 1 :])
        with pytest.raises(PackDamaged):
            read_all(path)


def test_a_record_that_points_outside_is_refused(path: Path) -> None:
    """A rectangle outside the frame is refused although every checksum is right."""
    pack = bytearray(packed([bytes(SIZE)]))
    index_at = len(pack) - 24 - 32
    struct.pack_into(">H", pack, 24 + 2, 1)
    struct.pack_into(">I", pack, index_at + 20, zlib.crc32(pack[24:index_at]))
    struct.pack_into(">I", pack, len(pack) - 12, zlib.crc32(pack[index_at:-24]))
    struct.pack_into(">I", pack, len(pack) - 8, zlib.crc32(pack[-24:-8]))
    path.write_bytes(pack)
    with FramePack.open(path) as opened, pytest.raises(PackDamaged, match="does not fit"):
        opened.frame(0)


def test_what_cannot_be_packed_is_refused() -> None:
    """A frame of another size, a negative delay, a pack without frames and an impossible size are ValueErrors."""
    writer = PackWriter(io.BytesIO(), WIDTH, HEIGHT)
    with pytest.raises(ValueError, match=f"{SIZE} bytes, not 2"):
        writer.add(b"\0\0", 0)
    with pytest.raises(ValueError, match="-1"):
        writer.add(bytes(SIZE), -1)
    with pytest.raises(ValueError, match="at least one"):
        writer.finish()
    with pytest.raises(ValueError, match="0 x 5"):
        PackWriter(io.BytesIO(), 0, 5)


def test_frames_outside_the_pack_are_index_errors(path: Path) -> None:
    """There is no frame -1 and none after the last."""
    path.write_bytes(packed([bytes(SIZE)]))
    with FramePack.open(path) as pack:
        for index in (-1, 1):
            with pytest.raises(IndexError):
                pack.frame(index)


def test_runs_count_equal_delays() -> None:
    """Neighbouring equal delays become one run; none, no run."""
    assert runs([]) == ()
    assert runs([40, 40, 40, 100, 40]) == ((3, 40), (1, 100), (1, 40))
