"""Routes of the player: what is on the panel, its buttons, and its own report of facts."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from api import overview
from api.commands.display import Fact, RecordFacts
from api.commands.playback import Action, Control, Jump
from api.http.changes import answering, carry_out, nothing
from api.http.requests import Call
from api.http.responses import NO_STORE, POSITION, live
from api.http.routing import Handler, Route
from projections import playback

ACTIONS: tuple[Action, ...] = ("play", "pause", "toggle", "next", "previous", "hold", "release")


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a jump."""

    slug: str


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a report of facts, in the order in which they happened."""

    facts: tuple[Fact, ...]


async def get_player(call: Call) -> Response:
    """What is on the panel, from the player itself while it lives, else what it recorded last."""
    facts = call.door.camera.facts()
    with call.door.snapshot() as snapshot:
        if facts is not None:
            return Response(facts, 200, {POSITION: str(snapshot.head.position), **NO_STORE}, "application/json")
        player: dict[str, Any] = msgspec.to_builtins(overview.player(snapshot.db))
        player["frame"] = None
        if player["display"]["state"] != "none":
            player["display"]["state"] = "lost"  # no player lives, so nothing is shown, whatever was recorded last
        return live(snapshot, player)


def _button(action: Action) -> Handler:
    async def press(call: Call) -> Response:
        await call.decode_nothing()
        return await carry_out(call, Control(action), answering(lambda db: playback.resources(db)["playback"]))

    return press


async def post_jump(call: Call) -> Response:
    """Begin an item's turn now."""
    body = await call.decode(Target)
    return await carry_out(call, Jump(body.slug), answering(lambda db: playback.resources(db)["playback"]))


async def post_facts(call: Call) -> Response:
    """The player's own report."""
    body = await call.decode(Report)
    return await carry_out(call, RecordFacts(body.facts), nothing)


ROUTES = (
    Route("GET", "/player", get_player),
    *(Route("POST", f"/player/{action}", _button(action)) for action in ACTIONS),
    Route("POST", "/player/jump", post_jump),
    Route("POST", "/player/facts", post_facts),
)
