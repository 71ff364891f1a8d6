"""Who may call: the one gate that every request passes before it is routed, and the names under which callers stand in the log.

This machine always may. Others need the cookie of a signed-in browser or a program's token; to them only what signs them in is open, the page's own
files, and the two questions of a load balancer. Everybody must call the service by a name of its own, and a browser may change things only from
the service's own page: a page from elsewhere, or a name bent to this address (DNS rebinding), gets nothing.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from functools import lru_cache
from urllib.parse import urlsplit

import apsw

from api import secrets
from api.http.problems import Problem
from api.http.requests import Call, Caller
from projections import access

COOKIE = "pixelog_session"

COOKIE_SECONDS = 400 * 24 * 3600
"""The longest that browsers keep a cookie; the session itself ends when it is revoked."""

COOKIE_GONE = f"{COOKIE}=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict"

PAIR_PATH = "/api/v1/pair"
OPEN_PATHS = {"/", "/pair", "/livez", "/readyz"}
OPEN_FOLDER = "/static/"
"""What is open to everybody, for reading: nothing here says anything of the log."""

READING = {"GET", "HEAD", "OPTIONS"}

SECRET_CHARACTERS_MAX = 256
"""Longer than every secret of ours; what is longer is not hashed."""

LOOPBACK = Caller("http:loopback")
STRANGER = Caller("http:stranger")
"""Whoever is let in where everybody is."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\],]+)(?::(\d{1,5}))?")


def admit(call: Call) -> Caller:
    """Who calls. Problem: malformed, wrong_host, cross_site, unauthorized, too_many_attempts."""
    host = _check_host(call)
    if call.method not in READING:
        _check_origin(call, host)
    caller = _known(call)
    if caller is not None:
        return caller
    if is_loopback(call):
        return LOOPBACK
    if call.path == PAIR_PATH or (call.method in READING and _is_open(call.path)):
        return STRANGER
    raise _refusal(call)


def _known(call: Call) -> Caller | None:
    """The caller by what it shows: a token, else a cookie."""
    if (token := bearer(call)) is not None:
        return _by_hash(call, access.token_of, token, "token")
    if (cookie := cookie_of(call)) is not None:
        return _by_hash(call, access.session_of, cookie, "browser")
    return None


def _by_hash(call: Call, find: Callable[[apsw.Connection, str], str | None], secret: str, kind: str) -> Caller | None:
    door, hash = call.door, secrets.hash_of(secret)

    def found() -> str | None:
        with door.snapshot() as snapshot:
            return find(snapshot.db, hash)

    name = found()
    if name is None:
        return None
    always = is_loopback(call)
    return Caller(f"{kind}:{name}", name if kind == "browser" else None, lambda: always or found() is not None)


def _refusal(call: Call) -> Problem:
    headers = {"WWW-Authenticate": 'Bearer realm="pixelog"'}
    if bearer(call) is not None:
        count_attempt(call)
        headers["WWW-Authenticate"] += ', error="invalid_token"'
        return Problem("unauthorized", "this token is not good, or not any more; make one: pixelog token add NAME", (), headers)
    if cookie_of(call) is not None:
        # Told to forget it, a browser does not come back with it; nobody guesses 256 bits, so it is no attempt.
        headers["Set-Cookie"] = COOKIE_GONE
    detail = "sign in with the link on the panel, or one from: pixelog pair; programs send a token from: pixelog token add NAME"
    return Problem("unauthorized", detail, (), headers)


def count_attempt(call: Call) -> None:
    """Count a try of this caller's address, before it is judged, so that many at once are counted, too. Problem: too_many_attempts. This
    machine may try as it likes."""
    if is_loopback(call):
        return
    attempts, who = call.door.attempts, _network(_peer(call))
    seconds = attempts.wait_seconds(who)
    if seconds:
        headers = {"Retry-After": str(seconds)}
        raise Problem("too_many_attempts", f"too many bad codes or tokens came from here; try again in {seconds} s", (), headers)
    attempts.count(who)


def forgive_attempt(call: Call) -> None:
    """It was a good one."""
    call.door.attempts.forgive(_network(_peer(call)))


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDER)


# -- where a request comes from ---------------------------------------------------------------------------------------------------------


def is_loopback(call: Call) -> bool:
    """Whether the request comes from this machine itself. What passed a proxy does not count: it comes from anywhere."""
    client = call.scope.get("client")
    if client is None or not _is_loopback_address(client[0]):
        return False
    names: Iterable[bytes] = (name for name, _ in call.scope["headers"])
    return not any(name == b"forwarded" or name.startswith(b"x-forwarded-") for name in names)


@lru_cache(maxsize=256)
def _is_loopback_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _peer(call: Call) -> str:
    client = call.scope.get("client")
    return client[0] if client else ""


@lru_cache(maxsize=256)
def _network(text: str) -> str:
    """What attempts of an address are counted under: of IPv6 the network, of which one caller has all addresses."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text
    if isinstance(address, ipaddress.IPv4Address):
        return text
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))


# -- what a request says ----------------------------------------------------------------------------------------------------------------


def bearer(call: Call) -> str | None:
    """The token of the Authorization header (RFC 6750), which may be wrong; None without one."""
    header = call.header("authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    return token.strip()[:SECRET_CHARACTERS_MAX] if scheme.lower() == "bearer" else None


def cookie_of(call: Call) -> str | None:
    """The secret in the session's cookie (RFC 6265), which may be wrong; None without one."""
    header = call.header("cookie")
    if header is None:
        return None
    for pair in header.split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE and value:
            return value[:SECRET_CHARACTERS_MAX]
    return None


def cookie(secret: str) -> str:
    """The Set-Cookie header of a new session. Without `Secure`: at home there is no TLS, and the browser would drop it."""
    return f"{COOKIE}={secret}; Max-Age={COOKIE_SECONDS}; Path=/; HttpOnly; SameSite=Strict"


@lru_cache(maxsize=256)
def host_name(host: str) -> str | None:
    """The name in a Host header, in lower case; empty for an address, which cannot be bent; None when it is neither."""
    match = _HOST.fullmatch(host) if len(host) <= 300 else None
    if match is None:
        return None
    name = match[1].lower().rstrip(".")
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None if name.startswith("[") or not name else name
    return ""


@lru_cache(maxsize=4)
def _own_names(machine: str) -> frozenset[str]:
    """The names of a machine that calls itself so."""
    whole = machine.lower().rstrip(".")
    short = whole.partition(".")[0]
    return frozenset({"localhost", whole, short, f"{short}.local"} - {"", ".local"})


def _check_host(call: Call) -> str:
    """The Host header, when it names this service."""
    host = call.header("host")
    if not host:
        raise Problem("malformed", "the Host header is missing")
    name = host_name(host)
    if name is None:
        raise Problem("wrong_host", f"the Host {host[:100]!r} is no name and no address")
    if name and name not in _own_names(socket.gethostname()) and name not in map(host_name, call.door.limits.hosts):
        toml = f'[http] hosts = ["{name}"] in pixelog.toml'
        raise Problem("wrong_host", f"this service is not known as {name!r}; if it is meant to be, set http.hosts: {toml}")
    return host


def _check_origin(call: Call, host: str) -> None:
    """Refuse a change that a browser asks for on behalf of another page. Programs send neither header."""
    site = call.header("sec-fetch-site")
    origin = call.header("origin")
    # "none": a person's own doing, such as an address typed or a bookmark.
    if site not in (None, "same-origin", "none") or (origin is not None and not is_same_origin(origin, host)):
        raise Problem("cross_site", f"a page from {(origin or 'elsewhere')[:200]!r} may not change anything here")


@lru_cache(maxsize=256)
def is_same_origin(origin: str, host: str) -> bool:
    """Whether an Origin (RFC 6454) is the page of the service called by this Host. Either scheme: a proxy may have added TLS."""
    try:
        parts = urlsplit(origin)
        its_port = parts.port
    except ValueError:
        return False
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    match = _HOST.fullmatch(host)
    if usual is None or match is None or parts.hostname is None or parts.path or parts.query or parts.username is not None:
        return False
    name = match[1].lower().strip("[]").rstrip(".")
    return (parts.hostname.rstrip("."), its_port or usual) == (name, int(match[2] or usual))
