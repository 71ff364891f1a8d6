"""LOOP's settings where they are of another kind than LOOP wrote them: taken where that is plain, and told either way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from moves import Move

NUMBER_AS_TEXT = "it is a text, not a number; taken as"


@pytest.mark.parametrize(
    ("section", "key", "found", "name", "here", "why"),
    [
        ("display", "brightness", "80", "brightness", 80, f"{NUMBER_AS_TEXT} 80"),
        ("display", "brightness", "250", "brightness", 100, "'250' is taken as 100"),
        ("display", "rotation", "270", "rotation", 270, f"{NUMBER_AS_TEXT} 270"),
        ("media", "static_image_duration_sec", "7.5", "defaultDuration", 7.5, f"{NUMBER_AS_TEXT} 7.5"),
    ],
)
def test_a_number_written_as_text_is_taken_and_told(
    move: Move, section: str, key: str, found: str, name: str, here: Any, why: str
) -> None:
    """Once, with its key."""
    move.index({})
    (move.source / "config.json").write_text(json.dumps({section: {key: found}}))
    report = move.adopt(verify=True)
    assert [(one.key, one.why) for one in report.warnings] == [(f"config/{section}.{key}", why)]
    assert (report.skipped, report.differences) == ((), ())
    with move.state() as state:
        assert state.get_settings()[name] == here


def test_a_text_that_no_setting_can_have_is_left_out_once(move: Move) -> None:
    """It is not told as taken, too."""
    move.index({})
    (move.source / "config.json").write_text('{"display": {"rotation": "45"}}')
    report = move.adopt()
    assert ([one.key for one in report.skipped], report.warnings) == (["config/display.rotation"], ())
