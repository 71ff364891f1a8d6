"""What of an older installation is taken for a secret, and what is not."""

from __future__ import annotations

import pytest

from api.adopt import hiding

SECRET = """
    wifi_key hotspot_key aes_256_key aes256_key google_key ssh_key pem password passwordHash hotspot_password wpa_keys wifiPw wifi_pw pw api_keys
    tokens credentials psk Authorization X-Api-Key X-Auth-Token cookie jwt userPassword2 client_secret secret_key PASSWORD wifipassword aesKey
    pass_phrase pass-word passkey device_key master_key passwort aeskey apikey
"""

PUBLIC = """
    pwm_frequency pwm_pin compass lowpass tokens_shown cookiecutter dc_pin ssid keyboard passed primary_key sort_key hotkey keys key
    password_length bypass secretary tokens_used monkey keyframe token_count publicKey hash
"""


def test_names_of_secrets() -> None:
    """By their words, however they are joined; a word that only begins or ends alike is another word."""
    assert [name for name in SECRET.split() if not hiding.is_secret_name(name)] == []
    assert [name for name in PUBLIC.split() if hiding.is_secret_name(name)] == []
    assert [path for path in ("config.wifi.", "config.sync.") if not hiding.is_secret_name("key", path)] == []


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ("Authorization: Token FAKE", "Authorization: Token …"),
        ('Authorization: Digest username=a, response="FAKE"', "Authorization: Digest …"),
        ("Cookie: session=FAKE; b=FAKE", "Cookie: …"),
        ("token: FAKE_12", "token: …"),
        ("X-Auth-Token: FAKE_13", "X-Auth-Token: …"),
        ('{"token": "FAKE", "secret":"FAKE"}', '{"token": …, "secret":…}'),
        ("https://h/a?key=FAKE", "https://h/a?key=…"),
        ("pass=FAKE and pw: FAKE_1", "pass=… and pw: …"),
        ("curl -u user:FAKE x", "curl -u user:… x"),
        ("$2b$12$FAKEabcdefghijklmnopq", "…"),
        ("pbkdf2_sha256$1000$FAKEabcdefgh", "…"),
        ('password "FAKE" rejected', "password … rejected"),
        ("nmcli connect X password FAKE_1 and wpa_passphrase FAKE_2", "nmcli connect X password … and wpa_passphrase …"),
        ("password reset guide", None),
        ("image/gif; token=FAKE", "image/gif; token=…"),
        ("-----BEGIN RSA PRIVATE KEY-----\nFAKE", "…"),
        ("https://me@example.com:FAKE@host/dav", "https://…@host/dav"),
        ("https://me@host:8080/p and http://h:80/a@b", None),
        ("the standard bearer portrait.png", None),
        ("Unexpected token: }", None),
        ("token: unexpected end", None),
        ("the secret: he left", None),
    ],
)
def test_secrets_in_a_sentence(found: str, sentence: str | None) -> None:
    """As headers, JSON, commands and addresses carry them; what merely speaks of them stays."""
    assert hiding.covered(found) == (sentence or found)
    assert hiding.covered(hiding.covered(found)) == hiding.covered(found)


def test_each_secret_is_kept() -> None:
    """Headers in any form; names that have dots in them hide nothing; titles and file names say what they like."""
    found = {
        "wifi": {"password": "FAKE-1", "key": "FAKE-2"},
        "wifi.password": "FAKE-3",
        "headers": [{"name": "Authorization", "value": "FAKE-4"}, ["X-Api-Key", "FAKE-5"], ["a", "b"]],
        "original_filename": "cookie=monster.gif",
        "title": "Secret=Agent",
        "user": {"hash": "$2b$12$FAKE-6abcdefg"},
        "key": "C major",
    }
    kept, secrets = hiding.without_secrets(found, "config.")
    assert "FAKE" not in str(kept)
    assert (kept["original_filename"], kept["title"], kept["key"]) == ("cookie=monster.gif", "Secret=Agent", "C major")
    assert secrets == {
        "config.wifi.password": "FAKE-1",
        "config.wifi.key": "FAKE-2",
        "config.wifi.password~2": "FAKE-3",
        "config.headers.0.value": "FAKE-4",
        "config.headers.1.1": "FAKE-5",
        "config.user.hash": "$2b$12$FAKE-6abcdefg",
    }
    hiding.merge(secrets, {"config.wifi.key": "FAKE-2", "config.user.hash": "FAKE-7"})
    assert (secrets["config.user.hash~2"], "config.wifi.key~2" in secrets) == ("FAKE-7", False)


def test_credentials_of_http_stand_alone() -> None:
    """In base64, with a colon in them; words are none. Long texts take no long time."""
    found = {"a": "Basic FAKE", "b": "Basic ZjpGQUtF", "c": "Basic helloWorld", "d": "Basic " + "a" * 1_000_000, "auth": "FAKE"}
    kept, secrets = hiding.without_secrets(found)
    assert (sorted(kept), sorted(secrets)) == (["a", "c", "d"], ["auth", "b"])
