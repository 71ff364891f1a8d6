"""What the killed processes do: commands of every sort by several threads, rebuilds, backups, following. And where they come from.

Run as a program this is a nursery: it imports everything once, opens nothing, and forks a group of processes whenever it is asked to over a
socket; so a round begins within milliseconds. All of a group write lines of JSON into one pipe, each line with one `write` (atomic up to PIPE_BUF):

    {"began": {…}}             a command is about to be carried out; this is all that is needed to carry it out again
    {"acked": id, "answer": …} it was answered
    {"refused": id, "why": …}  it was refused
    {"did": what}              a rebuild, a backup … came to its end
    {"failed": text}           an exception that nobody expects

The pipe ends when the last of the group is dead.
"""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parents[2]))

import apsw
import msgspec

from api import backups
from api.commands.deciding import Rejected
from api.commands.heartbeats import RecordHeartbeat
from api.commands.jobs import ClaimJob, QueueJob, UpdateJob
from api.commands.loop import NewEntry, ReplaceLoop
from api.commands.media import AddMedia, RemoveMedia
from api.commands.messages import PostMessage
from api.commands.settings import ChangeSettings
from api.data import DataDirectory
from api.execution import Repeat, Stored
from api.service import StateService
from eventstore import upkeep
from eventstore.errors import Busy, Refused, WrongVersion
from eventstore.record import NoneSince, Origin, RecordedEvent
from projections import attesting, catalogue, rebuilding, snapshots
from projections.heartbeats import HeartbeatRecorded

ACTOR = "load"
WRITERS = 2
THREADS = 3
KEYED_SHARE = 0.8
"""Commands that carry a key, and can thus be asked for again."""

SNAPSHOT_EVENTS = 200
"""Events between two kept states here: so many come about in a round."""

SHARED = "load-shared"
"""The service that all writers beat for, each expecting the version of its stream that it saw last."""

Command = dict[str, Any]
Answer = dict[str, Any]
Say = Callable[[dict[str, Any]], None]


# -- one command ---------------------------------------------------------------------------------------------------------------------


def carry_out(service: StateService, command: Command) -> Answer:
    """Carry out a command; the answer has the position and, unless it is a repeat of a decided command, the (position, id) of its events. All its
    events bear the command's id as their correlation id. Raises Rejected, Refused."""
    if command["kind"] == "append":
        return _append(service, command)
    return _decided(service, command)


def _append(service: StateService, command: Command) -> Answer:
    """Events past the commands' door, as another program on the same log appends them."""
    batch: list[Any] = []
    for service_name in command["services"]:
        made = [
            HeartbeatRecorded(service_name, "ok", {"id": command["id"], "number": number}) for number in range(command["each"])
        ]
        new = [msgspec.structs.replace(catalogue.encode(one), tags=(f"of:{service_name}",)) for one in made]
        expected = command["expected"] if service_name == SHARED else "any"
        batch.append((catalogue.stream_of(made[0]), new, expected))
    conditions = [NoneSince(command["since"], tags=(f"of:{SHARED}",))] if command["since"] is not None else []
    answer = service.store.append_batch(
        batch,
        conditions=conditions,
        idempotency_key=command["id"] if command["keyed"] else None,
        origin=Origin(ACTOR, command["id"]),
        durable=command["durable"],
    )
    return {"position": answer.position, "events": _ids(answer.events), "version": answer.version, "repeated": answer.repeated}


def _decided(service: StateService, command: Command) -> Answer:
    def respond(db: apsw.Connection, events: tuple[RecordedEvent, ...]) -> Stored:
        streams = [event.stream for event in events]
        return Stored(200, json.dumps({"events": _ids(events), "streams": streams}).encode())

    fingerprint = sha256(json.dumps(command, sort_keys=True).encode()).digest()
    outcome = service.executor.execute(
        _struct(service, command),
        respond,
        origin=Origin(ACTOR, command["id"]),
        repeat=Repeat(command["id"], fingerprint) if command["keyed"] else None,
    )
    return {"position": outcome.position, "repeated": outcome.replayed, **json.loads(outcome.answer.body)}


def _struct(service: StateService, command: Command) -> msgspec.Struct:
    id = command["id"]
    match command["kind"]:
        case "setting":
            return ChangeSettings({"brightness": command["value"]})
        case "message":
            return PostMessage(id, "info", command["ttl"])
        case "beat":
            return RecordHeartbeat(command["service"], "ok", {"id": id})
        case "queue":
            return QueueJob(kind="errand", title=id)
        case "claim":
            return ClaimJob(("errand",), id, 30.0)
        case "progress":
            return UpdateJob(id=command["job"], progress=command["value"], message=id)
        case "complete":
            return UpdateJob(id=command["job"], status="completed")
        case "loop":
            return ReplaceLoop(tuple(NewEntry(slug) for slug in command["slugs"]))
        case "upload":
            blob, _ = service.store_blob(BytesIO(content(id)))
            return AddMedia(
                f"{id}.png", blob.sha256, blob.size_bytes, "image/png", "image", slug(id), command["show"], command["show"]
            )
        case "remove":
            return RemoveMedia(command["slug"])
        case kind:
            raise ValueError(kind)


def content(id: str) -> bytes:
    """The bytes that the upload with this id brings: several chunks, so that it can be killed between them."""
    return f"{id}\n".encode() * 15_000


def slug(id: str) -> str:
    """The item that the upload with this id makes."""
    return f"item-{id}"


def _ids(events: tuple[RecordedEvent, ...]) -> list[list[Any]]:
    return [[event.position, event.id.hex()] for event in events]


# -- the parts of a group ------------------------------------------------------------------------------------------------------------


class Client:
    """One thread of a writer: makes up commands and carries them out, one after the other."""

    def __init__(self, service: StateService, say: Say, name: str, source: random.Random) -> None:
        self._service, self._say, self._name, self._source = service, say, name, source
        self._count = 0
        self._jobs: list[str] = []
        self._slugs: list[str] = []
        self._shared_version = 0

    def run(self) -> None:
        """Until killed."""
        while True:
            command = self._next()
            self._say({"began": command})
            try:
                answer = carry_out(self._service, command)
            except (Rejected, Refused) as refusal:
                if isinstance(refusal, WrongVersion):
                    self._shared_version = refusal.actual
                why = f"busy, {refusal}" if isinstance(refusal, Busy) else refusal.code
                self._say({"refused": command["id"], "why": why})
                continue
            self._say({"acked": command["id"], "answer": answer})
            self._learn(command, answer)

    def _next(self) -> Command:
        source = self._source
        self._count += 1
        head = {"id": f"{self._name}-{self._count}", "keyed": source.random() < KEYED_SHARE}
        kind = source.choices(
            ("append", "setting", "message", "beat", "queue", "claim", "progress", "complete", "loop", "upload", "remove"),
            (8, 2, 3, 4, 2, 1, 4, 1, 1, 2, 1),
        )[0]
        if kind in ("progress", "complete") and not self._jobs:
            kind = "queue"
        if kind in ("loop", "remove") and not self._slugs:
            kind = "upload"
        return {"kind": kind, **head, **self._arguments(kind)}

    def _arguments(self, kind: str) -> Command:
        source = self._source
        match kind:
            case "append":
                services = source.sample([f"load-{number}" for number in range(6)], source.randrange(1, 4))
                shared = source.random() < 0.4
                return {
                    "services": [*services, SHARED] if shared else services,
                    "each": source.randrange(1, 4),
                    "durable": source.random() < 0.5,
                    "expected": (self._shared_version or "none") if shared else "any",
                    "since": self._service.store.head().position if source.random() < 0.2 else None,
                }
            case "setting":
                return {"value": source.randrange(1, 101)}
            case "message":
                return {"ttl": source.choice((None, 0.05, 30.0))}
            case "beat":
                return {"service": f"load-{source.randrange(12)}"}
            case "progress":
                return {"job": source.choice(self._jobs), "value": float(source.randrange(101))}
            case "complete":
                return {"job": self._jobs.pop(0)}
            case "loop":
                return {"slugs": source.sample(self._slugs, source.randrange(1, len(self._slugs) + 1))}
            case "upload":
                return {"show": source.random() < 0.5}
            case "remove":
                return {"slug": self._slugs.pop(0)}
            case _:
                return {}

    def _learn(self, command: Command, answer: Answer) -> None:
        match command["kind"]:
            case "append" if SHARED in command["services"]:
                self._shared_version = answer["version"]
            case "queue":
                self._jobs = [*self._jobs, answer["streams"][0].split("/", 1)[1]][-8:]
            case "upload":
                self._slugs = [*self._slugs, slug(command["id"])][-8:]
            case _:
                pass


def write(folder: Path, say: Say, name: str) -> None:
    """Several clients on one open directory."""
    with StateService(folder / "data") as service:
        clients = [
            threading.Thread(
                target=_guarded(say, Client(service, say, f"{name}-{number}", random.Random(f"{name}-{number}")).run)
            )
            for number in range(THREADS)
        ]
        for one in clients:
            one.start()
        for one in clients:
            one.join()


def rebuild(folder: Path, say: Say, name: str) -> None:
    """Make all projections anew, or some, over and over."""
    source = random.Random(name)
    with StateService(folder / "data") as service:
        while True:
            areas = catalogue.AREAS if source.random() < 0.5 else tuple(source.sample(catalogue.AREAS, 3))
            rebuilding.rebuild(service.store, areas)
            say({"did": "rebuild"})
            time.sleep(source.uniform(0, 0.05))


def keep(folder: Path, say: Say, name: str) -> None:
    """Backups, kept states, checkpoints, attestations, and what else is done in idle time."""
    source = random.Random(name)
    snapshots.EVERY_EVENTS = SNAPSHOT_EVENTS  # type: ignore[misc]
    data = DataDirectory(folder / "data")
    with StateService(data.root) as service:
        store = service.store

        def backup() -> None:
            backups.write(data, store, folder / "backups" / f"{source.randrange(3)}.pixelog", secrets=True)

        def attest() -> None:
            with store.snapshot() as db:
                said = attesting.attest(db)
            if said is not None:
                service.executor.note(said)

        duties: dict[str, tuple[int, Callable[[], object]]] = {
            "backup": (3, backup),
            "snapshot": (4, lambda: snapshots.keep(store, data.root / snapshots.FOLDER)),
            "checkpoint": (4, lambda: upkeep.checkpoint(store)),
            "attest": (2, attest),
            "vacuum": (1, lambda: upkeep.give_back(store)),
            "keys": (1, lambda: upkeep.forget_keys(store)),
            "optimise": (1, lambda: upkeep.optimise(store)),
        }
        while True:
            duty = source.choices(list(duties), [weight for weight, _ in duties.values()])[0]
            duties[duty][1]()
            say({"did": duty})


FOLLOWED = {"all": (), "beats": ("heartbeat.*",)}
"""What is followed, by the name of the file into which it goes: patterns of types."""


def follow(folder: Path, say: Say, name: str) -> None:
    """Two subscribers, each from where its file ends. A line in it: position and id of an event."""
    with StateService(folder / "data") as service:
        threads = [
            threading.Thread(target=_guarded(say, lambda one=one: _follow(service, folder / one, FOLLOWED[one])))
            for one in FOLLOWED
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()


def _follow(service: StateService, file: Path, types: tuple[str, ...]) -> None:
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    size = os.fstat(fd).st_size
    tail = os.pread(fd, 200, max(0, size - 200))
    whole = tail.rfind(b"\n") + 1
    os.ftruncate(fd, size - len(tail) + whole)  # half a line
    last = tail[:whole].splitlines()
    for event in service.subscribe(int(last[-1].split()[0]) if last else 0, types):
        os.write(fd, f"{event.position} {event.id.hex()}\n".encode())


PARTS: dict[str, Callable[[Path, Say, str], None]] = {
    **{f"writer{number}": write for number in range(WRITERS)},
    "rebuilder": rebuild,
    "keeper": keep,
    "follower": follow,
}


# -- the nursery ---------------------------------------------------------------------------------------------------------------------


def _guarded(say: Say, work: Callable[[], None]) -> Callable[[], None]:
    """Nobody in a group may end but by being killed."""

    def run() -> None:
        try:
            work()
        except BrokenPipeError:
            os._exit(1)  # nobody listens any more: the test itself is gone
        except BaseException:  # noqa: BLE001 - it is told, and fails the test
            say({"failed": traceback.format_exc()[-3_000:]})

    return run


def _part(name: str, work: Callable[[Path, Say, str], None], folder: Path, life: str, pipe: int) -> NoReturn:
    def say(line: dict[str, Any]) -> None:
        os.write(pipe, json.dumps(line).encode() + b"\n")

    try:
        _guarded(say, lambda: work(folder, say, f"{life}-{name}"))()
    finally:
        os._exit(1)


def _births(calls: socket.socket) -> Iterator[tuple[list[str], int]]:
    """Requests (folder, life) with the writing end of a pipe, until the other side is closed."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(calls, 4_096, 1)
        if not message:
            return
        yield json.loads(message), descriptors[0]


def nursery(calls: socket.socket) -> None:
    """Fork a group for each request and answer with its id. The seed of all that its parts do is in the name of its life."""
    for (folder, life), pipe in _births(calls):
        group = 0
        for name, work in PARTS.items():
            pid = os.fork()
            if pid == 0:
                calls.close()
                _part(name, work, Path(folder), life, pipe)
            group = group or pid
            os.setpgid(pid, group)
        os.close(pipe)
        calls.send(str(group).encode())
        _bury()


def _bury() -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


if __name__ == "__main__":
    nursery(socket.socket(fileno=int(sys.argv[1])))
