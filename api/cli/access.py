"""Commands about who may call: pair, token add, token ls, token rm. They work with or without a running service."""

from __future__ import annotations

import ipaddress
from argparse import ArgumentParser
from urllib.parse import urlsplit

from api import config, pairing, secrets
from api.cli.command import Call, Command, Usage
from api.cli.library import meant, writing
from api.cli.running import address_of
from api.commands.access import OFFER_TTL_US, AddToken, RemoveToken
from api.commands.deciding import Rejected
from api.data import DataDirectory
from api.reading import open_for_reading
from api.service import StateService
from eventstore.record import Origin
from projections import access, display
from projections.times import rfc3339

CLI = Origin("cli")


def _pair(call: Call) -> int:
    with writing(call) as service:
        made = pairing.offer(service, "cli")
        address = _address(call, service)
        expires_at = rfc3339(service.store.clock.read().wall_us + OFFER_TTL_US)
    link = access.link(address, made.code)
    if call.out.json:
        call.out.document({"link": link, "code": made.code, "expiresAt": expires_at, "id": made.id})
        return 0
    call.out.strong(link)
    call.out.line(f"code {made.code}, good once and for {OFFER_TTL_US // 60_000_000} minutes")
    if _is_loopback(address):
        call.out.note("the service listens for this machine alone, which needs no pairing; for others: pixelog up --host 0.0.0.0")
    return 0


def _address(call: Call, service: StateService) -> str:
    """Where a person reaches the service: as the panel says; else as configured."""
    with service.store.reading() as db:
        told = display.panel(db).address
    settings = config.load(call.data)
    return told or address_of(settings.host, settings.port)


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name_argument(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="what the token is known by")


def _add(call: Call) -> int:
    name, token = call.options.name, secrets.TOKEN_PREFIX + secrets.new_secret()
    with writing(call) as service:
        command = AddToken(name, secrets.hash_of(token))
        made = service.executor.execute(command, lambda db, _: access.token(db, name), origin=CLI).answer
    if call.out.json:
        call.out.document({"name": name, "token": token, "addedAt": None if made is None else made.added_at})
        return 0
    # Alone on stdout, so that it can be piped into a file.
    call.out.line(token)
    call.out.note("keep it: it is shown this once; a program sends it as Authorization: Bearer …")
    return 0


def _ls(call: Call) -> int:
    with open_for_reading(DataDirectory(call.data)) as store, store.snapshot() as db:
        tokens = access.tokens(db)
    if call.out.json:
        call.out.document({"items": tokens, "next": None, "total": len(tokens)})
        return 0
    if not tokens:
        call.out.line("there are no tokens; pixelog token add NAME makes one")
        return 0
    call.out.table(("NAME", "ADDED"), ((one.name, one.added_at) for one in tokens))
    return 0


def _rm(call: Call) -> int:
    name = call.options.name
    with writing(call) as service:
        try:
            service.executor.execute(RemoveToken(name), origin=CLI)
        except Rejected as error:
            if error.code != "not_found":
                raise
            with service.store.snapshot() as db:
                known = [one.name for one in access.tokens(db)]
            raise Usage(f"{error}; {meant(name, known)}pixelog token ls lists them") from error
    if call.out.json:
        call.out.document({"name": name, "removed": True})
    call.out.line(f"{name} may not call any more")
    return 0


PAIR = Command(_pair)
TOKEN_ADD = Command(_add, _name_argument)
TOKEN_LS = Command(_ls)
TOKEN_RM = Command(_rm, _name_argument)
