"""Liveness, readiness, and every check with its figures. Outside the API's base: probes know these paths."""

from __future__ import annotations

from starlette.responses import Response

from api.device.facts import DISK_BAD_BYTES
from api.http.problems import Problem
from api.http.requests import Call
from api.http.responses import NO_STORE, json
from api.http.routing import Route
from api.upkeep import Check, Standing
from eventstore.connection import READERS_MAX
from eventstore.store import EventStore
from eventstore.writer import Writer
from projections import folding, rebuilding

_RESTART = "restart pixelog; if it happens again, check the card and restore a backup: pixelog restore FILE"


async def livez(call: Call) -> Response:
    """The process answers."""
    return json({"status": "ok"}, headers=NO_STORE)


async def readyz(call: Call) -> Response:
    """Commands are taken. Problem: not_ready, stopped."""
    door = call.door
    if door.stage != "ready":
        raise Problem("not_ready", f"the service is {door.stage}; try again in a moment")
    writer = door.service.store.writer
    if writer is not None and writer.stopped is not None:
        raise Problem("stopped", writer.stopped)
    return json({"status": "ok"}, headers=NO_STORE)


async def healthz(call: Call) -> Response:
    """Every check with its figures; 503 when one has failed."""
    checks = _checks(call)
    standings = {check.status for check in checks.values()}
    status: Standing = "failed" if "failed" in standings else "degraded" if "degraded" in standings else "ok"
    return json({"status": status, "checks": checks}, 503 if status == "failed" else 200, NO_STORE)


def _checks(call: Call) -> dict[str, Check]:
    door = call.door
    store = door.service.store
    with door.snapshot() as snapshot:
        head, folded = snapshot.head, folding.folded_to(snapshot.db)
        unknown = rebuilding.unknown(snapshot.db) if folded < head.position else None
    free_bytes = door.free_bytes()
    live = door.camera.sequence() is not None
    upkeep = door.service.upkeep
    kept = {} if upkeep is None else upkeep.checks()
    return (
        kept
        | {
            "service": Check("ok" if door.stage == "ready" else "degraded", door.stage),
            "log": _log(store.writer, head.position),
            "start": Check("ok", None if store.started is None else store.started.position, "position, its end and guards whole"),
            "unsynced": Check("ok", head.position - head.synced_position, "events"),
            "statements": _statements(store),
            "readers": _readers(store),
            "watch": Check(
                "ok",
                store.watch.missed,
                "missed announcements",
                figures={"missed": store.watch.missed, "failedLooks": store.watch.failed_looks},
            ),
            "projections": _projections(head.position - folded, unknown),
            "disk": Check("ok", free_bytes, "bytes free")
            if free_bytes >= DISK_BAD_BYTES
            else Check(
                "degraded",
                free_bytes,
                "bytes free",
                "remove media that nobody needs (makes room after ten minutes), or take a larger card",
            ),
            "player": Check("ok", "live") if live else Check("degraded", "none", mend="start one: pixelog player, or pixelog up"),
        }
        | ({} if store.writer is None else {"writer": _writer(store.writer)})
    )


def _log(writer: Writer | None, position: int) -> Check:
    if writer is None or writer.stopped is None:
        return Check("ok", position, "position")
    return Check("failed", writer.stopped, mend=_RESTART)


def _projections(behind: int, unknown: str | None) -> Check:
    if not behind:
        return Check("ok", 0, "events behind")
    if unknown is not None:
        # Restarting would not help: this program cannot know what they mean.
        return Check("failed", behind, "events behind", f"update pixelog: {unknown}")
    return Check("failed", behind, "events behind", "restart pixelog; if it stays so: pixelog rebuild")


def _writer(writer: Writer) -> Check:
    figures: dict[str, int | str] = {
        "commits": writer.commits,
        "walPages": writer.wal_pages,
        "checkpointsPutOff": writer.checkpoints_put_off,
    }
    if writer.stopped is not None:
        return Check("failed", writer.stopped, mend=_RESTART, figures=figures)
    return Check("ok", writer.commits, "commits", figures=figures)


def _statements(store: EventStore) -> Check:
    counts = store.statements.counts()
    figures: dict[str, int | str] = {"slow": counts.slow, "ended": counts.ended}
    if counts.newest is not None:
        figures |= {"newestMs": counts.newest.ms, "newestSql": counts.newest.sql}
    return Check("ok", counts.slow, "slow ones", figures=figures)


def _readers(store: EventStore) -> Check:
    counts = store.reader_counts()
    figures: dict[str, int | str] = {
        "opened": counts.opened,
        "renewed": counts.renewed,
        "lent": counts.lent,
        "lentMost": counts.lent_most,
        "timeouts": counts.timeouts,
    }
    return Check("ok", counts.lent, f"of {READERS_MAX} connections", figures=figures)


ROUTES = (Route("GET", "/livez", livez), Route("GET", "/readyz", readyz), Route("GET", "/healthz", healthz))
