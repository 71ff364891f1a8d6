"""The pure parts: matching paths, entity tags, byte ranges, cursors, faults."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest

from api import cursors
from api.http.conditional import match, none_match, tag_of
from api.http.files import Span, span_of
from api.http.problems import Problem
from api.http.requests import decoded, faults_of
from api.http.routing import Route, Router


async def handler(call: Any) -> None:
    """Never called."""


ROUTER = Router(
    [Route(method, template, handler) for method, template in (
        ("GET", "/"), ("GET", "/media"), ("POST", "/media"), ("GET", "/media/{slug}"), ("GET", "/media/{slug}/content"),
        ("POST", "/jobs/claim"), ("GET", "/jobs/{id}"), ("GET", "/static/{file...}"),
    )]
)  # fmt: skip


@pytest.mark.parametrize(
    ("path", "template", "parameters"),
    [
        ("/", "/", {}),
        ("/media", "/media", {}),
        ("/media/a%2Fb", "/media/{slug}", {"slug": "a/b"}),
        ("/media/a%2fcontent", "/media/{slug}", {"slug": "a/content"}),
        ("/media/%F0%9F%98%80/content", "/media/{slug}/content", {"slug": "😀"}),
        ("/media/content/content", "/media/{slug}/content", {"slug": "content"}),
        ("/media/a+b", "/media/{slug}", {"slug": "a+b"}),
        ("/jobs/claim", "/jobs/claim", {}),
        ("/jobs/claims", "/jobs/{id}", {"id": "claims"}),
        ("/static/a/b.js", "/static/{file...}", {"file": "a/b.js"}),
    ],
)
def test_paths_are_matched_before_they_are_decoded(path: str, template: str, parameters: dict[str, str]) -> None:
    """A literal wins over a parameter, and an encoded slash is part of one."""
    found = ROUTER.find(path)
    assert found is not None
    assert (found.template, dict(found.parameters)) == (template, parameters)


@pytest.mark.parametrize(
    "path", ["", "/x", "/media/", "/media/a/", "/media//content", "/media/a/b", "/media/%ff", "/jobs", "/static", "//media"]
)
def test_other_paths_are_nothing(path: str) -> None:
    """No guessing about slashes."""
    assert ROUTER.find(path) is None


def test_allow_names_head_and_options() -> None:
    """HEAD comes with GET."""
    media, claim = ROUTER.find("/media"), ROUTER.find("/jobs/claim")
    assert (media and media.allow, claim and claim.allow) == ("GET, HEAD, OPTIONS, POST", "OPTIONS, POST")


def test_two_routes_for_one_thing_are_a_mistake() -> None:
    """Found when the table is made."""
    with pytest.raises(ValueError, match="two routes"):
        Router([Route("GET", "/a/{b}", handler), Route("GET", "/a/{c}", handler)])


TAG = '"a"'


@pytest.mark.parametrize(
    ("header", "sent", "changes"),
    [
        (None, True, True),
        ('"a"', False, True),
        ('W/"a"', False, False),
        ('"b", "a"', False, True),
        ('"b"', True, False),
        ("*", False, True),
        ("a", True, False),
        ("", True, False),
    ],
)
def test_preconditions(header: str | None, sent: bool, changes: bool) -> None:
    """If-None-Match compares weakly, If-Match strongly; both know lists and the star."""
    assert (none_match(header, TAG), match(header, TAG)) == (sent, changes)


def test_tags_differ_by_every_part() -> None:
    """Also where the parts run into one another."""
    assert len({tag_of("a", "b"), tag_of("ab", ""), tag_of("a", "b", ""), tag_of("b", "a")}) == 4
    assert tag_of("a", 1) == tag_of("a", 1)


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, None), ("bytes=0-0", Span(0, 1)), ("bytes=2-", Span(2, 10)), ("bytes=-4", Span(6, 10)), ("bytes=-40", Span(0, 10)),
        ("bytes=5-90", Span(5, 10)), ("bytes=5-4", None), ("bytes=-", None), ("bytes=0-1,4-5", None), ("items=0-1", None), ("bytes=a-b", None),
    ],
)  # fmt: skip
def test_ranges(header: str | None, span: Span | None) -> None:
    """One range is served; what means nothing, or several, is the whole."""
    assert span_of(header, 10) == span


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=11-12", "bytes=-0"])
def test_ranges_beyond_the_end_are_refused(header: str) -> None:
    """416 tells the size."""
    with pytest.raises(Problem) as caught:
        span_of(header, 10)
    assert (caught.value.code, caught.value.headers["Content-Range"]) == ("range", "bytes */10")


def test_cursors_are_opaque_and_come_back() -> None:
    """Whatever the place holds; anything else is refused."""
    place = ("ü 😀?&", 2**60)
    cursor = cursors.encode(place)
    assert cursor.isascii()
    assert "=" not in cursor
    assert cursors.decode(cursor, tuple[str, int]) == place
    for wrong in ("!", "ü", cursor[:-1] + "!", cursors.encode([1]), "x" * 3_000, cursor + "A" * 3):
        with pytest.raises(ValueError):
            cursors.decode(wrong, tuple[str, int])


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    """A struct in a struct."""

    n: Annotated[int, msgspec.Meta(ge=0)]


class Outer(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A struct with every kind of field that requests have."""

    some_text: str
    inner: Inner | None = None
    many: list[Inner] = []
    free: dict[str, Any] | None = None


def test_every_fault_is_named_with_its_pointer() -> None:
    """Unknown, missing and wrong fields, at any depth, at once."""
    raw = {"x": 1, "inner": {"n": -1, "m": 2}, "many": [{"n": 1}, {}, 5], "free": []}
    assert sorted(fault.pointer for fault in faults_of(raw, Outer, "")) == [
        "/free", "/inner/m", "/inner/n", "/many/1/n", "/many/2", "/someText", "/x",
    ]  # fmt: skip


def test_what_is_right_is_a_value() -> None:
    """By the wire's names."""
    assert decoded(b'{"someText":"a","inner":{"n":1}}', Outer) == Outer("a", Inner(1))
