"""A full disk at the door: the upload is refused, and the upkeep hears how much room it lacked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from api.device.facts import DISK_KEPT_BYTES
from api.http import door
from api.upkeep import Upkeep
from eventstore.blobs import BlobWriter

MIB = 1024 * 1024


@pytest.fixture
def wanted(house: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what had no room, as the service's upkeep heard of them."""
    heard: list[int] = []
    monkeypatch.setattr(Upkeep, "want_room", lambda self, size_bytes: heard.append(size_bytes))  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType]
    house.service.upkeep = Upkeep(house.service.data, house.service.executor)
    return heard


def full(self: BlobWriter, chunk: bytes) -> None:
    """A disk that fills up on the way."""
    raise OSError(28, "No space left on device")


def test_a_file_larger_than_the_room_that_is_left(house: Any, wanted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before it is received, with what to do; its size as announced is what is lacking."""
    monkeypatch.setattr(door.Door, "free_bytes", lambda self: DISK_KEPT_BYTES + MIB)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    answer = house.upload("a", os.urandom(2 * MIB))
    assert answer.status_code == 507
    assert answer.json()["detail"] == (
        "the disk is full; what was removed is cleared away ten minutes later: upload it again then, or remove more"
    )
    (size_bytes,) = wanted
    assert 2 * MIB < size_bytes < 2 * MIB + 1_000


def test_the_last_of_the_disk_is_not_for_files(house: Any, wanted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Several that fit one by one, or one that did not say how large it is, end before the disk does; nothing of them is left."""
    left = [3 * MIB]

    def write(self: BlobWriter, chunk: bytes) -> None:
        left[0] -= len(chunk)
        plain(self, chunk)

    plain = BlobWriter.write
    monkeypatch.setattr(BlobWriter, "write", write)
    monkeypatch.setattr(door.Door, "free_bytes", lambda self: DISK_KEPT_BYTES + left[0])  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]

    def pieces() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(32):
            yield os.urandom(MIB // 4)
        yield b"\r\n--b--\r\n"

    answer = house.post("/media", content=pieces(), headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 507
    assert 3 * MIB <= wanted[0] < 8 * MIB
    assert list(house.service.data.temporary.iterdir()) == []
    assert list(house.service.data.blobs.rglob("*/*")) == []


def test_a_disk_that_fills_up_on_the_way(house: Any, wanted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """As announced; where nothing was, as much as had come."""
    monkeypatch.setattr(BlobWriter, "write", full)
    assert house.upload("a", b"x" * 1_000).status_code == 507
    (size_bytes,) = wanted
    assert 1_000 < size_bytes < 2_000


def test_a_service_without_upkeep(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuses all the same."""
    monkeypatch.setattr(BlobWriter, "write", full)
    assert house.upload("a", b"x").status_code == 507
