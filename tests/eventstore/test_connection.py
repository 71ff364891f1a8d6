"""The pool of read connections and what it knows of its statements: counted, renewed, bounded, said when slow."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import apsw
import pytest

from eventstore import connection, statements
from eventstore.connection import ReaderCounts, Readers
from eventstore.errors import Busy, Refused, TooSlow
from eventstore.statements import Slow, Statements
from eventstore.store import EventStore
from tests.eventstore.conftest import event

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
LONG = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 50000) SELECT count(*) FROM n"


class Seconds:
    """A clock that moves when told to, and `each` at every look."""

    def __init__(self) -> None:
        self.at, self.each = 1_000.0, 0.0

    def __call__(self) -> float:
        self.at += self.each
        return self.at


@pytest.fixture
def seconds() -> Seconds:
    """A clock that stands still."""
    return Seconds()


@pytest.fixture
def readers(store: EventStore, seconds: Seconds) -> Readers:
    """Two connections at most, under that clock."""
    store.append("s", event())
    assert store.path is not None
    return Readers(store.path, most=2, statements=Statements(seconds))


# -- the pool ------------------------------------------------------------------------------------------------------------------------


def test_lent_connections_are_counted(readers: Readers) -> None:
    """Now and at once; one that came back is lent again."""
    assert readers.counts() == ReaderCounts()
    with readers.borrow() as one:
        with readers.borrow() as other:
            assert one is not other
            assert readers.counts() == ReaderCounts(opened=2, lent=2, lent_most=2)
        with readers.borrow() as again:
            assert again is other
    assert readers.counts() == ReaderCounts(opened=2, lent=0, lent_most=2)
    readers.close()


def test_who_waits_in_vain_is_counted(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    """And refused, with nothing lost for the others."""
    monkeypatch.setattr(connection, "READER_WAIT_SECONDS", 0.01)
    with readers.borrow(), readers.borrow(), pytest.raises(Refused, match="all 2 read connections"), readers.borrow():
        pass
    assert readers.counts() == ReaderCounts(opened=2, lent=0, lent_most=2, timeouts=1)
    readers.close()


def test_an_old_connection_is_renewed(readers: Readers, seconds: Seconds) -> None:
    """When it comes back; the next one is set up anew, whatever somebody left behind on the old one."""
    with readers.borrow() as db:
        db.execute("PRAGMA query_only = 0").fetchall()
        seconds.at += connection.READER_AGE_SECONDS - 1
    with readers.borrow() as same:
        assert same is db
        seconds.at += 1
    assert readers.counts() == ReaderCounts(opened=1, renewed=1, lent_most=1)
    with pytest.raises(apsw.ConnectionClosedError):
        db.pragma("query_only")
    with readers.borrow() as new:
        assert new is not db
        assert [new.pragma(name) for name, _, _ in connection.PRAGMAS] == [value for _, value, _ in connection.PRAGMAS]
        assert new.pragma("query_only") == 1
    assert readers.counts() == ReaderCounts(opened=2, renewed=1, lent_most=1)
    readers.close()


def test_a_connection_that_was_lent_often_is_renewed(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    """However young it is."""
    monkeypatch.setattr(connection, "READER_LENDINGS_MAX", 3)
    for _ in range(7):
        with readers.borrow() as db:
            assert db.execute("SELECT position FROM head").get == 1
    assert readers.counts() == ReaderCounts(opened=3, renewed=2, lent_most=1)
    readers.close()


def test_a_connection_that_comes_back_after_the_end_is_closed(readers: Readers) -> None:
    """And nobody gets it any more."""
    with readers.borrow() as db:
        readers.close()
        assert db.execute("SELECT position FROM head").get == 1
    with pytest.raises(apsw.ConnectionClosedError):
        db.pragma("query_only")


# -- the bound of a statement ----------------------------------------------------------------------------------------------------------


def test_a_read_that_takes_too_long_is_ended(path: Path) -> None:
    """With a refusal that says what to do; connection and snapshot are good for the next, and it was counted."""
    with EventStore.open(path, read_seconds_max=0.03) as store:
        store.append("s", event())
        with store.snapshot() as db:
            with pytest.raises(TooSlow, match=r"longer than 0\.03 s and was ended; ask for less") as caught:
                db.execute(ENDLESS).fetchall()
            assert caught.value.code == "too_slow"
            assert db.in_transaction
            assert db.execute("SELECT position FROM head").get == 1
        assert store.statements.counts().ended == 1
        assert store.reader_counts() == ReaderCounts(opened=1, lent_most=1)
        assert store.append("s", event()).position == 2


def test_the_bound_is_for_each_statement(readers: Readers, seconds: Seconds) -> None:
    """Time between statements, and that of those before, is nobody's; time between the rows of one is its own."""
    with readers.borrow() as db:
        for _ in range(3):
            seconds.at += 9
            assert db.execute(LONG).get == 50_000
        rows = db.execute("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 50000) SELECT x FROM n")
        assert next(rows) == (1,)
        seconds.at += statements.READ_SECONDS_MAX + 1
        with pytest.raises(TooSlow):
            rows.fetchall()
        rows.close()
        assert db.execute(LONG).get == 50_000
    readers.close()


def test_rows_that_are_taken_slowly_are_bounded(readers: Readers, seconds: Seconds) -> None:
    """One who takes a row in 0.1 s is ended within two hundred rows after the bound, not within thousands."""
    with readers.borrow() as db:
        rows = db.execute("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 50000) SELECT x FROM n")
        taken: list[int] = []

        def take_slowly() -> None:
            for (number,) in rows:
                taken.append(number)
                seconds.at += 0.1

        with pytest.raises(TooSlow):
            take_slowly()
        assert 100 <= len(taken) <= 300
    readers.close()


def test_a_patient_reader_is_not_ended(path: Path) -> None:
    """Nor said to be slow; the next borrower of the connection is bounded again."""
    with EventStore.open(path, read_seconds_max=0.0) as store:
        with store.reading(patient=True) as db:
            assert db.execute(LONG).get == 50_000
        with store.snapshot(patient=True) as same:
            assert same is db
            assert same.execute(LONG).get == 50_000
        with store.reading() as same, pytest.raises(TooSlow):
            same.execute(LONG).fetchall()


def test_the_check_of_everything_is_patient(path: Path) -> None:
    """SQLite's check of a file is one statement, and as long as the file is large."""
    with EventStore.open(path, read_seconds_max=0.0) as store:
        for _ in range(5):
            store.append("s", [event("x" * 100)] * 1000, durable=False)
        assert store.verify() == []
        with store.reading() as db, pytest.raises(TooSlow):
            db.execute("PRAGMA integrity_check").fetchall()


def test_a_log_opened_without_a_bound_has_none(path: Path) -> None:
    """For one person's question, who ends it with Ctrl-C."""
    EventStore.open(path).close()
    with EventStore.open(path, read_only=True, read_seconds_max=None) as store, store.reading() as db:
        assert db.execute(LONG).get == 50_000


def test_a_borrowers_own_stop_and_the_bound_do_not_disturb_each_other(path: Path) -> None:
    """Either ends a statement, and taking one away leaves the other."""
    with EventStore.open(path, read_seconds_max=0.03) as store, store.reading() as db:
        db.set_progress_handler(lambda: True, 1_000)
        with pytest.raises(apsw.InterruptError):
            db.execute(ENDLESS).fetchall()
        db.set_progress_handler(None)
        with pytest.raises(TooSlow):
            db.execute(ENDLESS).fetchall()


def test_a_long_full_text_search_is_ended(path: Path) -> None:
    """Although the search runs many short statements of its own inside."""
    with EventStore.open(path, read_seconds_max=0.03) as store:
        store.transact(lambda t: t.db.execute("CREATE VIRTUAL TABLE words USING fts5(text)").fetchall() and None)
        store.transact(lambda t: t.db.executemany("INSERT INTO words VALUES (?)", [(f"hello {n}",) for n in range(500)]) and None)
        with store.reading() as db, pytest.raises(TooSlow):
            db.execute("SELECT count(b.text) FROM words AS a, words AS b, words AS c WHERE b.words MATCH 'hello'").fetchall()


# -- slow statements -------------------------------------------------------------------------------------------------------------------


def test_a_slow_read_is_said_without_its_values(readers: Readers, seconds: Seconds, caplog: pytest.LogCaptureFixture) -> None:
    """Once, with its text and its milliseconds."""
    known = readers._statements
    with readers.borrow() as db:
        assert db.execute("SELECT ?", ("quick",)).get == "quick"
        assert known.counts().slow == 0
        rows = db.execute("SELECT ?\n   AS secret", ("a password",))
        seconds.at += 0.4
        assert rows.fetchall() == [("a password",)]
    assert known.counts() == statements.StatementCounts(1, Slow("SELECT ? AS secret", 400), 0)
    assert [one.getMessage() for one in caplog.records] == ["slow: 400 ms for SELECT ? AS secret"]
    assert caplog.records[0].levelno == logging.WARNING
    readers.close()


def test_slow_statements_do_not_fill_the_journal(caplog: pytest.LogCaptureFixture, seconds: Seconds) -> None:
    """One line in a minute, which says how many there were that were not said; all are counted, and no text is endless."""
    known = Statements(seconds)
    for number in range(5):
        known.note(f"SELECT {number}", 1.0)
    seconds.at += statements.LOG_EVERY_SECONDS
    known.note("x" * 10_000, 2.0)
    assert [len(one.getMessage()) < 700 for one in caplog.records] == [True, True]
    assert caplog.records[1].getMessage().endswith("x (and 4 more since the last such line)")
    assert known.counts().slow == 6


def test_a_slow_write_is_named_when_it_comes_again(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """First as a transaction, then with its longest statement; after some quick ones nobody looks so closely any more."""
    monkeypatch.setattr(statements, "CLOSER_TRANSACTIONS", 2)
    store.append("s", event())
    assert store.statements.counts().slow == 0

    def slow() -> str:
        def work(transaction: object) -> None:
            transaction.db.execute(f"CREATE TEMP TABLE big AS {ENDLESS} LIMIT ?".replace("count(*)", "x"), (60_000,))  # type: ignore[attr-defined]
            transaction.db.execute("DROP TABLE big")  # type: ignore[attr-defined]

        with monkeypatch.context() as patched:
            patched.setattr(statements, "SLOW_SECONDS", 0.0)
            store.transact(work)
        newest = store.statements.counts().newest
        assert newest is not None
        return newest.sql

    assert slow() == "a write transaction"
    named = slow()
    assert named.startswith("a write transaction; longest, ")
    assert "CREATE TEMP TABLE big AS WITH RECURSIVE" in named
    assert "LIMIT ?" in named
    for _ in range(2):
        store.append("s", event())
    assert slow() == "a write transaction"
    assert store.statements.counts().slow == 3


@pytest.mark.parametrize("left", ["cursor", "transaction", "begin"])
def test_what_outlives_its_block_holds_nobody_back(path: Path, left: str) -> None:
    """A cursor or a transaction that somebody kept: the connection is not lent again, and the next reader sees the newest state."""
    with EventStore.open(path) as store:
        for _ in range(3):
            store.append("s", event())
        with store.reading() as db:
            if left == "cursor":
                rows = db.execute("SELECT position FROM events")
                assert next(rows) == (1,)
            else:
                db.execute("BEGIN")
                assert left == "begin" or db.execute("SELECT count(*) FROM events").get == 3
        store.append("s", event())
        assert store.head().position == len(list(store.read())) == 4
        with store.snapshot() as db:
            assert db.execute("SELECT count(*) FROM events").get == 4
        assert store.writer is not None
        assert store.writer.checkpoint(0)


def test_a_log_that_is_being_created_is_one_state(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The marks are asked in one statement: created between two of them, it would pass for a database of somebody else."""
    asked: list[str] = []
    connect = apsw.Connection

    def traced(*arguments: Any, **named: Any) -> apsw.Connection:
        db = connect(*arguments, **named)
        db.exec_trace = lambda _, statement, __: not asked.append(statement)
        return db

    with EventStore.open(path):
        monkeypatch.setattr(connection.apsw, "Connection", traced)
        assert connection.inspect(path) == 1
    assert len(asked) == 1


def test_a_read_without_locks_that_was_overtaken_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no lock can be taken, what was written meanwhile may have been read half; the next reader sees it whole."""
    EventStore.open(path).close()
    plain = connection._open_reader  # pyright: ignore[reportPrivateUsage]

    def without_locks(path: Path, vfs: str | None, **parameters: int) -> apsw.Connection:
        if not parameters:
            raise apsw.ReadOnlyError("attempt to write a readonly database")
        return plain(path, vfs, **parameters)

    monkeypatch.setattr(connection, "_open_reader", without_locks)
    readers = Readers(path)
    with pytest.raises(Busy, match="while it was read"), readers.borrow():
        os.utime(path, ns=(1, 1))
    with readers.borrow() as db:
        assert db.execute("SELECT count(*) FROM events").get == 0
    readers.close()
