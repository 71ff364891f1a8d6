"""What is given to the store: mistakes are refused by name before anything is written, and what can be gone through only once is taken whole."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from eventstore import chain
from eventstore.errors import Invalid, Refused, TooLarge, WrongVersion
from eventstore.reading import Filter, read_head
from eventstore.record import TAGS_PER_EVENT_MAX, Batch, Expect, NewEvent, NoneSince, Origin
from eventstore.store import EventStore
from eventstore.testing.clock import FakeClock
from eventstore.transaction import TYPES_PER_CONDITION_MAX
from tests.eventstore.conftest import event, problems, texts

HALF = "\ud800"
"""Half of a surrogate pair: a Python text that is no Unicode."""


def new(**parts: Any) -> NewEvent:
    """An event with parts of any kind."""
    return NewEvent(**{"type": "t", **parts})


BAD_TAGS: list[Any] = ["abc", {"a": 1}, {"b"}, (b"x",), ["l", 1], (None,), (HALF,), None, 7, [("a",)]]


@pytest.mark.parametrize("tags", BAD_TAGS, ids=ascii)
def test_tags_that_nobody_could_read_are_refused(either: EventStore, tags: Any) -> None:
    """Only a list or tuple of texts goes in; the log stays readable, and the next append takes the first position."""
    with pytest.raises(Invalid, match="tags"):
        either.append("s", [event(), new(tags=tags)])
    assert texts(either) == []
    assert either.append("s", event()).position == 1


def test_tags_may_be_a_list(either: EventStore) -> None:
    """They come back as a tuple, from the append as from the log."""
    appended = either.append("s", new(tags=["a", "ü"])).events
    assert appended == tuple(either.read())
    assert appended[0].tags == ("a", "ü")


def test_tags_are_bounded(either: EventStore) -> None:
    """At the limit an event passes, beyond it the refusal names the limit."""
    either.append("s", new(tags=[str(n) for n in range(TAGS_PER_EVENT_MAX)]))
    with pytest.raises(TooLarge, match="100"):
        either.append("s", new(tags=[str(n) for n in range(TAGS_PER_EVENT_MAX + 1)]))
    assert either.head().position == 1


BAD_EVENTS: dict[str, tuple[Any, str]] = {
    "data as bytes": (new(data=b"{}"), "data is text"),
    "data as a dict": (new(data={}), "data is text"),
    "half a character as data": (new(data=HALF), "data is not Unicode"),
    "type as bytes": (new(type=b"t"), "type is text"),
    "half a character as type": (new(type=HALF), "type is not Unicode"),
    "no type": (new(type=""), "needs a stream and a type"),
    "id as text": (new(id="0123456789abcdef"), "16 bytes"),
    "id too short": (new(id=b"1"), "16 bytes"),
    "id as a number": (new(id=16), "16 bytes"),
    "version as text": (new(schema_version="1"), "32 bits"),
    "version too large": (new(schema_version=1 << 32), "32 bits"),
    "a text": ("t", "NewEvent"),
    "a dict": ({"type": "t"}, "NewEvent"),
}


@pytest.mark.parametrize("name", BAD_EVENTS)
@pytest.mark.parametrize("key", [None, "k"])
def test_an_event_of_other_types_is_refused(either: EventStore, name: str, key: str | None) -> None:
    """With a sentence that names the part, with a key and without, and with nothing of its batch left behind."""
    bad, sentence = BAD_EVENTS[name]
    with pytest.raises(Invalid, match=sentence):
        either.append("s", [event(), bad], idempotency_key=key)
    assert either.append("s", event()).position == 1


BAD_CALLS: dict[str, tuple[Callable[[EventStore], object], str]] = {
    "stream as a number": (lambda store: store.append(7, event()), "stream is text"),  # type: ignore[arg-type]
    "no stream": (lambda store: store.append("", event()), "needs a stream"),
    "half a character as stream": (lambda store: store.append(HALF, event()), "stream is not Unicode"),
    "the same, with an expectation": (lambda store: store.append(HALF, event(), 0), "stream is not Unicode"),
    "half a character as actor": (lambda store: store.append("s", event(), origin=Origin(HALF)), "actor is not Unicode"),
    "the same, with a key": (lambda store: store.append("s", [], idempotency_key="k", origin=Origin(HALF)), "actor is not"),
    "actor as a number": (lambda store: store.append("s", event(), origin=Origin(7)), "actor is text"),  # type: ignore[arg-type]
    "half a character as cause": (lambda store: store.append("s", event(), origin=Origin(None, None, HALF)), "causation id"),
    "half a character as key": (lambda store: store.append("s", event(), idempotency_key=HALF), "key is not Unicode"),
    "key as a number": (lambda store: store.append("s", event(), idempotency_key=7), "key is text"),  # type: ignore[arg-type]
    "origin as text": (lambda store: store.append("s", event(), origin="me"), "Origin"),  # type: ignore[arg-type]
    "events as text": (lambda store: store.append("s", "event"), "given as a list"),  # type: ignore[arg-type]
    "events as a number": (lambda store: store.append("s", 7), "given as a list"),  # type: ignore[arg-type]
    "batch of events": (lambda store: store.append_batch([event()]), "part of a batch"),  # type: ignore[list-item]
    "batch of pairs": (lambda store: store.append_batch([("s", [event()])]), "part of a batch"),  # type: ignore[list-item]
    "batch with one event": (lambda store: store.append_batch([("s", event(), "any")]), "given as a list"),  # type: ignore[list-item]
    "unknown expectation": (lambda store: store.append("s", event(), "latest"), "expected_version"),  # type: ignore[arg-type]
    "expectation as text": (lambda store: store.append("s", event(), "1"), "expected_version"),  # type: ignore[arg-type]
    "one condition": (lambda store: store.append("s", event(), conditions=NoneSince(0)), "given as a list"),  # type: ignore[arg-type]
}
"""Mistakes in the other arguments, and a piece of the sentence that names each."""


@pytest.mark.parametrize("name", BAD_CALLS)
def test_a_call_that_makes_no_sense_is_refused(either: EventStore, name: str) -> None:
    """Each mistake is one kind of refusal with one code, and a ValueError for who looks for that."""
    call, sentence = BAD_CALLS[name]
    with pytest.raises(Invalid, match=sentence) as caught:
        call(either)
    assert (caught.value.code, isinstance(caught.value, Refused), isinstance(caught.value, ValueError)) == ("invalid", True, True)
    assert either.append("s", event()).position == 1


BAD_CONDITIONS: list[Any] = [
    Expect("s", "foo"),  # type: ignore[arg-type]
    Expect("s", "exact", "1"),  # type: ignore[arg-type]
    Expect(7, "none"),  # type: ignore[arg-type]
    Expect(HALF, "none"),
    NoneSince(1 << 63),
    NoneSince(-(1 << 63) - 1),
    NoneSince("0"),  # type: ignore[arg-type]
    NoneSince(0, types="t"),  # type: ignore[arg-type]
    NoneSince(0, tags="late"),  # type: ignore[arg-type]
    NoneSince(0, tags=(1,)),  # type: ignore[arg-type]
    NoneSince(0, types=(HALF,)),
    "none",
    None,
]


@pytest.mark.parametrize("condition", BAD_CONDITIONS, ids=ascii)
@pytest.mark.parametrize("key", [None, "k"])
def test_a_condition_that_cannot_be_asked_is_refused(either: EventStore, condition: Any, key: str | None) -> None:
    """It neither holds nor fails; nothing is appended."""
    with pytest.raises(Invalid):
        either.append("s", event(), conditions=[condition], idempotency_key=key)
    assert either.append("s", event()).position == 1


def test_a_work_is_held_to_the_same(either: EventStore) -> None:
    """What a transaction is given directly is looked at in the same way, and a refusal that the work takes leaves it as it was."""

    def work(transaction: Any) -> int:
        for call in (
            lambda: transaction.check(NoneSince(0)),
            lambda: transaction.check("none"),
            lambda: transaction.append("s", [event()], conditions=NoneSince(0)),
            lambda: transaction.append("s", event()),
            lambda: transaction.append("s", [event(), new(tags="abc")]),
            lambda: transaction.append("s", [event()], origin=None),
            lambda: transaction.recall("", HALF, b""),
        ):
            with pytest.raises(Invalid):
                call()
        return transaction.append("s", [event()])[0].position

    assert either.transact(work) == 1
    assert len(texts(either)) == 1


def test_conditions_are_bounded(either: EventStore) -> None:
    """As many tags as an event may have, and a thousand types, are asked; more is refused."""
    tags, types = ([str(n) for n in range(limit)] for limit in (TAGS_PER_EVENT_MAX, TYPES_PER_CONDITION_MAX))
    either.append("s", new(tags=tags))
    either.append("s", event(), conditions=[NoneSince(1, tuple(types), tuple(tags))])
    for condition in (NoneSince(0, tags=(*tags, "x")), NoneSince(0, types=(*types, "x"))):
        with pytest.raises(TooLarge):
            either.append("s", event(), conditions=[condition])
    assert either.head().position == 2


@pytest.mark.parametrize("argument", ["types", "streams"])
def test_a_pattern_is_not_a_list_of_characters(either: EventStore, argument: str) -> None:
    """Who writes "n*" is told to write ["n*"], in reading and in following."""
    either.append("n", event("x", "n"))
    for ask in (lambda **given: list(either.read(**given)), either.subscribe, Filter):
        with pytest.raises(Invalid, match=r"write \['n\*'\]"):
            ask(**{argument: "n*"})
        with pytest.raises(Invalid, match="is none"):
            ask(**{argument: [7]})
    assert [one.position for one in either.read(**{argument: ["n*"]})] == [1]


def test_generators_are_taken_whole(either: EventStore) -> None:
    """The parts of a batch, their events and the conditions may be generators: none is asked twice, also when a work runs twice."""
    batch = ((stream, (event(text) for text in "12"), 0) for stream in "ab")
    assert either.append_batch(batch, idempotency_key="k").position == 4
    assert texts(either) == [f'{{"text":"{n}"}}' for n in (1, 2, 1, 2)]
    with pytest.raises(WrongVersion):
        either.append(
            "c", (event() for _ in range(2)), conditions=(Expect(stream, "none") for stream in "cb"), idempotency_key="l"
        )
    assert either.transact(lambda transaction: len(transaction.append("c", (event() for _ in range(2))))) == 2
    assert either.head().position == 6


@pytest.mark.parametrize("stored", ['"abc"', "[1]", '{"a":1}', "x"])
def test_tags_that_cannot_be_read_are_seen(path: Path, clock: FakeClock, stored: str) -> None:
    """An event whose hash fits but whose tags are no list of texts is a problem with its position: it was written so by another program."""
    with EventStore.open(path, clock=clock) as store:
        store.append("s", event("1"))
        store.append("s", event("2", "t", "a"))
        _plant(path, store, stored)
        (problem,) = problems(store)
        assert (problem.code, problem.position) == ("tags", 3)
        assert "restore" in problem.mend


def _plant(path: Path, store: EventStore, tags: str) -> None:
    """Append an event with these tags, as a program would that does not look at them."""
    from hashlib import sha256

    db = apsw.Connection(str(path))
    head = read_head(db)
    body, id = json.dumps({}), bytes(range(16))
    logtime_us = head.logtime_us + 1
    header = chain.header(3, 3, 1, logtime_us, head.time_us, id, "s", "t", None, None, None, tags)
    link = chain.link(head.chain, header, sha256(body.encode()).digest())
    row = (3, "s", 3, "t", 1, id, logtime_us, head.time_us, None, None, None, tags, body, link)
    db.execute(f"INSERT INTO events VALUES ({','.join('?' * len(row))})", row)
    db.close()


def test_the_package_has_the_names_that_programs_need() -> None:
    """Each is the one of its module, all refusals are among them, and none loads more than its module needs."""
    import eventstore
    from eventstore import errors

    for name in eventstore.__all__:
        assert getattr(eventstore, name).__module__.startswith(("eventstore.", "typing", "types", "collections.abc"))
    assert (eventstore.EventStore, eventstore.NewEvent, eventstore.Invalid) == (EventStore, NewEvent, Invalid)
    assert {kind.__name__ for kind in vars(errors).values() if isinstance(kind, type)} <= set(eventstore.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        eventstore.Nothing  # type: ignore[attr-defined]  # noqa: B018
    loaded = "import sys, eventstore.errors; eventstore.Invalid; print('eventstore.store' in sys.modules, 'apsw' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.split() == ["False", "False"]


def test_a_batch_may_stand_in_a_variable(either: EventStore) -> None:
    """Annotated with the alias, which is what a type checker needs to know of the expectations in it."""
    batch: Batch = [("a", [event()], "any"), ("b", (event(),), 0)]
    assert either.append_batch(batch).position == 2


@pytest.mark.parametrize("given", [1 << 63, "1", 1.0, None], ids=ascii)
def test_what_is_no_position_is_refused(either: EventStore, given: Any) -> None:
    """Wherever one is asked for, with a sentence that names it; the last that there can be is answered with nothing."""
    either.append("s", event())
    asked: list[Callable[[], Any]] = [
        lambda: list(either.read(given)),
        lambda: list(either.read(given, stream="s")),
        lambda: either.page(given),
    ]
    if given is not None:  # there it has a meaning
        asked += [
            lambda: list(either.read(until=given)),
            lambda: list(either.read(until=given, stream="s")),
            lambda: either.subscribe(given),
        ]
    for ask in asked:
        with pytest.raises(Invalid, match=r"after|until"):
            ask()
    assert list(either.read((1 << 63) - 1)) == list(either.read((1 << 63) - 1, stream="s")) == []
    assert len(list(either.read(-(1 << 70)))) == 1


def test_a_stream_that_is_no_text_is_refused_by_readers(either: EventStore) -> None:
    """With the sentence that an append has for it."""
    with pytest.raises(Invalid, match="stream"):
        list(either.read(stream=HALF))


@pytest.mark.parametrize("path", ["", "\0.db", "/tmp/\udcff.db", b"/tmp/x.db", 5, None], ids=ascii)
def test_what_is_no_path_is_refused(path: Any) -> None:
    """Before anything is created: text in UTF-8 that names something."""
    with pytest.raises(Invalid, match="UTF-8"):
        EventStore.open(path)
