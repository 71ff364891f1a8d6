"""The log over HTTP: pages of it, and following it."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any
from uuid import UUID

import pytest

import eventstore.tail
from projections.times import parse_rfc3339


def post(house: Any, *texts: str) -> None:
    """Messages with these texts."""
    for text in texts:
        assert house.post("/messages", json={"text": text}).status_code == 201


# -- pages ---------------------------------------------------------------------------------------------------------------------------


def test_a_page_of_cloud_events(house: Any) -> None:
    """Every attribute of the envelope, with its type."""
    post(house, "a")
    page = house.get("/events").json()
    assert (page["logId"], page["epoch"], page["head"], page["next"]) == (house.service.store.log_id, 0, 2, None)
    event = page["items"][1]
    recorded = next(iter(house.service.store.read(1)))
    assert event == {
        "specversion": "1.0",
        "id": str(UUID(bytes=recorded.id)),
        "source": f"/pixelog/{page['logId']}",
        "type": "message.posted",
        "subject": recorded.stream,
        "time": event["time"],
        "datacontenttype": "application/json",
        "dataschema": "/api/v1/schemas/message.posted/1",
        "data": {"id": recorded.stream.split("/")[1], "text": "a", "priority": "info"},
        "position": 2,
        "sequence": "00000000000000000002",
        "streamversion": 1,
        "schemaversion": 1,
        "logtime": str(recorded.logtime_us),
        "actor": "http:loopback",
        "chainhash": recorded.chain.hex(),
    }
    assert parse_rfc3339(event["time"]) == recorded.time_us
    assert UUID(event["id"]).version == 7


def test_pages_go_on_from_next(house: Any) -> None:
    """Position after position, until next is null at the head."""
    post(house, *"abcd")
    seen, after = [], 0
    while after is not None:
        page = house.get(f"/events?after={after}&limit=2").json()
        seen += [event["position"] for event in page["items"]]
        after = page["next"]
    assert seen == [1, 2, 3, 4, 5]
    assert house.get("/events?after=99").json()["items"] == []


def test_filters_are_globs_on_type_and_stream_and_a_span_of_time(house: Any) -> None:
    """Several patterns of one kind are alternatives; kinds must all hold."""
    post(house, "a", "b")
    house.patch("/settings", json={"brightness": 5})
    house.post("/jobs", json={"kind": "a", "title": "b", "id": "one"})

    def types(query: str) -> list[str]:
        return [event["type"] for event in house.get(f"/events?{query}").json()["items"]]

    assert types("type=message.*") == ["message.posted"] * 2
    assert types("type=job.*&type=setting.*") == ["setting.changed", "job.queued"]
    assert types("stream=jobs/*") == types("stream=jobs/one") == ["job.queued"]
    assert types("type=job.*&stream=settings") == []
    times = [event["time"] for event in house.get("/events").json()["items"]]
    assert types(f"since={times[3]}") == ["setting.changed", "job.queued"]
    assert types(f"until={times[2]}&after=1") == ["message.posted"]
    assert types("since=2020-01-01T00:00:00+02:00&type=job.*") == ["job.queued"]


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "limit=0", "limit=201", "since=yesterday", "type=" + "*" * 9, "stream=" + "x" * 301]
)
def test_a_wrong_query_is_422(shared: Any, query: str) -> None:
    """For the page and for the stream."""
    assert shared.get(f"/events?{query}").status_code == 422
    if "limit" not in query:
        assert shared.get(f"/events/stream?{query}").status_code == 422


# -- following -----------------------------------------------------------------------------------------------------------------------


def test_the_stream_gives_events_as_unnamed_messages_with_positions(shared: Any, listen: Any) -> None:
    """What is in the log already, then what comes, each once; the data is the page's CloudEvent."""
    post(shared, "a", "b")
    start = shared.head_position() - 2
    stream = listen(f"/events/stream?after={start}")
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert stream.headers["cache-control"] == "no-store"
    seen = stream.take(2)
    post(shared, "c")
    seen += stream.take(1)
    assert [event.event for event in seen] == ["", "", ""]
    assert [event.id for event in seen] == [start + 1, start + 2, start + 3]
    assert [event.data for event in seen] == shared.get(f"/events?after={start}").json()["items"]


def test_it_resumes_after_the_last_id_whatever_the_address_says(shared: Any, listen: Any) -> None:
    """A browser that comes back sends both."""
    post(shared, "a", "b", "c")
    head = shared.head_position()
    stream = listen(f"/events/stream?after={head - 3}", {"Last-Event-ID": str(head - 1)})
    assert [event.id for event in stream.take(1)] == [head]


def test_without_a_place_it_starts_at_the_head_and_says_where_that_is(shared: Any, listen: Any) -> None:
    """A checkpoint gives the reader a place to come back to before any event has come."""
    post(shared, "old")
    head = shared.head_position()
    stream = listen("/events/stream")
    checkpoint = stream.take(1)[0]
    assert (checkpoint.event, checkpoint.id, checkpoint.data["position"]) == ("checkpoint", head, head)
    post(shared, "new")
    assert [(event.event, event.id) for event in stream.take(1)] == [("", head + 1)]


def test_a_filter_passes_over_and_a_checkpoint_moves_the_reader_on(shared: Any, listen: Any) -> None:
    """Only matches are sent, and what was looked at is known."""
    post(shared, "a")
    head = shared.head_position()
    stream = listen(f"/events/stream?after={head}&type=setting.*")
    post(shared, "b", "c")
    checkpoint = stream.take(1)[0]
    assert (checkpoint.event, checkpoint.id) == ("checkpoint", checkpoint.data["position"])
    assert head < checkpoint.id <= head + 2
    brightness = shared.get("/settings").json()["brightness"]
    shared.patch("/settings", json={"brightness": (brightness + 1) % 100})
    for event in stream.events():
        if event.event == "":
            break
    assert (event.id, event.data["type"]) == (head + 3, "setting.changed")


@pytest.mark.parametrize("place", ["?after=10000000", "id 10000000", "id nonsense", "?log=another.0", "?after=0&log={log}.7"])
def test_a_place_that_is_not_in_this_log_is_reset(shared: Any, listen: Any, place: str) -> None:
    """The reader gets the present state and goes on from there."""
    post(shared, "a")
    head, log = shared.head_position(), shared.service.store.log_id
    headers = {"Last-Event-ID": place.removeprefix("id ")} if place.startswith("id ") else {}
    stream = listen("/events/stream" + (place.format(log=log) if not headers else ""), headers)
    reset = stream.take(1)[0]
    assert (reset.event, reset.id) == ("reset", head)
    assert (reset.data["logId"], reset.data["epoch"], reset.data["position"]) == (log, 0, head)
    assert reset.data["state"] == shared.get("/dashboard").json()
    post(shared, "b")
    assert [(event.event, event.id) for event in stream.take(1)] == [("", head + 1)]


def test_the_right_log_is_not_reset(shared: Any, listen: Any) -> None:
    """`log` names id and epoch as the page and the dashboard do."""
    post(shared, "a")
    page = shared.get("/dashboard").json()
    stream = listen(f"/events/stream?after={page['position'] - 1}&log={page['logId']}.{page['epoch']}")
    assert [event.id for event in stream.take(1)] == [page["position"]]


def test_many_readers_see_the_same_events_while_several_write(shared: Any, listen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everyone gets each position once and in order, whoever wrote it; also more readers than are woken one by one."""
    monkeypatch.setattr(eventstore.tail, "CROWD", 50)
    start = shared.head_position()
    streams = [listen(f"/events/stream?after={start}") for _ in range(55)]
    writers = [threading.Thread(target=post, args=(shared, *"abcde")) for _ in range(4)]
    for writer in writers:
        writer.start()
    expected = list(range(start + 1, start + 21))
    for stream in streams:
        assert [event.id for event in stream.take(20)] == expected
    for writer in writers:
        writer.join()


def test_a_slow_reader_misses_and_repeats_nothing(shared: Any, listen: Any) -> None:
    """A reader that stops reading falls out of the shared tail and is fed from the log when it reads again."""
    start = shared.head_position()
    slow, quick = listen(f"/events/stream?after={start}"), listen(f"/events/stream?after={start}")
    text = "x" * 1_990
    count = 4_000
    service = shared.service
    for _ in range(count // 250):
        writers = [threading.Thread(target=_post_directly, args=(service, text, 25)) for _ in range(10)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
    expected = list(range(start + 1, start + count + 1))
    assert [event.id for event in quick.take(count)] == expected
    assert [event.id for event in slow.take(count)] == expected


def _post_directly(service: Any, text: str, count: int) -> None:
    for _ in range(count):
        service.post_message(text)


def test_events_of_another_process_arrive(shared: Any, listen: Any) -> None:
    """A second store on the same file stands for another process: only the bell and the file connect the two."""
    from api.service import StateService

    head = shared.head_position()
    stream = listen(f"/events/stream?after={head}")
    with StateService(shared.service.data.root) as other:
        other.post_message("from elsewhere")
        assert [event.data["actor"] for event in stream.take(1)] == ["python"]


def test_a_comment_comes_when_nothing_else_does(shared: Any, listen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies and readers see that the line is alive; the first line tells browsers when to come back."""
    from api.http import stream

    monkeypatch.setattr(stream, "COMMENT_SECONDS", 0.2)
    lines = listen(f"/events/stream?after={shared.head_position()}").lines()
    assert next(lines) == "retry: 2000"
    assert next(lines).startswith(":")


def test_readers_that_hang_up_are_forgotten(shared: Any, listen: Any, until: Any) -> None:
    """Nothing stays behind for them."""
    from api.http.tail import Tail

    joined: list[int] = []
    leave = Tail.leave

    def counted(self: Tail, follower: Any) -> None:
        leave(self, follower)
        joined.append(1)

    stream = listen("/events/stream")
    stream.take(1)
    Tail.leave = counted  # type: ignore[method-assign]
    try:
        stream.close()
        until(lambda: joined)
    finally:
        Tail.leave = leave  # type: ignore[method-assign]


def test_streams_end_at_once_when_the_service_stops(serving: Any, listen: Any, tmp_path: Any) -> None:
    """Also the ones that wait, within two seconds."""
    with serving(tmp_path / "data") as house:
        streams = [listen("/events/stream", house=house) for _ in range(3)]
        for stream in streams:
            stream.take(1)
        began = time.monotonic()
    assert time.monotonic() - began < 2
    for stream in streams:
        assert list(stream.events()) == []
        assert stream.ended


def test_what_the_line_does_not_take_at_once_is_sent_later() -> None:
    """A send that has to wait is begun, and ended by whoever awaits the rest, who also gets its failure; one that need not wait is over at once."""
    from api.http.stream import begun

    done: list[str] = []

    async def send(gate: asyncio.Event, name: str) -> None:
        await gate.wait()
        done.append(name)

    async def run() -> None:
        gate = asyncio.Event()
        rest, cancelled = begun(send(gate, "later")), begun(send(gate, "never"))
        assert rest is not None
        assert cancelled is not None
        waiting = asyncio.ensure_future(cancelled)
        await asyncio.sleep(0)
        waiting.cancel()
        gate.set()
        await asyncio.gather(waiting, return_exceptions=True)
        assert done == []
        await rest
        assert done == ["later"]
        assert begun(send(gate, "at once")) is None
        assert done == ["later", "at once"]
        failed = begun(broken())
        assert failed is not None
        with pytest.raises(OSError, match="the line is gone"):
            await failed

    async def broken() -> None:
        raise OSError("the line is gone")

    asyncio.run(run())


# -- the tail ------------------------------------------------------------------------------------------------------------------------


def test_the_tail_is_bounded(shared: Any, listen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ring forgets the oldest, and readers, filtered or not, go on from the log."""
    monkeypatch.setattr(eventstore.tail, "RING_EVENTS", 5)
    whole = listen("/events/stream")
    place = whole.take(1)[0].id
    filtered = listen(f"/events/stream?after={place}&type=message.*&type=job.*")
    for number in range(30):
        post(shared, str(number))
    for stream in (whole, filtered):
        assert [event.id for event in stream.take(30)] == list(range(place + 1, place + 31))
    tail = shared.service.store.tail
    assert tail.position - tail.before < 10


def test_filtered_readers_share_the_tail(shared: Any, listen: Any, until: Any) -> None:
    """Many of them cost one read of what is new, and each gets what matches."""
    place = shared.head_position()
    streams = [listen(f"/events/stream?after={place}&type={kind}.*") for kind in ("message", "setting") for _ in range(20)]
    tail = shared.service.store.tail
    until(lambda: tail.followers == 1)
    before = tail.pages
    brightness = shared.get("/settings").json()["brightness"]
    for number in range(5):
        post(shared, str(number))
        shared.patch("/settings", json={"brightness": (brightness + 1 + number) % 100})
    for number, stream in enumerate(streams):
        seen: list[int] = []
        for event in stream.events():
            if event.event == "":
                seen.append(event.id)
            if len(seen) == 5:
                break
        assert seen == list(range(place + (1 if number < 20 else 2), place + 11, 2))
    assert tail.pages - before <= 10


def test_the_tail_is_kept_only_while_somebody_follows(serving: Any, listen: Any, tmp_path: Any, until: Any) -> None:
    """It is empty and takes nothing in before the first reader and after the last."""
    with serving(tmp_path / "data") as house:
        tail = house.service.store.tail
        post(house, "a")
        assert (tail.followers, tail.pages) == (0, 0)
        stream = listen("/events/stream", house=house)
        stream.take(1)
        post(house, "b")
        stream.take(1)
        assert (tail.followers, tail.position - tail.before) == (1, 1)
        stream.close()
        until(lambda: tail.followers == 0)
        assert tail.position == tail.before
        pages = tail.pages
        post(house, "c")
        assert tail.pages == pages
