"""What every route shares: problems, methods, HEAD and OPTIONS, bodies that are wrong."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.http import app
from api.http.requests import JSON_BYTES_MAX

TEMPLATES = sorted({route.template for route in app.routes()})


def path_of(template: str) -> str:
    """A path that matches a template."""
    return "/".join("x" if segment.startswith("{") else segment for segment in template.split("/"))


@pytest.mark.parametrize("template", TEMPLATES)
def test_head_and_options_are_everywhere(shared: Any, template: str) -> None:
    """OPTIONS answers 204 with Allow; HEAD is GET without a body, also where the body would be endless."""
    url = shared.url + path_of(template)
    options = httpx.options(url)
    allowed = options.headers["Allow"].split(", ")
    assert (options.status_code, options.content) == (204, b"")
    assert "OPTIONS" in allowed
    head = httpx.head(url)
    assert head.content == b""
    if "GET" in allowed:
        assert head.status_code in (200, 404, 422, 503)
    else:
        assert (head.status_code, head.headers["Allow"]) == (405, options.headers["Allow"])


@pytest.mark.parametrize("template", TEMPLATES)
def test_another_method_is_405_with_allow_as_a_problem(shared: Any, template: str) -> None:
    """The problem names what there is."""
    response = httpx.request("PROPFIND", shared.url + path_of(template))
    assert response.status_code == 405
    assert "OPTIONS" in response.headers["Allow"]
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["status"] == 405


@pytest.mark.parametrize(
    "path", ["/nope", "/api/v1/nope", "/api/v1", "/api/v1/media/", "/api/v1/media/%ff", "/api/v2/loop", "/static/../x"]
)
def test_unknown_paths_are_404_problems(shared: Any, path: str) -> None:
    """The problem has the five members of RFC 9457."""
    response = httpx.get(shared.url + path)
    body = response.json()
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"
    assert sorted(body) == ["detail", "instance", "status", "title", "type"]
    assert (body["status"], body["type"]) == (404, "/problems/not-found")


@pytest.mark.parametrize("content", [b"{", b"", b"nope", b'{"text": "a"} x', b'{"text": "\xff"}', b"[" * 5_000, b'{"text": NaN}'])
def test_malformed_json_is_400(shared: Any, content: bytes) -> None:
    """What is not JSON in UTF-8 says so, with and without a content type."""
    for headers in ({}, {"Content-Type": "application/json"}):
        response = shared.post("/messages", content=content, headers=headers)
        assert (response.status_code, response.json()["type"]) == (400, "/problems/malformed")


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"priority": "loud", "ttlSeconds": "x", "colour": 1}, ["/colour", "/priority", "/text", "/ttlSeconds"]),
        ({"text": 5}, ["/text"]),
        ({"text": ""}, ["/text"]),
        ([], [""]),
        ("text", [""]),
        ({"text": "a", "a/b~c": 1}, ["/a~1b~0c"]),
    ],
)
def test_well_formed_but_wrong_names_each_field(shared: Any, body: Any, pointers: list[str]) -> None:
    """Every wrong and unknown field has its pointer; nothing is appended."""
    before = shared.head_position()
    response = shared.post("/messages", json=body)
    assert response.status_code == 422
    assert sorted(error["pointer"] for error in response.json()["errors"]) == pointers
    assert all(error["message"] for error in response.json()["errors"])
    assert shared.head_position() == before


def test_faults_inside_lists_have_their_place(shared: Any) -> None:
    """A list of entries is looked at entry by entry."""
    response = shared.put(
        "/loop", json={"items": [{"slug": "a", "repeat": "x"}, {"repeat": 1}, {"slug": "b", "when": {"days": [1]}, "z": 1}]}
    )
    assert response.status_code == 422
    assert sorted(error["pointer"] for error in response.json()["errors"]) == [
        "/items/0/repeat",
        "/items/1/slug",
        "/items/2/when/days/0",
        "/items/2/z",
    ]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
def test_another_content_type_is_415_and_says_what_to_send(shared: Any, content_type: str) -> None:
    """Curl's default is the usual mistake."""
    response = shared.post("/messages", content=b'{"text":"a"}', headers={"Content-Type": content_type})
    assert response.status_code == 415
    assert "Content-Type: application/json" in response.json()["detail"]


def test_json_types_of_other_names_are_taken(shared: Any) -> None:
    """A merge patch is JSON."""
    headers = {"Content-Type": "application/merge-patch+json; charset=utf-8"}
    assert shared.patch("/settings", content=b'{"brightness":99}', headers=headers).status_code == 200


def test_a_body_beyond_the_limit_is_413(shared: Any) -> None:
    """By the announced length, and by the bytes that come without one."""
    text = b'{"text":"' + b"x" * JSON_BYTES_MAX + b'"}'
    assert shared.post("/messages", content=text).status_code == 413
    assert shared.post("/messages", content=iter([text])).status_code == 413


def test_commands_without_words_take_an_empty_body_and_an_empty_object(shared: Any) -> None:
    """Anything else in it is refused."""
    assert shared.post("/player/hold").status_code == 200
    assert shared.post("/player/hold", content=b"", headers={"Content-Type": "text/plain"}).status_code == 200
    assert shared.post("/player/hold", json={}).status_code == 200
    assert shared.post("/player/hold", json={"for": 5}).status_code == 422


def test_a_defect_is_500_and_hidden(house: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The operator gets the traceback, the caller a sentence."""
    from projections import loop

    def broken(db: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(loop, "get", broken)
    response = house.get("/loop")
    assert (response.status_code, response.json()["type"]) == (500, "/problems/internal")
    assert "secret" not in response.text
    assert "a secret detail" in capfd.readouterr().err
    assert house.get("/active").status_code == 200


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("Overloaded", 503),
        ("Busy", 503),
        ("ReadOnly", 503),
        ("Stopped", 503),
        ("OutOfSpace", 507),
        ("TooLarge", 413),
        ("KeyReused", 422),
    ],
)
def test_refusals_of_the_store_have_their_status(shared: Any, monkeypatch: pytest.MonkeyPatch, name: str, status: int) -> None:
    """503 says when to try again."""
    from eventstore import errors

    def refuse(*arguments: object, **named: object) -> None:
        raise getattr(errors, name)("as things are")

    monkeypatch.setattr(shared.service.executor, "execute", refuse)
    response = shared.post("/messages", json={"text": "a"})
    assert (response.status_code, response.json()["detail"]) == (status, "as things are")
    assert ("Retry-After" in response.headers) == (status == 503)
