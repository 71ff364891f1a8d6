"""What the worker has to see to although nobody queued it: a question over the areas media and jobs together. Reads only; decides nothing."""

from __future__ import annotations

from typing import Any

import apsw
import msgspec


class Orphan(msgspec.Struct, frozen=True):
    """An item that waits for a frame pack while no job for it does. `blamed`: its last job failed without saying anything of the item, as when
    every worker that took it up died."""

    slug: str
    sha256: str
    blamed: bool


def orphans(db: apsw.Connection, kind: str, limit: int) -> list[Orphan]:
    """Up to `limit` orphans of jobs of this kind, those longest in the library first. Items whose job was cancelled are left alone."""
    pending = "status IN ('pending', 'processing') AND removed_at IS NULL AND sha256 IS NOT NULL"
    if not db.execute(f"SELECT EXISTS (SELECT 1 FROM media_items WHERE {pending})").get:
        return []
    rows: list[Any] = db.execute(
        f"""WITH last (slug, sha256, status, position) AS MATERIALIZED (
            SELECT input ->> 'slug', input ->> 'sha256', status, max(position) FROM jobs_all WHERE kind = ? GROUP BY 1, 2)
        SELECT item.slug, item.sha256, last.status IS 'failed' FROM media_items AS item
        LEFT JOIN last ON last.slug = item.slug AND last.sha256 = item.sha256
        WHERE item.{pending.replace(" AND ", " AND item.")} AND coalesce(last.status, 'completed') IN ('completed', 'failed')
        ORDER BY item.position LIMIT ?""",
        (kind, limit),
    ).fetchall()
    return [Orphan(slug, sha256, bool(blamed)) for slug, sha256, blamed in rows]


def last_status(db: apsw.Connection, kind: str, dedupe_key: str) -> str | None:
    """How the newest job of this kind with this key stands; None when there never was one."""
    return db.execute(
        "SELECT status FROM jobs_all WHERE kind = ? AND dedupe_key = ? ORDER BY position DESC LIMIT 1", (kind, dedupe_key)
    ).get
