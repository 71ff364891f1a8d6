"""Groups of processes on one directory that are killed, round after round, and the question whether what they were told still holds.

What the processes do is in `load.py`. Here: starting and killing a group, keeping what it said, and holding the directory to it. Everything comes
from one seed, but when a process gets its turn is the kernel's to say: a seed gives back the plan of a run and not its interleaving.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from api import verification
from api.commands.deciding import Rejected
from api.data import DataDirectory
from api.service import StateService
from eventstore import backup, chain, snapshot
from eventstore.errors import Refused
from eventstore.reading import COLUMNS
from projections import attesting, folding, rebuilding, snapshots
from projections.catalogue import AREAS
from projections.replay import digests
from projections.rows import MemoryRows
from tests.faults import load
from tests.faults.load import Answer, Command

PATIENCE_SECONDS = 30.0
"""For what has to happen soon; a machine under load is slow."""

LIFE_SECONDS = (0.0, 0.35)
"""How long a group lives after its first answer, as a rule: most of a kill's moments are those of a beginning."""

LONG_LIFE_SECONDS = (0.35, 2.0)
LONG_LIFE_SHARE = 0.3
"""The others live long enough for rebuilds and backups to come to their ends."""

RECOVERY_SECONDS = (0.0, 0.08)
"""How long a group lives that is killed while it starts after a kill: opening takes some 30 ms."""

SECOND_KILL_SHARE = 0.4

REPEATS = 10
"""Answered commands that are asked for again after each round."""


class Group:
    """The processes of one life, from birth to death. `lines` is what they said, complete once they are dead."""

    def __init__(self, calls: socket.socket, folder: Path, life: str) -> None:
        self.lines: list[dict[str, Any]] = []
        self._answered = threading.Event()
        reading, writing = os.pipe()
        socket.send_fds(calls, [json.dumps([str(folder), life]).encode()], [writing])
        os.close(writing)
        self._listener = threading.Thread(target=self._listen, args=(reading,))
        self._listener.start()
        self._id = int(calls.recv(64))

    def _listen(self, reading: int) -> None:
        with open(reading, "rb") as pipe:
            for line in pipe:
                with contextlib.suppress(json.JSONDecodeError):  # the last one of all may be half a line
                    self.lines.append(json.loads(line))
                    if "acked" in self.lines[-1] or "failed" in self.lines[-1]:
                        self._answered.set()

    def await_answer(self) -> None:
        """Until a command was answered."""
        if not self._answered.wait(PATIENCE_SECONDS):
            self.kill()
            raise AssertionError(f"no command was answered within {PATIENCE_SECONDS:g} s; what was said: {self.lines[:20]}")

    def kill(self) -> None:
        """SIGKILL to all at once, and the end of all awaited: it is the end of the pipe."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._id, signal.SIGKILL)
        self._listener.join(PATIENCE_SECONDS)
        assert not self._listener.is_alive(), "somebody outlived the kill"


class Nursery:
    """Where groups come from. Use it as a context manager."""

    def __enter__(self) -> Nursery:
        self._calls, theirs = socket.socketpair()
        program = [sys.executable, str(Path(load.__file__)), str(theirs.fileno())]
        self._process = subprocess.Popen(program, pass_fds=[theirs.fileno()])
        theirs.close()
        return self

    def group(self, folder: Path, life: str) -> Group:
        """Start a group."""
        return Group(self._calls, folder, life)

    def __exit__(self, *_: object) -> None:
        self._calls.close()
        self._process.wait(PATIENCE_SECONDS)


class Tally(msgspec.Struct):
    """What came together over all rounds. `cut`: commands that were under way when they were killed, `cut_and_kept`: those of them that had reached
    the log. `did`: ends of rebuilds, backups and so on, and refusals by their codes."""

    rounds: int = 0
    second_kills: int = 0
    rounds_cut: int = 0
    acked: int = 0
    cut: int = 0
    cut_and_kept: int = 0
    repeated: int = 0
    followed: int = 0
    checked: int = 0
    did: Counter[str] = msgspec.field(default_factory=Counter)


class Ledger:
    """What was said of the log, and the log as it was read, kept from round to round: nothing that was read or answered once may be otherwise."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.tally = Tally()
        self._source = random.Random(f"ledger-{seed}")
        self._commands: dict[str, Command] = {}
        self._answers: dict[str, Answer] = {}
        self._refused: set[str] = set()
        self._cut: list[str] = []
        self._log_id = ""
        self._ids: list[str] = []
        self._types: list[str] = []
        self._of: dict[str, list[list[Any]]] = {}
        self._versions: Counter[str] = Counter()
        self._chain = b""
        self._logtime_us = -1
        self._rows = MemoryRows(folding.all_tables())
        self._read_of: dict[str, tuple[int, int]] = dict.fromkeys(load.FOLLOWED, (0, 0))
        self._backups: dict[str, int] = {}
        self._uploads: list[str] = []

    # -- what was said -------------------------------------------------------------------------------------------------------------

    def hear(self, group: Group) -> int:
        """Take in what a dead group said; the answer is how many of its commands were cut off."""
        failures = [line["failed"] for line in group.lines if "failed" in line]
        assert not failures, "\n".join(failures)
        began: dict[str, Command] = {}
        for line in group.lines:
            match line:
                case {"began": command}:
                    began[command["id"]] = command
                case {"acked": id, "answer": answer}:
                    assert not answer["repeated"], line
                    self._commands[id], self._answers[id] = began.pop(id), answer
                    self.tally.acked += 1
                    if self._commands[id]["kind"] == "upload":
                        self._uploads.append(id)
                case {"refused": id, "why": why}:
                    began.pop(id)
                    self._refused.add(id)
                    self.tally.did[f"refused: {why}"] += 1
                case {"did": what}:
                    self.tally.did[what] += 1
                case _:
                    raise AssertionError(line)
        self._commands |= began
        self._cut += began
        self.tally.cut += len(began)
        return len(began)

    # -- whether it holds ----------------------------------------------------------------------------------------------------------

    def check(self, whole: bool) -> None:
        """Open the directory and hold it to everything. `whole`: with every check that there is."""
        with StateService(self.folder / "data") as service:
            self._read(service)
            self._check_commands()
            self._check_repeats(service)
            self._read(service)
            self._check_commands()
            self._check_projections(service)
            self._check_followers()
            self._check_uploads(service)
            self._check_backups(service)
            if whole:
                self._check_snapshots(service)
        if whole:
            self._check_whole()

    def _read(self, service: StateService) -> None:
        """What is new in the log: positions without gaps, versions that count, times that rise, a chain that goes on from what was read before."""
        if not self._log_id:
            self._log_id, self._chain = service.store.log_id, chain.start(service.store.log_id)
        assert (service.store.log_id, service.store.head().epoch) == (self._log_id, 0), (
            "a kill was taken for a power cut, or for a new log"
        )
        with service.store.reading() as db:
            rows: Any = db.execute(f"SELECT {COLUMNS} FROM events WHERE position > ? ORDER BY position", (len(self._ids),))
            for (
                position,
                stream,
                version,
                type,
                schema,
                id,
                logtime_us,
                time_us,
                actor,
                correlation,
                causation,
                tags,
                data,
                link,
            ) in rows:
                self._versions[stream] += 1
                assert (position, version) == (len(self._ids) + 1, self._versions[stream]), (stream, version)
                assert logtime_us > self._logtime_us, position
                header = chain.header(
                    position, version, schema, logtime_us, time_us, id, stream, type, actor, correlation, causation, tags
                )
                self._chain = chain.link(self._chain, header, sha256(data.encode()).digest())
                assert self._chain == link, f"the chain breaks at {position}"
                self._logtime_us = logtime_us
                self._ids.append(id.hex())
                self._types.append(type)
                if actor == load.ACTOR:
                    self._of.setdefault(correlation, []).append([position, id.hex()])

    def _check_commands(self) -> None:
        """Each acknowledged command is there exactly once, with the events that its answer named; no refused one is; a cut one is whole or absent."""
        for id, answer in self._answers.items():
            assert self._of.get(id, []) == answer["events"], f"{self._commands[id]} was answered with {answer}"
        assert not self._refused & self._of.keys()
        assert self._of.keys() <= self._commands.keys() | self._refused
        for id in self._cut:
            there = [position for position, _ in self._of.get(id, [])]
            assert there == list(range(there[0], there[0] + len(there))) if there else True, id
            command = self._commands[id]
            if command["kind"] == "append":
                assert len(there) in (0, len(command["services"]) * command["each"]), command

    def _check_repeats(self, service: StateService) -> None:
        """Ask again for what was cut off, and for some of what was answered. A known key gives the first answer, and nothing happens."""
        for id in self._cut:
            command, there = self._commands[id], self._of.get(id, [])
            self.tally.cut_and_kept += bool(there)
            if not command["keyed"]:
                continue
            self.tally.repeated += 1
            before = service.store.head().position
            answer = _answer(service, command)
            if isinstance(answer, str):
                assert (there, answer == "key_reused") == ([], False), (command, answer)
                self._refused.add(id)
                continue
            if there:
                assert (answer["repeated"], answer["events"]) == (True, there), (command, answer, there)
            if answer["repeated"]:
                assert service.store.head().position == before, command
            self._answers[id] = answer
        unkeyed = [id for id in self._cut if not self._commands[id]["keyed"]]
        for id in unkeyed:  # nobody can ask for them again: what is there of them now is what there will ever be
            self._answers[id] = {"events": self._of.get(id, [])}
        self._cut.clear()
        known = [id for id in self._answers if self._commands[id]["keyed"]]
        before = service.store.head().position
        for id in self._source.sample(known, min(REPEATS, len(known))):
            answer, first = load.carry_out(service, self._commands[id]), self._answers[id]
            assert (answer["repeated"], answer["position"], answer["events"]) == (True, first["position"], first["events"]), id
            self.tally.repeated += 1
        assert service.store.head().position == before

    def _check_projections(self, service: StateService) -> None:
        """Every area is folded to the end of the log, and to what a fold of its own of the same log gives. Appends past the commands' door are folded
        when somebody comes through it, or now."""
        rebuilding.catch_up(service.store)
        with service.store.snapshot() as db:
            folding.fold_to(db, len(self._ids), rows=self._rows, after=self.tally.checked)
            self.tally.checked = len(self._ids)
            wrong = [area.name for area in AREAS if digests.of_area(db, area) != attesting.digest(self._rows, area)]
            rows: Any = db.execute("SELECT position, stopped FROM projections")
            assert ({(position, why) for position, why in rows}, wrong) == ({(len(self._ids), None)}, [])

    def _check_followers(self) -> None:
        """Each follower saw exactly the events up to where it is: none that is not in the log, none twice, none left out."""
        for name, types in load.FOLLOWED.items():
            offset, after = self._read_of[name]
            file = self.folder / name
            seen = file.read_bytes()[offset:] if file.exists() else b""
            seen = seen[: seen.rfind(b"\n") + 1]
            lines = seen.decode().splitlines()
            last = int(lines[-1].split()[0]) if lines else after
            prefix = tuple(pattern.rstrip("*") for pattern in types)
            due = range(after + 1, min(last, len(self._ids)) + 1)
            expected = [f"{at} {self._ids[at - 1]}" for at in due if not prefix or self._types[at - 1].startswith(prefix)]
            assert lines == expected, f"{name}, after {after}"
            self.tally.followed += len(lines)
            self._read_of[name] = (offset + len(seen), last)

    def _check_uploads(self, service: StateService) -> None:
        """The file of each acknowledged upload is held whole."""
        for id in self._uploads:
            name = sha256(load.content(id)).hexdigest()
            assert (service.data.blobs / name[:2] / name).read_bytes() == load.content(id), id
        self._uploads.clear()

    def _check_backups(self, service: StateService) -> None:
        """What has the name of a backup is a whole one, of this log."""
        for file in (self.folder / "backups").glob("[!.]*"):
            if self._backups.get(file.name) == (made := file.stat().st_mtime_ns):
                continue
            manifest = backup.read(file)
            with service.store.reading() as db:
                link: bytes = db.execute("SELECT chain FROM events WHERE position = ?", (manifest.head,)).get
            assert manifest.head == 0 or (manifest.log_id, manifest.chain) == (self._log_id, link.hex()), file.name
            self._backups[file.name] = made

    def _check_snapshots(self, service: StateService) -> None:
        """The kept states are whole, and the newest goes on to what the log gives."""
        folder = service.data.root / snapshots.FOLDER
        there = snapshot.positions(folder)
        with service.store.snapshot() as db:
            position, rows = snapshots.before(db, len(self._ids), AREAS) or (0, MemoryRows(folding.all_tables()))
            assert (position, snapshot.positions(folder)) == (max(there, default=0), there)
            folding.fold_to(db, len(self._ids), rows=rows, after=position)
        assert [attesting.digest(rows, area) for area in AREAS] == [attesting.digest(self._rows, area) for area in AREAS]

    def _check_whole(self) -> None:
        report = verification.verify(DataDirectory(self.folder / "data"))
        assert (report.ok, report.problems, report.head) == (True, (), len(self._ids))
        for name in self._backups:
            with tempfile.TemporaryDirectory(dir=self.folder) as fresh:
                backup.unpack(self.folder / "backups" / name, Path(fresh))


def _answer(service: StateService, command: Command) -> Answer | str:
    """The answer to a command, or the code with which it was refused."""
    try:
        return load.carry_out(service, command)
    except (Rejected, Refused) as refusal:
        return refusal.code


def rounds(folder: Path, count: int, seed: int, whole_every: int) -> Tally:
    """Kill groups on one directory, `count` times and some of them twice, and check after each."""
    print(f"seed {seed}")  # noqa: T201 - for whoever looks at a failure
    source = random.Random(seed)
    (folder / "backups").mkdir(parents=True)
    ledger = Ledger(folder, seed)
    tally = ledger.tally
    with Nursery() as nursery:
        for number in range(count):
            group = nursery.group(folder, f"{seed}-{number}")
            group.await_answer()
            time.sleep(source.uniform(*(LONG_LIFE_SECONDS if source.random() < LONG_LIFE_SHARE else LIFE_SECONDS)))
            group.kill()
            cut = ledger.hear(group)
            if source.random() < SECOND_KILL_SHARE:
                group = nursery.group(folder, f"{seed}-{number}b")
                time.sleep(source.uniform(*RECOVERY_SECONDS))
                group.kill()
                ledger.hear(group)
                tally.second_kills += 1
            tally.rounds += 1
            tally.rounds_cut += cut > 0
            ledger.check(whole=number % whole_every == whole_every - 1 or number == count - 1)
    return tally
