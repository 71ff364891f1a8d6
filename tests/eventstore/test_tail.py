"""The shared tail: one read for all who follow, on threads and on event loops, within bounds, and nothing lost when it forgets."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import eventstore.tail
from eventstore import reading, subscription
from eventstore.errors import Stopped
from eventstore.reading import Filter, read_page
from eventstore.record import NewEvent, RecordedEvent
from eventstore.store import EventStore
from eventstore.subscription import Delivery
from eventstore.tail import Forms, matcher, weight
from tests.eventstore.conftest import event, wait_until

FOLLOWERS = 200
COMMITS = 60
KINDS = ("a", "b", "c", "d")


def write(store: EventStore) -> dict[str, list[int]]:
    """Commits of one to four events of four types; the positions of each type, and of all under "*"."""
    written: dict[str, list[int]] = {kind: [] for kind in (*KINDS, "*")}
    for number in range(COMMITS):
        kinds = KINDS[: number % 4 + 1]
        answer = store.append("s", [event(str(number), f"{kind}.x") for kind in kinds], durable=False)
        for kind, one in zip(kinds, answer.events, strict=True):
            written[kind].append(one.position)
            written["*"].append(one.position)
    store.append("s", event("end", "end"))
    return written


def patterns(number: int) -> list[str]:
    """What the follower of this number wants; the last event is for all."""
    return [] if number % 5 == 4 else [f"{KINDS[number % 5]}.*", "end"]


def expected(written: dict[str, list[int]], number: int) -> list[int]:
    return [*written["*" if number % 5 == 4 else KINDS[number % 5]], written["*"][-1] + 1]


# -- one read for all ----------------------------------------------------------------------------------------------------------------


def test_two_hundred_subscriptions_on_threads(store: EventStore) -> None:
    """While others write, each sees every matching event once and in order, and the log is read about once for each commit, not for each
    follower."""
    seen: list[list[int]] = [[] for _ in range(FOLLOWERS)]

    def follow(number: int) -> None:
        for one in store.subscribe(0, types=patterns(number)):
            seen[number].append(one.position)
            if one.type == "end":
                return

    threads = [threading.Thread(target=follow, args=(number,)) for number in range(FOLLOWERS)]
    for thread in threads:
        thread.start()
    wait_until(lambda: store.tail.followers == FOLLOWERS)
    own_pages = store.tail.own_pages
    written = write(store)
    for thread in threads:
        thread.join(60)
    assert seen == [expected(written, number) for number in range(FOLLOWERS)]
    assert own_pages == FOLLOWERS  # one each, at the start
    assert store.tail.own_pages == own_pages
    assert 1 <= store.tail.pages <= COMMITS + 1
    assert store.tail.followers == 0


def test_two_hundred_subscriptions_on_an_event_loop(store: EventStore) -> None:
    """The same for asyncio, where all of them count as one follower."""

    async def follow(number: int) -> list[int]:
        seen: list[int] = []
        async for one in store.subscribe(0, types=patterns(number)):
            seen.append(one.position)
            if one.type == "end":
                break
        return seen

    async def run() -> tuple[list[list[int]], dict[str, list[int]]]:
        tasks = [asyncio.create_task(follow(number)) for number in range(FOLLOWERS)]
        await asyncio.to_thread(wait_until, lambda: store.tail.own_pages == FOLLOWERS)
        written = await asyncio.to_thread(write, store)
        return await asyncio.gather(*tasks), written

    seen, written = asyncio.run(run())
    assert seen == [expected(written, number) for number in range(FOLLOWERS)]
    assert store.tail.own_pages == FOLLOWERS
    assert 1 <= store.tail.pages <= COMMITS + 1
    assert store.tail.followers == 0


def test_threads_and_loops_share_one_ring(either: EventStore) -> None:
    """Whoever is first takes in for all, also in memory, where the log has one connection and one lock."""
    store = either
    threads_saw: list[int] = []

    def follow() -> None:
        for one in store.subscribe(0):
            threads_saw.append(one.position)
            if one.position == 200:
                return

    async def gather() -> list[int]:
        thread = threading.Thread(target=follow)
        thread.start()
        writer = threading.Thread(target=lambda: [store.append("s", event(), durable=False) for _ in range(200)])
        writer.start()
        seen: list[int] = []
        async for one in store.subscribe(0):
            seen.append(one.position)
            if one.position == 200:
                break
        await asyncio.to_thread(thread.join, 30)
        await asyncio.to_thread(writer.join, 30)
        return seen

    assert asyncio.run(gather()) == threads_saw == list(range(1, 201))
    assert store.tail.pages <= 200


def test_following_inside_a_transaction_of_a_log_in_memory() -> None:
    """A work may look at a subscription while others follow on threads: one lock, so that no two can be taken crosswise."""
    with EventStore.open(":memory:") as store:
        seen: list[int] = []

        def follow() -> None:
            for one in store.subscribe(0):
                seen.append(one.position)
                if one.position == 100:
                    return

        thread = threading.Thread(target=follow)
        thread.start()
        inside = store.subscribe(0)
        found: list[int] = []
        for number in range(100):
            store.append("s", event(str(number)))
            store.transact(lambda _: found.extend(one.event.position for one in inside.deliveries(timeout_seconds=0)))
        thread.join(30)
        assert seen == found == list(range(1, 101))


# -- what matches --------------------------------------------------------------------------------------------------------------------

NAMES = st.text(alphabet="ab.*?[]^-é\\\0", max_size=6)


@settings(max_examples=300, deadline=None)
@given(types=st.lists(NAMES, max_size=2), streams=st.lists(NAMES, max_size=2), names=st.lists(NAMES, min_size=1, max_size=6))
def test_the_tail_matches_as_the_log_does(types: list[str], streams: list[str], names: list[str]) -> None:
    """Every pattern selects the same events from the ring as from a page of the log: classes, ranges, negation, whatever characters."""
    with EventStore.open(":memory:") as store:
        for name in names:
            store.append(name[::-1] or "s", event(type=name or "t"))
        filter = Filter(tuple(types), tuple(streams))
        matches = matcher(filter)
        with store.reading() as db:
            from_log = read_page(db, 0, filter=filter).events
        assert [one for one in store.read() if matches is None or matches(one)] == from_log


def test_the_other_parts_of_a_filter() -> None:
    """One exact stream, and a span of wall-clock time without its end; no filter is no function."""
    with EventStore.open(":memory:") as store:
        store.append("a", event())
        store.append("a*", event())
        one, two = store.read()
    assert matcher(Filter()) is None
    for filter, both in (
        (Filter(stream="a*"), [False, True]),
        (Filter(since_us=one.time_us, until_us=one.time_us + 1), [True, two.time_us == one.time_us]),
        (Filter(until_us=one.time_us), [False, False]),
        (Filter(since_us=two.time_us + 1), [False, False]),
    ):
        matches = matcher(filter)
        assert matches is not None
        assert [matches(one), matches(two)] == both


# -- bounds --------------------------------------------------------------------------------------------------------------------------


def waits(store: EventStore) -> Iterator[Delivery]:
    """Deliveries of a subscription that has seen what there is and has joined the tail."""
    store.append("s", event())
    deliveries = store.subscribe(store.head().position - 1).deliveries(timeout_seconds=10)
    next(deliveries)
    store.append("s", event())
    next(deliveries)
    assert store.tail.followers == 1
    return deliveries


def test_the_ring_is_bounded_in_events(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most twice RING_EVENTS, and cut back to RING_EVENTS."""
    monkeypatch.setattr(eventstore.tail, "RING_EVENTS", 10)
    deliveries = waits(store)
    sizes: list[int] = []
    for _ in range(60):
        store.append("s", event(), durable=False)
        next(deliveries)
        sizes.append(store.tail.position - store.tail.before)
    assert (max(sizes), min(sizes[20:])) == (19, 10)


def test_the_ring_is_bounded_in_bytes(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large events push out others long before RING_EVENTS is reached; one that is larger than the whole ring is read from the log."""
    monkeypatch.setattr(eventstore.tail, "RING_BYTES_MAX", 100_000)
    deliveries = waits(store)
    for size in (10_000,) * 20:
        position = store.append("s", NewEvent("t", "x" * size), durable=False).position
        assert next(deliveries).event.position == position
        kept = store.tail.after(store.tail.before)
        assert kept is not None
        assert sum(map(weight, kept)) <= 100_000
    position = store.append("s", NewEvent("t", "x" * 60_000)).position
    assert next(deliveries).event.position == position
    assert store.tail.position == store.tail.before == position


def test_a_burst_is_not_read_into_the_ring(store: EventStore) -> None:
    """Whoever is further behind than the ring is long reads the log by pages; the ring goes on near the end."""
    deliveries = waits(store)
    begin = store.head().position
    for _ in range(3):
        store.append("s", [event()] * 1_000)
    pages, own_pages = store.tail.pages, store.tail.own_pages
    assert [next(deliveries).event.position for _ in range(3_000)] == list(range(begin + 1, begin + 3_001))
    assert (store.tail.pages - pages, store.tail.own_pages - own_pages) == (1, 5)
    assert store.tail.position - store.tail.before == 500


def test_the_ring_is_kept_only_while_somebody_follows(store: EventStore) -> None:
    """Also when the one who followed just forgot about it."""
    deliveries = waits(store)
    assert store.tail.position - store.tail.before == 1
    pages = store.tail.pages
    del deliveries
    gc.collect()
    assert (store.tail.followers, store.tail.position - store.tail.before) == (0, 0)
    store.append("s", event())
    assert list(store.subscribe().deliveries(timeout_seconds=0)) == []
    assert store.tail.pages == pages


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ring=st.integers(1, 6),
    page=st.integers(1, 5),
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=40),
)
def test_no_interleaving_loses_or_repeats(
    ring: int, page: int, steps: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is appended between whichever reads of three readers, in and out of tiny rings, against a list."""
    monkeypatch.setattr(eventstore.tail, "RING_EVENTS", ring)
    for module in (eventstore.tail, subscription):
        monkeypatch.setattr(module, "PAGE_EVENTS", page)
    filters: tuple[list[str], ...] = ([], ["a.*"], ["b.*"])
    with EventStore.open(":memory:") as store:
        readers = [store.subscribe(0, types=types).deliveries(timeout_seconds=60) for types in filters]
        waiting: list[list[int]] = [[], [], []]
        count = 0
        for actor, amount in steps:
            if actor == 3:
                store.append("s", [event(type="ab"[number % 2] + ".x") for number in range(amount)])
                for number in range(amount):
                    count += 1
                    waiting[0].append(count)
                    waiting[1 + number % 2].append(count)
            else:
                some = waiting[actor][:amount]
                assert [next(readers[actor]).event.position for _ in some] == some
                del waiting[actor][:amount]
        for reader, rest in zip(readers, waiting, strict=True):
            assert [next(reader).event.position for _ in rest] == rest
            reader.close()
        assert store.tail.followers == 0


# -- on an event loop ----------------------------------------------------------------------------------------------------------------


def test_modes_and_timeout_on_an_event_loop(store: EventStore) -> None:
    """As on threads: replay, catching up, live, and the end when nothing has matched for long enough."""
    store.append("s", [event()] * 4)

    async def run() -> list[tuple[int, str]]:
        following = store.subscribe(1, handled=2)
        first = [one async for one in following.deliveries_async(timeout_seconds=0)]
        threading.Timer(0.05, store.append, args=("s", event())).start()
        second: list[Delivery] = []
        async for one in following.deliveries_async(timeout_seconds=20):
            second.append(one)
            following.close()
        return [(one.event.position, one.mode) for one in first + second]

    assert asyncio.run(run()) == [(2, "replay"), (3, "catch_up"), (4, "catch_up"), (5, "live")]


def test_a_slow_reader_on_an_event_loop_recovers(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It falls out of the ring, reads the log, and is live again."""
    monkeypatch.setattr(eventstore.tail, "RING_EVENTS", 5)
    monkeypatch.setattr(subscription, "PAGE_EVENTS", 10)

    async def run() -> list[tuple[int, str]]:
        seen: list[tuple[int, str]] = []
        async for one in store.subscribe(0).deliveries_async():
            seen.append((one.event.position, one.mode))
            if len(seen) in (1, 26):
                await asyncio.to_thread(store.append, "s", [event()] * (25 if len(seen) == 1 else 1))
            if len(seen) == 27:
                break
        return seen

    store.append("s", event())
    modes = ["catch_up"] * 26 + ["live"]
    assert asyncio.run(run()) == list(zip(range(1, 28), modes, strict=True))


def test_closing_ends_a_reader_on_an_event_loop(path: Path) -> None:
    """The subscription, from another thread, or the log."""

    async def run(store: EventStore, close: Any) -> list[RecordedEvent]:
        following = store.subscribe(0)
        timer = threading.Timer(0, wait_until, args=(lambda: store.tail.followers == 1,))
        timer.start()

        async def read() -> list[RecordedEvent]:
            return [one async for one in following]

        task = asyncio.create_task(read())
        await asyncio.to_thread(timer.join)
        await asyncio.to_thread(close, store, following)
        async with asyncio.timeout(10):
            return await task

    for close in (lambda _, following: following.close(), lambda store, _: store.close()):
        with EventStore.open(path) as store:
            assert asyncio.run(run(store, close)) == []
            assert store.tail.followers == 0


def test_closing_the_log_while_the_tail_is_read_ends_readers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The word that the log is closed comes while a thread reads, and is not lost on the event loop."""
    store = EventStore.open(path)
    read = eventstore.tail.read_page
    closing = threading.Thread(target=store.close)

    def slow(*arguments: Any) -> Any:
        found = read(*arguments)
        closing.start()
        wait_until(lambda: store.watch.closed)
        return found

    async def run() -> list[int]:
        seen: list[int] = []
        async with asyncio.timeout(10):
            async for one in store.subscribe(0):
                seen.append(one.position)
                if len(seen) == 1:
                    monkeypatch.setattr(eventstore.tail, "read_page", slow)
                    threading.Timer(0.05, store.append, args=("s", event())).start()
        return seen

    store.append("s", event())
    assert asyncio.run(run())[0] == 1
    closing.join(20)


def test_closing_the_log_under_load_ends_readers_quietly(path: Path) -> None:
    """A reader that was in the middle of a page when its log was closed stops like one that waited; any other failure surfaces."""
    store = EventStore.open(path)
    for _ in range(5):
        store.append("s", [event()] * 1_000, durable=False)
    deliveries = store.subscribe(0).deliveries()
    assert next(deliveries).event.position == 1
    store.close()
    assert [one.event.position for one in deliveries] == list(range(2, 501))
    with EventStore.open(path) as store:
        following = store.subscribe(0)
        store._readers.close()
        with pytest.raises(Stopped):
            next(following.deliveries())
        with pytest.raises(Stopped):
            asyncio.run(anext(following.deliveries_async()))


def test_a_loop_that_ended_without_a_word(store: EventStore) -> None:
    """Its readers count as gone with the next event, or with the next loop."""

    def abandon() -> tuple[asyncio.AbstractEventLoop, Any]:
        loop = asyncio.new_event_loop()
        store.append("s", event())
        deliveries = store.subscribe(store.head().position - 1).deliveries_async()
        for _ in range(2):  # from the log, then from the tail
            loop.run_until_complete(_next(deliveries))
            store.append("s", event())
        assert store.tail.followers == 1
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        return loop, deliveries

    kept = abandon()
    store.append("s", event())
    wait_until(lambda: store.tail.followers == 0)
    kept = abandon()

    async def follow() -> int:
        async for one in store.subscribe(0):
            return one.position
        return 0

    assert asyncio.run(follow()) == 1
    wait_until(lambda: store.tail.followers == 0)
    assert kept[0].is_closed()


async def _next(deliveries: AsyncIterator[Delivery]) -> Delivery:
    return await anext(deliveries)


def test_a_read_that_fails_is_tried_again(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an event loop nobody would hear of it: it is counted, and a moment later the event is there."""
    monkeypatch.setattr(eventstore.tail, "LOOK_SECONDS", 0.05)
    failures = iter([apsw.BusyError("planted"), apsw.IOError("planted")])
    read = eventstore.tail.read_page

    def failing(*arguments: Any) -> Any:
        for error in failures:
            raise error
        return read(*arguments)

    async def run() -> tuple[int, int]:
        store.append("s", event())
        async for one in store.subscribe(0):
            if one.position == 2:
                break
            monkeypatch.setattr(eventstore.tail, "read_page", failing)
            await asyncio.to_thread(store.append, "s", event())
        return one.position, store.tail.on_loop().failed

    assert asyncio.run(run()) == (2, 2)


def test_a_poll_sees_what_others_appended_unheard(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first reads are of the log itself, through as many windows as its filter needs, whatever this process has heard of."""
    monkeypatch.setattr(reading, "WINDOW_POSITIONS", 4)
    with EventStore.open(path) as store, EventStore.open(path) as other:
        other.append("s", [event()] * 10)
        assert store.watch.position == 0
        on_thread, on_loop = (store.subscribe(0, types=["no.*"]) for _ in range(2))

        async def poll() -> list[Delivery]:
            return [one async for one in on_loop.deliveries_async(timeout_seconds=0)]

        assert list(on_thread.deliveries(timeout_seconds=0)) == asyncio.run(poll()) == []
        assert on_thread.cursor == on_loop.cursor == 10
        assert store.tail.pages == 0


# -- forms ---------------------------------------------------------------------------------------------------------------------------


def test_a_form_is_made_once_and_forgotten_with_its_event(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has left the ring is made anew each time, and not kept."""
    monkeypatch.setattr(eventstore.tail, "RING_EVENTS", 2)
    made: list[int] = []

    def make(one: RecordedEvent) -> str:
        made.append(one.position)
        return one.type

    store.append("s", [event()] * 3)
    token = store.tail.join(0)
    store.tail.reach(0)
    forms = Forms(store.tail, make)
    _, second, third = store.read()
    assert [forms.of(one) for one in (second, third, third, second)] == ["note.taken"] * 4
    assert made == [2, 3]
    store.append("s", event())
    store.tail.reach(3)
    assert store.tail.before == 2
    fourth = list(store.read())[3]
    assert [forms.of(one) for one in (fourth, third, second, second)] == ["note.taken"] * 4
    assert made == [2, 3, 4, 2, 2]
    store.tail.leave(token)
