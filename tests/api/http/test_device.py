"""GET /device against a real service, over the machine that the tests run on and one of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

MODEL = "Raspberry Pi Zero 2 W Rev 1.0"


def test_the_machine_is_live(shared: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The answer is of this moment: no tag, not stored, and another one when the machine changed."""
    for name, text in (
        ("proc/device-tree/model", MODEL + "\0"),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("PIXELOG_MACHINE_ROOT", str(tmp_path))
    answer = shared.get("/device")
    assert (answer.status_code, answer.headers["cache-control"], "etag" in answer.headers) == (200, "no-store", False)
    body = answer.json()
    assert (body["model"], body["power"]) == (
        MODEL,
        {"underVoltage": True, "underVoltageSeen": True, "throttled": True, "throttledSeen": True},
    )
    assert {"under_voltage", "throttled"} <= set(body["conditions"])
    assert body["disk"]["totalBytes"] >= body["disk"]["freeBytes"] > 0
    (tmp_path / "sys/devices/platform/soc/soc:firmware/get_throttled").write_text("50000\n")
    assert not {"under_voltage", "throttled"} & set(shared.get("/device").json()["conditions"])
    assert shared.head("/device").status_code == 200
    assert shared.post("/device").status_code == 405
