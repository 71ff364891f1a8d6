"""Who may call: pairing, tokens, sessions, hosts, origins and limits, against a real service that is reached from this machine and from elsewhere.

"Elsewhere" is a request that passed a proxy, which never counts as this machine; one test also comes from an address of the network, where
the machine has one.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from api import pairing, secrets
from api.http.access import host_name, is_same_origin
from api.http.app import create_app
from api.http.attempts import ADDRESSES_MAX, ATTEMPTS_MAX, ATTEMPTS_SECONDS, Attempts
from api.http.door import Limits
from api.http.server import Server
from api.service import StateService
from player.screen import ScreenWriter
from projections.access import link

ELSEWHERE = {"X-Forwarded-For": "203.0.113.9"}


class Guest(httpx.Client):
    """A browser elsewhere: keeps cookies, and what it changes it asks for from the service's own page."""

    def __init__(self, house: Any) -> None:
        super().__init__(base_url=house.url + "/api/v1", timeout=10, headers=ELSEWHERE)

    def pair(self, code: str, **headers: str) -> httpx.Response:
        """POST /pair."""
        return self.post("/pair", json={"code": code}, headers=headers)


def offered(house: Any) -> str:
    """A code that is good now."""
    return pairing.offer(house.service, "cli").code


@pytest.fixture
def guest(house: Any) -> Iterator[Guest]:
    with Guest(house) as one:
        yield one


@pytest.fixture
def signed_in(house: Any, guest: Guest) -> Guest:
    assert guest.pair(offered(house)).status_code == 201
    return guest


def problem(response: httpx.Response) -> str:
    """The last part of a problem's type."""
    assert response.headers["content-type"] == "application/problem+json"
    return response.json()["type"].removeprefix("/problems/")


# -- this machine and others --------------------------------------------------------------------------------------------------------------


def test_this_machine_needs_nothing(shared: Any) -> None:
    """Neither cookie nor token."""
    assert shared.get("/tokens").json() == {"items": [], "next": None, "total": 0}
    assert shared.put("/active", json={"slug": None}).status_code == 200


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "x-forwarded-anything"])
def test_what_passed_a_proxy_is_not_this_machine(shared: Any, header: str) -> None:
    """Whatever the header says."""
    response = shared.get("/dashboard", headers={header: "for=127.0.0.1"})
    assert (response.status_code, problem(response)) == (401, "unauthorized")
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "path",
    ["/api/v1/dashboard", "/api/v1/events", "/api/v1/events/stream", "/api/v1/screen.png", "/api/v1/tokens", "/healthz", "/metrics",
     "/api/v1/nothing-here", "/nothing", "/static", "//static/app.js", "/api/v1/pair/"],
)  # fmt: skip
def test_a_stranger_is_told_nothing(shared: Any, path: str) -> None:
    """Not even what there is."""
    response = httpx.get(shared.url + path, headers=ELSEWHERE)
    assert (response.status_code, problem(response)) == (401, "unauthorized")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/", "/pair", "/static/pair.js", "/static/mark.svg"])
def test_what_is_open_to_everybody(shared: Any, path: str) -> None:
    """The page without its data, and the two questions of a load balancer; for reading alone."""
    response = httpx.get(shared.url + path, headers=ELSEWHERE)
    assert response.status_code == 200
    assert httpx.head(shared.url + path, headers=ELSEWHERE).status_code == 200
    assert httpx.post(shared.url + path, headers=ELSEWHERE).status_code == 401


def test_the_page_that_signs_in_loads_nothing_inline(shared: Any) -> None:
    """Its policy allows files of its own only, and it has no other."""
    page = httpx.get(shared.url + "/pair", headers=ELSEWHERE)
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert 'src="/static/pair.js"' in page.text
    assert "<style" not in page.text
    assert " style=" not in page.text


def own_address() -> str | None:
    """An address of this machine in a network, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return None


def test_another_address_than_loopback_is_elsewhere(tmp_path: Path) -> None:
    """A service on every address lets this machine in by 127.0.0.1 alone; without a network this shows by the listener's own address."""
    address = own_address() or "127.0.0.1"
    listener = socket.create_server(("0.0.0.0", 0))
    port = listener.getsockname()[1]
    with StateService(tmp_path / "data") as service:
        server = Server(create_app(service))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            assert httpx.get(f"http://127.0.0.1:{port}/api/v1/loop").status_code == 200
            expected = 200 if address == "127.0.0.1" else 401
            assert httpx.get(f"http://{address}:{port}/api/v1/loop").status_code == expected
            with httpx.Client(base_url=f"http://{address}:{port}/api/v1") as browser:
                code = pairing.offer(service, "cli").code
                assert browser.post("/pair", json={"code": code}).status_code == 201
                assert browser.get("/loop").status_code == 200
        finally:
            server.stop()
            thread.join(10)


# -- browsers -----------------------------------------------------------------------------------------------------------------------------


def test_a_code_signs_a_browser_in(house: Any, guest: Guest) -> None:
    """The answer is the session, the cookie is the browser's alone, and from then on it may do everything."""
    response = guest.post("/pair", json={"code": offered(house)}, headers={"User-Agent": "Firefox"})
    session = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/api/v1/sessions/{session['id']}"
    assert (session["agent"], session["current"]) == ("Firefox", True)
    name, *rules = response.headers["set-cookie"].split("; ")
    assert name.startswith("pixelog_session=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(rules)
    assert "Secure" not in rules
    assert guest.get("/loop").status_code == 200
    assert guest.put("/active", json={"slug": None}).status_code == 200
    assert guest.get(response.headers["location"].removeprefix("/api/v1")).json() == session
    (event,) = [one for one in house.service.store.read() if one.type == "session.opened"]
    assert int(response.headers["pixelog-position"]) == event.position


def test_a_code_is_read_as_people_type_it(house: Any, guest: Guest) -> None:
    """Small letters and no dashes."""
    assert guest.pair(offered(house).lower().replace("-", " ")).status_code == 201


def test_a_code_works_once(house: Any, guest: Guest) -> None:
    """Of twenty browsers that take it at the same time one is let in."""
    code = offered(house)

    def take(_: int) -> int:
        return httpx.post(house.url + "/api/v1/pair", json={"code": code}, timeout=20).status_code

    with ThreadPoolExecutor(20) as crowd:
        statuses = sorted(crowd.map(take, range(20)))
    assert statuses == [201] + [403] * 19
    assert guest.pair(code).status_code == 403
    assert house.get("/sessions").json()["total"] == 1


@pytest.mark.parametrize("body", [{}, {"code": 5}, {"code": "x", "more": 1}])
def test_a_body_of_another_shape_is_refused(guest: Guest, body: Any) -> None:
    """By what is wrong with it."""
    assert guest.post("/pair", json=body).status_code == 422


def test_a_session_that_was_ended_is_none(house: Any, signed_in: Guest) -> None:
    """Ended by somebody else, its cookie opens nothing, and the browser is told to forget it."""
    (session,) = house.get("/sessions").json()["items"]
    assert house.delete(f"/sessions/{session['id']}").status_code == 204
    response = signed_in.get("/loop")
    assert response.status_code == 401
    assert "Max-Age=0" in response.headers["set-cookie"]
    assert house.delete(f"/sessions/{session['id']}").status_code == 404


def test_a_browser_signs_itself_out(house: Any, signed_in: Guest) -> None:
    """Whoever has no session cannot."""
    response = signed_in.delete("/session")
    assert response.status_code == 204
    assert "Max-Age=0" in response.headers["set-cookie"]
    assert signed_in.get("/loop").status_code == 401
    assert house.delete("/session").status_code == 404


def test_sessions_are_listed_in_pages(house: Any, signed_in: Guest) -> None:
    """The newest first, each once, with a mark at the one that asks."""
    others = [Guest(house) for _ in range(4)]
    for other in others:
        assert other.pair(offered(house)).status_code == 201
        other.close()
    found, cursor = [], None
    while True:
        page = signed_in.get("/sessions", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        assert page["total"] == 5
        found += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert len({one["id"] for one in found}) == 5
    assert [one["openedAt"] for one in found] == sorted((one["openedAt"] for one in found), reverse=True)
    assert [one["current"] for one in found] == [False] * 4 + [True]


def test_a_listing_has_a_tag(signed_in: Guest, house: Any) -> None:
    """It changes with the area, and with who asks."""
    tag = signed_in.get("/sessions").headers["etag"]
    assert signed_in.get("/sessions", headers={"If-None-Match": tag}).status_code == 304
    assert house.get("/sessions", headers={"If-None-Match": tag}).status_code == 200
    house.post("/tokens", json={"name": "x"})
    assert signed_in.get("/sessions", headers={"If-None-Match": tag}).status_code == 200


# -- programs -----------------------------------------------------------------------------------------------------------------------------


def test_a_token_opens_until_it_is_removed(house: Any, guest: Guest) -> None:
    """Shown once, listed without its secret."""
    response = house.post("/tokens", json={"name": "de/ploy ü"})
    made = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == "/api/v1/tokens/de%2Fploy%20%C3%BC"
    assert made["token"].startswith("pixelog_")
    assert len(made["token"]) == 51
    bearer = {"Authorization": f"bearer {made['token']}"}
    assert guest.get("/loop", headers=bearer).status_code == 200
    listed = guest.get("/tokens", headers=bearer).json()["items"]
    assert listed == [{"name": "de/ploy ü", "addedAt": made["addedAt"]}]
    assert house.get(response.headers["location"].removeprefix("/api/v1")).json() == listed[0]
    assert house.post("/tokens", json={"name": "de/ploy ü"}).status_code == 409
    assert house.delete("/tokens/de%2Fploy%20%C3%BC").status_code == 204
    response = guest.get("/loop", headers=bearer)
    assert (response.status_code, problem(response)) == (401, "unauthorized")
    assert "invalid_token" in response.headers["www-authenticate"]


@pytest.mark.parametrize("value", ["Bearer", "Basic cGk6cGk=", "Token x", "bearer x y"])
def test_other_authorisation_is_none(guest: Guest, value: str) -> None:
    """Whatever its form."""
    assert guest.get("/loop", headers={"Authorization": value}).status_code == 401


def test_the_log_names_who_did_it(house: Any, signed_in: Guest) -> None:
    """This machine, a browser by its session, a program by its token's name."""
    token = house.post("/tokens", json={"name": "cron"}).json()["token"]
    start = house.head_position()
    (session,) = signed_in.get("/sessions").json()["items"]
    signed_in.post("/messages", json={"text": "a"})
    house.post("/messages", json={"text": "b"})
    house.post("/messages", json={"text": "c"}, headers={"Authorization": f"Bearer {token}", **ELSEWHERE})
    actors = [event.actor for event in house.service.store.read(start)]
    assert actors == [f"browser:{session['id']}", "http:loopback", "token:cron"]


def test_each_caller_has_its_own_idempotency_keys(house: Any, signed_in: Guest) -> None:
    """The same key of another caller is another key."""
    key = {"Idempotency-Key": "k"}
    first = signed_in.post("/messages", json={"text": "a"}, headers=key)
    other = house.post("/messages", json={"text": "b"}, headers=key)
    assert (first.status_code, other.status_code) == (201, 201)
    assert "idempotency-replayed" not in other.headers
    assert signed_in.post("/messages", json={"text": "a"}, headers=key).headers["idempotency-replayed"] == "true"


def test_a_repeated_request_gets_the_same_secret_and_nobody_kept_it(house: Any, guest: Guest) -> None:
    """For tokens and sessions; with another body the key is refused; without the pairing key the secret is gone, and that is said."""
    key = {"Idempotency-Key": "k1"}
    first = house.post("/tokens", json={"name": "a"}, headers=key)
    again = house.post("/tokens", json={"name": "a"}, headers=key)
    assert first.json() == again.json()
    assert first.headers["pixelog-position"] == again.headers["pixelog-position"]
    assert again.headers["idempotency-replayed"] == "true"
    assert house.post("/tokens", json={"name": "b"}, headers=key).status_code == 422
    assert guest.get("/loop", headers={"Authorization": f"Bearer {again.json()['token']}"}).status_code == 200

    code = offered(house)
    opened = guest.pair(code, **key)
    guest.cookies.clear()
    repeated = guest.pair(code, **key)
    assert (opened.status_code, repeated.status_code) == (201, 201)
    assert opened.json() == repeated.json()
    assert opened.headers["set-cookie"] == repeated.headers["set-cookie"]
    assert guest.get("/loop").status_code == 200

    (house.service.data.secrets / "pairing.key").unlink()
    response = house.post("/tokens", json={"name": "a"}, headers=key)
    assert (response.status_code, problem(response)) == (409, "gone")


def test_sessions_and_tokens_outlive_the_service(tmp_path: Path, serving: Any) -> None:
    """A restart signs nobody out; nor does it bring back what was revoked."""
    with serving(tmp_path / "data") as house:
        token, gone = (house.post("/tokens", json={"name": name}).json()["token"] for name in ("stays", "goes"))
        with Guest(house) as guest:
            guest.pair(offered(house))
            cookies = dict(guest.cookies)
        house.delete("/tokens/goes")
    with serving(tmp_path / "data") as house:

        def status(**headers: str) -> int:
            return house.get("/loop", headers={**ELSEWHERE, **headers}).status_code

        assert status(Cookie=f"other=1; pixelog_session={cookies['pixelog_session']}") == 200
        assert status(Authorization=f"Bearer {token}") == 200
        assert status(Authorization=f"Bearer {gone}") == 401
        assert status(Cookie="pixelog_session=" + "x" * 43) == 401


def test_nothing_secret_is_on_the_disk_outside_the_secrets(tmp_path: Path, serving: Any) -> None:
    """Neither codes nor cookies nor tokens, whether they were made with an idempotency key or without."""
    shown: list[str] = []
    with serving(tmp_path / "data") as house:
        for headers in ({}, {"Idempotency-Key": "k"}):
            code = offered(house)
            shown += [code, code.replace("-", "")]
            with Guest(house) as guest:
                assert guest.pair(code, **headers).status_code == 201
                shown.append(guest.cookies["pixelog_session"])
            shown.append(
                house.post("/tokens", json={"name": f"t{headers}"[:2] + str(len(headers))}, headers=headers).json()["token"]
            )
        key = secrets.pairing_key(house.service.data.secrets)
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file() and path.parent.name != "secrets"]
    whole = b"".join(path.read_bytes() for path in files)
    assert len(shown) == 8
    assert b"session.opened" in whole
    assert [secret for secret in shown if secret.encode() in whole or secret.removeprefix("pixelog_").encode() in whole] == []
    assert key not in whole
    assert key.hex().encode() not in whole


# -- streams ------------------------------------------------------------------------------------------------------------------------------


def test_the_stream_of_a_revoked_session_ends(house: Any, signed_in: Guest, listen: Any) -> None:
    """Filtered or not, within the moment; that of this machine goes on."""
    cookie = {**ELSEWHERE, "Cookie": f"pixelog_session={signed_in.cookies['pixelog_session']}"}
    whole = listen("/events/stream", cookie, house=house)
    filtered = listen("/events/stream?type=media.*", cookie, house=house)
    own = listen("/events/stream", house=house)
    assert (whole.status, filtered.status, own.status) == (200, 200, 200)
    (session,) = house.get("/sessions").json()["items"]
    house.delete(f"/sessions/{session['id']}")
    house.post("/messages", json={"text": "for this machine only"})
    seen = [event.data.get("type") for event in whole.events()] + [event.data.get("type") for event in filtered.events()]
    assert whole.ended
    assert filtered.ended
    assert "message.posted" not in seen
    types = [event.data.get("type") for event in own.take(3)]
    assert types[-2:] == ["session.closed", "message.posted"]


def test_the_stream_of_a_removed_token_ends(house: Any, listen: Any) -> None:
    """As that of a session does."""
    token = house.post("/tokens", json={"name": "x"}).json()["token"]
    stream = listen("/events/stream", {**ELSEWHERE, "Authorization": f"Bearer {token}"}, house=house)
    house.delete("/tokens/x")
    list(stream.events())
    assert stream.ended


def test_the_film_of_a_revoked_session_ends(tmp_path: Path, serving: Any) -> None:
    """Whoever was signed out sees no further picture."""
    writer = ScreenWriter(tmp_path / "screen", 4, 2, driver="sim")
    with serving(tmp_path / "data", screen=tmp_path / "screen") as house, Guest(house) as guest:
        writer.publish(bytes(16), 0, 0, 0)
        assert guest.pair(offered(house)).status_code == 201
        with guest.stream("GET", "/screen.mjpeg") as film:
            pieces = film.iter_raw()
            assert next(pieces).startswith(b"--pixelog-frame")
            (session,) = house.get("/sessions").json()["items"]
            house.delete(f"/sessions/{session['id']}")
            rest = b"".join(pieces)
        assert rest.endswith(b"--pixelog-frame--\r\n")
    writer.close()


# -- names and pages ----------------------------------------------------------------------------------------------------------------------


def asked(house: Any, host: str | None, method: str = "GET", path: str = "/api/v1/loop", **headers: str) -> tuple[int, bytes]:
    """Status and body of a request with exactly this Host (None: without one)."""
    connection = http.client.HTTPConnection(house.url.removeprefix("http://"), timeout=10)
    connection.putrequest(method, path, skip_host=True)
    for name, value in {**({} if host is None else {"Host": host}), "Content-Length": "0", **headers}.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


def test_the_service_answers_to_its_names(tmp_path: Path, serving: Any) -> None:
    """Addresses, localhost, the machine's name, alone and with .local, and what is configured; with any port."""
    machine = socket.gethostname().partition(".")[0]
    with serving(tmp_path / "data", Limits(hosts=("Kiosk.Example:80",))) as house:
        good = ["127.0.0.1", "192.168.1.5:8420", "[::1]:8420", "[fe80::1]", "localhost", "LOCALHOST:1", "localhost.", machine]
        for host in [*good, f"{machine}.local", f"{machine.upper()}.LOCAL:99", "kiosk.example", "kiosk.example:8420"]:
            assert asked(house, host)[0] == 200, host


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "a b",
        "x@localhost",
        "localhost:port",
        "localhost, evil",
        "[::1",
        "::1",
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/loop", "/", "/livez"])
def test_another_name_is_refused_everywhere(shared: Any, host: str, path: str) -> None:
    """Also from this machine, also where everybody may read."""
    status, body = asked(shared, host, path=path)
    assert status == 403
    assert b"wrong-host" in body


def test_the_refusal_of_a_name_says_what_to_set(shared: Any) -> None:
    """The key and the line."""
    _, body = asked(shared, "Kiosk.example:8420")
    assert b"http.hosts" in body
    assert b'hosts = [\\"kiosk.example\\"]' in body


def test_a_request_without_a_host_is_malformed(shared: Any) -> None:
    """HTTP/1.1 asks for one."""
    assert asked(shared, None)[0] == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://{host}"}, 200),
        ({"Origin": "http://{host}", "Sec_Fetch_Site": "same-origin"}, 200),
        ({"Sec_Fetch_Site": "none"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Origin": "http://{host}", "Sec_Fetch_Site": "cross-site"}, 403),
        ({"Origin": "http://evil.example", "Sec_Fetch_Site": "same-origin"}, 403),
    ],
)
def test_only_the_services_own_page_changes_things(shared: Any, headers: dict[str, str], status: int) -> None:
    """Also on this machine, where any page that is open in a browser could ask; reading is the browser's own business."""
    host = shared.url.removeprefix("http://")
    headers = {name: value.format(host=host) for name, value in headers.items()}
    before = shared.head_position()
    got, body = asked(shared, host, "POST", "/api/v1/player/pause", **headers)
    assert got == status
    if status == 403:
        assert b"cross-site" in body
        assert shared.head_position() == before
    assert asked(shared, host, "GET", "/api/v1/loop", **headers)[0] == 200


def test_a_cookie_does_not_help_another_page(house: Any, signed_in: Guest) -> None:
    """What a browser sends along by itself proves nothing about the page that asked."""
    assert signed_in.post("/player/pause", headers={"Origin": "http://evil.example"}).status_code == 403
    assert signed_in.post("/player/pause", headers={"Origin": house.url}).status_code == 200


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://pi.local", "pi.local", True),
        ("http://pi.local:80", "PI.local", True),
        ("https://pi.local", "pi.local", True),
        ("https://pi.local", "pi.local:443", True),
        ("https://pi.local", "pi.local:80", False),
        ("http://[::1]:8420", "[::1]:8420", True),
        ("http://pi.local:8420", "pi.local", False),
        ("ftp://pi.local", "pi.local", False),
        ("http://pi.local/x", "pi.local", False),
        ("http://user@pi.local", "pi.local", False),
        ("http://pi.local:x", "pi.local", False),
        ("http://[", "pi.local", False),
        ("", "pi.local", False),
    ],
)
def test_an_origin_is_the_same_by_name_and_port(origin: str, host: str, same: bool) -> None:
    """Case and usual ports do not matter."""
    assert is_same_origin(origin, host) is same


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("Pi.Local:80", "pi.local"),
        ("1.2.3.4", ""),
        ("[::1]:9", ""),
        ("[zz]", None),
        ("", None),
        ("x" * 301, None),
        (".", None),
        ("a:123456", None),
    ],
)
def test_a_host_is_a_name_or_an_address(host: str, name: str | None) -> None:
    """Addresses cannot be bent to another machine; names can."""
    assert host_name(host) == name


# -- limits -------------------------------------------------------------------------------------------------------------------------------


def test_codes_cannot_be_tried_for_ever(house: Any, guest: Guest) -> None:
    """After ten bad ones this address waits, and a good one does not help it; this machine never waits."""
    code = offered(house)
    statuses = [guest.pair(bad).status_code for bad in ["AAAA-AAAA-AAAA", "nonsense"] * (ATTEMPTS_MAX // 2)]
    assert statuses == [403] * ATTEMPTS_MAX
    response = guest.pair(code)
    assert (response.status_code, problem(response)) == (429, "too-many-attempts")
    assert 0 < int(response.headers["retry-after"]) <= ATTEMPTS_SECONDS + 1
    statuses = [house.post("/pair", json={"code": "AAAA-AAAA-AAAA"}).status_code for _ in range(ATTEMPTS_MAX + 5)]
    assert set(statuses) == {403}
    assert house.post("/pair", json={"code": code}).status_code == 201


def test_many_at_once_are_counted_too(house: Any) -> None:
    """Of fifty bad codes at the same time ten are looked at."""

    def take(_: int) -> int:
        return httpx.post(house.url + "/api/v1/pair", json={"code": "AAAA-AAAA-AAAA"}, headers=ELSEWHERE, timeout=20).status_code

    with ThreadPoolExecutor(25) as crowd:
        statuses = sorted(crowd.map(take, range(50)))
    assert statuses == [403] * ATTEMPTS_MAX + [429] * (50 - ATTEMPTS_MAX)


def test_bad_tokens_are_counted_and_good_ones_are_not_held_up(house: Any, guest: Guest) -> None:
    """Whoever shares the address of a guesser goes on."""
    token = house.post("/tokens", json={"name": "x"}).json()["token"]
    statuses = [guest.get("/loop", headers={"Authorization": f"Bearer {n}"}).status_code for n in range(ATTEMPTS_MAX + 1)]
    assert statuses == [401] * ATTEMPTS_MAX + [429]
    assert guest.get("/loop", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert guest.get("/loop").status_code == 401


def test_an_old_cookie_is_no_attempt(house: Any, guest: Guest) -> None:
    """A page that was left open does not lock its browser out of pairing again."""
    for _ in range(2 * ATTEMPTS_MAX):
        assert guest.get("/loop", headers={"Cookie": "pixelog_session=old"}).status_code == 401
    assert guest.pair(offered(house)).status_code == 201


def test_good_codes_are_not_counted(house: Any, guest: Guest) -> None:
    """However many browsers of one address pair."""
    for _ in range(ATTEMPTS_MAX + 2):
        assert guest.pair(offered(house)).status_code == 201


def test_attempts_are_forgotten_in_time() -> None:
    """After five minutes from the first, and not before."""
    now = 100.0
    attempts = Attempts(lambda: now)
    for _ in range(ATTEMPTS_MAX):
        assert attempts.wait_seconds("a") == 0
        attempts.count("a")
        now += 1
    assert attempts.wait_seconds("a") == ATTEMPTS_SECONDS - ATTEMPTS_MAX + 1
    assert attempts.wait_seconds("b") == 0
    now = 100.0 + ATTEMPTS_SECONDS
    assert attempts.wait_seconds("a") == 0
    attempts.count("a")
    assert attempts.wait_seconds("a") == 0


def test_attempts_take_bounded_memory() -> None:
    """However many addresses come."""
    attempts = Attempts(lambda: 0.0)
    for number in range(3 * ADDRESSES_MAX):
        attempts.count(str(number))
    assert len(attempts) == ADDRESSES_MAX
    attempts.forgive(str(3 * ADDRESSES_MAX - 1))
    attempts.forgive("unknown")
    assert len(attempts) == ADDRESSES_MAX - 1


def test_a_link_carries_its_code_behind_the_hash() -> None:
    """No server, and no log of one, ever sees it."""
    assert link("http://pi.local:8420", "ABCD") == "http://pi.local:8420/pair#ABCD"
