"""Hostile requests, by the hundred in `make test` and by the hundred thousand in `make fuzz`: no 5xx, no hang, no event that cannot be folded.

The seed is printed when something is found; PIXELOG_FUZZ_SEED repeats it, PIXELOG_FUZZ_REQUESTS says how many.
"""

from __future__ import annotations

import json
import os
import random
import string
from pathlib import Path
from typing import Any

import pytest

from api.http.app import routes
from tests.api.http.conftest import GIF, House, serve

REQUESTS = 600
CHECKED_EVERY = 5_000
"""Requests between two looks at the log and its tables."""

METHODS = ("GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")
ENDLESS = ("/events/stream", "/screen.mjpeg")
"""Routes whose answer does not end."""
WORDS = (
    "clock",
    "a/b",
    "..",
    "%00",
    "%",
    "%2e%2e%2f",
    "☃",
    "'; DROP TABLE events;--",
    "0",
    "-1",
    "9" * 30,
    "null",
    " ",
    "x" * 300,
)
NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 1e308, 1e-300, 0.1, True, False)


def value(random: random.Random, depth: int = 0) -> Any:
    """Any JSON value, mostly an unfriendly one."""
    kind = random.randrange(8 if depth < 4 else 5)
    match kind:
        case 0:
            return None
        case 1:
            return random.choice(NUMBERS)
        case 2 | 3:
            return random.choice(WORDS)
        case 4:
            return "".join(
                chr(random.choice((9, 0, 0x7F, 0x202E, 0x1F600, 0xFFFF, ord("a")))) for _ in range(random.randrange(9))
            )
        case 5 | 6:
            names = (
                "slug",
                "items",
                "text",
                "priority",
                "ttlSeconds",
                "facts",
                "kinds",
                "worker",
                "leaseSeconds",
                "id",
                "when",
                "at",
            )
            return {random.choice((*names, *WORDS)): value(random, depth + 1) for _ in range(random.randrange(5))}
        case _:
            return [value(random, depth + 1) for _ in range(random.randrange(5))]


def likely(random: random.Random, template: str) -> Any:
    """A body that is nearly right for a route, so that what lies behind the first check is met, too."""
    slug = random.choice(WORDS)
    bodies: dict[str, Any] = {
        "/active": {"slug": slug},
        "/loop": {
            "items": [{"slug": slug, "repeat": random.choice(NUMBERS), "when": value(random)}],
            "mode": random.choice(("all", "x")),
        },
        "/loop/items": {"slug": slug, "at": random.choice(NUMBERS)},
        "/messages": {"text": slug, "priority": random.choice(("info", "critical", "x")), "ttlSeconds": random.choice(NUMBERS)},
        "/heartbeats": {"service": slug, "status": "ok", "details": value(random)},
        "/jobs": {"kind": slug, "title": slug, "input": value(random), "priority": random.choice(NUMBERS), "dedupeKey": slug},
        "/jobs/claim": {"kinds": [slug], "worker": slug, "leaseSeconds": random.choice(NUMBERS)},
        "/settings": {random.choice(("brightness", "rotation", "timeZone", "defaultDuration", "name")): value(random)},
        "/player/jump": {"slug": slug},
        "/player/facts": {"facts": [{"fact": random.choice(("shown", "played", "lost", "x")), "slug": slug, "driver": slug}]},
    }
    return next((body for end, body in bodies.items() if template.endswith(end)), value(random))


def ask(house: House, random: random.Random, templates: list[str]) -> None:
    """One request; the answer must be one that the contract knows."""
    template = random.choice(templates)
    path = "/".join(random.choice(WORDS) if "{" in part else part for part in template.split("/"))
    query = "" if random.random() < 0.6 else "?" + "&".join(
        f"{random.choice(('limit', 'cursor', 'q', 'sort', 'after', 'at', 'status', 'type', 'through'))}={random.choice(WORDS)}" for _ in range(2)
    )  # fmt: skip
    body = likely(random, template) if random.random() < 0.7 else value(random)
    content = (
        json.dumps(body).encode() if random.random() < 0.9 else bytes(random.randrange(256) for _ in range(random.randrange(60)))
    )
    headers = {"content-type": random.choice(("application/json", "text/plain", "multipart/form-data; boundary=x", ""))}
    if random.random() < 0.8:
        headers["content-type"] = "application/json"
    for name in ("if-match", "if-none-match", "idempotency-key", "range", "last-event-id"):
        if random.random() < 0.15:
            headers[name] = "".join(random.choice(string.printable[:94]) for _ in range(random.randrange(1, 20)))
    url = (
        house.url
        + path.replace("☃", "%E2%98%83").replace(" ", "%20").replace("'", "%27").replace(";", "%3B")
        + query.replace("☃", "%E2%98%83").replace(" ", "+").replace(";", "%3B").replace("'", "%27")
    )
    try:
        answer = house.request(random.choice(METHODS), url, content=content, headers=headers)
    except UnicodeEncodeError:
        return
    no_player = (
        answer.status_code == 503 and answer.request.method != "HEAD" and answer.json()["type"] == "/problems/no-player"
    )  # the truth: none runs here
    assert answer.status_code < 500 or no_player or (answer.request.method, answer.status_code) == ("HEAD", 503), (
        answer.request.method,
        url,
        content,
        headers,
        answer.text,
    )
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status", "detail", "instance"} <= answer.json().keys()


@pytest.mark.timeout(0 if "PIXELOG_FUZZ_REQUESTS" in os.environ else 120)
def test_hostile_requests_harm_nothing(tmp_path: Path) -> None:
    """Whatever is asked, the answer is an expected one, and afterwards the tables equal a fresh fold of the log."""
    seed = int(os.environ.get("PIXELOG_FUZZ_SEED", "20260131"))
    count = int(os.environ.get("PIXELOG_FUZZ_REQUESTS", str(REQUESTS)))
    templates = [route.template for route in routes() if not route.template.endswith(ENDLESS)]
    chance = random.Random(seed)
    with serve(tmp_path / "data") as house:
        house.upload("clock.gif", GIF)
        for number in range(count):
            try:
                ask(house, chance, templates)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, request {number}: {error}") from error
            if number % CHECKED_EVERY == CHECKED_EVERY - 1:
                check(house)
        check(house)
        assert house.get("/dashboard").status_code == 200


def check(house: House) -> None:
    """The log is whole and the tables are what it folds to."""
    from projections import folding

    assert house.service.store.verify() == []
    with house.service.store.snapshot() as db:
        fresh = folding.fold_to(db, house.service.store.head().position)
        for table in folding.all_tables():
            rows = fresh.rows[table.name]
            assert list(folding.table_rows(db, table)) == [tuple(rows[key]) for key in sorted(rows)], table.name
