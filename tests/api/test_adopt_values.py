"""Single values of older installations in our forms: times, numbers, free JSON, secrets."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.adopt import hiding, values


@pytest.mark.parametrize(
    ("found", "iso"),
    [
        ("2025-06-20T10:11:12.123456Z", "2025-06-20T10:11:12.123Z"),
        ("2025-06-20T10:11:12Z", "2025-06-20T10:11:12Z"),
        ("2025-06-20T10:11:12", "2025-06-20T10:11:12Z"),
        ("2025-06-20 10:11:12", "2025-06-20T10:11:12Z"),
        ("2025-06-20T10:11:12.5+02:00", "2025-06-20T08:11:12.500Z"),
        ("2025-06-20T10:11:12-0130", "2025-06-20T11:41:12Z"),
        ("2025-06-20T10:11:12+02", "2025-06-20T08:11:12Z"),
        ("2025-06-20T10:11:12.Z", "2025-06-20T10:11:12Z"),
        ("2025-06-20 10:11:12+00:00Z", "2025-06-20T10:11:12Z"),
        ("2025-06-20T10:11:12.123+00:00Z", "2025-06-20T10:11:12.123Z"),
        ("2025-06-20T10:11:12.999999999Z", "2025-06-20T10:11:12.999Z"),
        ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
        (1751000407, "2025-06-27T05:00:07Z"),
        (1749910312.7741, "2025-06-14T14:11:52.774Z"),
        (1751065195.2496, "2025-06-27T22:59:55.250Z"),
        (1751000407123, "2025-06-27T05:00:07.123Z"),
        ("1751000407", "2025-06-27T05:00:07Z"),
        ("1751000407.25", "2025-06-27T05:00:07.250Z"),
        ("1751000407123", "2025-06-27T05:00:07.123Z"),
        (100_000_000_000, "1973-03-03T09:46:40Z"),
        (99_999_999_999, "5138-11-16T09:46:39Z"),
        (0, "1970-01-01T00:00:00Z"),
    ],
)
def test_times_are_read_in_every_form_that_was_written(found: object, iso: str) -> None:
    """ISO text with, without and with a malformed offset; epoch seconds and milliseconds; fractions cut off in text, rounded in numbers."""
    time_us = values.instant_us(found)
    assert time_us is not None
    assert time_us % 1000 == 0
    assert values.iso(time_us) == iso


@pytest.mark.parametrize(
    "found",
    ["", "yesterday", "2025-06-20", "2025-13-01T00:00:00Z", "2025-06-20T25:00:00Z", "2025-06-20T10:11:12+99:00", "٢٠٢٥-06-20T10:11:12Z",
     None, True, [], math.nan, math.inf, 10**30, "1e99", "9" * 40],
)  # fmt: skip
def test_what_is_no_time_is_null(found: object) -> None:
    """Anything else is null, and the record is kept by the caller."""
    assert values.instant_us(found) is None


@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),
    st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    st.sampled_from(["T", " "]),
)
def test_any_instant_comes_back_to_the_millisecond(naive: datetime, zone: timezone, separator: str) -> None:
    """Whatever the offset, the instant is the same, with the microseconds cut off."""
    moment = naive.replace(tzinfo=zone)
    if not datetime(1, 1, 1, tzinfo=UTC) <= moment.astimezone(UTC):
        return
    exact = moment.astimezone(UTC)
    time_us = values.instant_us(moment.isoformat(separator))
    assert time_us == (exact - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) * 1000
    assert values.instant_us(values.iso(time_us)) == time_us


@pytest.mark.parametrize(
    ("found", "size"),
    [(7, 7), (7.0, 7), ("7", 7), ("7.0", 7), (0, 0), ("734003", 734003), (-1, None), (7.5, None), ("x", None), (True, None), (None, None),
     (2**60, None), (math.nan, None)],
)  # fmt: skip
def test_sizes_are_whole_numbers(found: object, size: int | None) -> None:
    """Whole numbers as int, integral float or decimal text."""
    assert values.size(found) == size


def test_free_json_becomes_what_json_can_carry() -> None:
    """No NaN, no number beyond 64 bits, no half character, no bottomless nesting."""
    deep: list[object] = []
    for _ in range(500):
        deep = [deep]
    assert values.plain({"a": math.nan, "b": 2**70, "c": "x\ud800y", "d": [1, b"\xff"]}) == {
        "a": None,
        "b": str(2**70),
        "c": "x�y",
        "d": [1, "ff"],
    }
    assert str(values.plain(deep)).count("[") <= values.DEPTH_MAX + 1


def test_secrets_are_taken_out_wherever_they_are() -> None:
    """Values under telling names and addresses with a password leave, with their paths; what is empty is none."""
    found = {
        "wifi": {"ssid": "Net", "password": "FAKE-1", "hotspot_password": ""},
        "sync": {"server_url": "https://me:FAKE-2@host.example.test/x", "api_key": "FAKE-3", "tokens": ["FAKE-4"]},
        "list": [{"secret": "FAKE-5", "plain": 1}, "text"],
        "api_keys": {"radio": "FAKE-6"},
        "user": {"passwordHash": "FAKE-7", "aes_key": 8, "hasPassword": True, "tokens": []},
        "passed": 3,
    }
    kept, secrets = hiding.without_secrets(found, "config.")
    assert kept == {"wifi": {"ssid": "Net", "hotspot_password": ""}, "sync": {}, "list": [{"plain": 1}, "text"],
                    "user": {"hasPassword": True, "tokens": []}, "passed": 3}  # fmt: skip
    assert secrets == {
        "config.wifi.password": "FAKE-1",
        "config.sync.server_url": "https://me:FAKE-2@host.example.test/x",
        "config.sync.api_key": "FAKE-3",
        "config.sync.tokens": ["FAKE-4"],
        "config.list.0.secret": "FAKE-5",
        "config.api_keys": {"radio": "FAKE-6"},
        "config.user.passwordHash": "FAKE-7",
        "config.user.aes_key": 8,
    }


@pytest.mark.parametrize(
    ("found", "sentence", "name"),
    [
        ("http://host:8080/feed/@me", None, None),
        ("Secret: the garden.mp4", None, None),
        ("Basic training.gif", None, None),
        ("the bearer of news", None, None),
        ("https://u:p@ss@h:80/x", "https://…@h:80/x", "https://…@h:80/x"),
        ("git+ssh://ghp_1234567890123456789012@h/a", "git+ssh://…@h/a", "git+ssh://…@h/a"),
        ("https://h/x?api_key=abc&y=2", "https://h/x?api_key=…&y=2", None),
        ("the Wi-Fi password: 'hunter 2', twice", "the Wi-Fi password: …, twice", None),
        ("{'access_token=x': 1, 'wpa_key': 'FAKE'}", "{'access_token=…': 1, 'wpa_key': …}", None),
        ("Authorization: Basic ZjpmYWtl refused", "Authorization: Basic … refused", None),
    ],
)
def test_secrets_in_a_text_are_covered(found: str, sentence: str | None, name: str | None) -> None:
    """In a sentence whatever is written like one; in a name only what opens an address. Covered texts stay as they are."""
    assert (hiding.covered(found), hiding.covered_addresses(found)) == (sentence or found, name or found)
    assert hiding.covered(hiding.covered(found)) == hiding.covered(found)
