"""Everyday control from a shell: each command changes what it says, and shows it to people and to programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pixelog
from api.cli.main import main

Shell = Callable[..., Any]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with three items."""
    with pixelog.open(tmp_path / "data") as state:
        for name in ("cat", "dog", "owl"):
            state.add_media(name.encode(), filename=f"{name}.png")
    return tmp_path / "data"


@pytest.fixture
def shell(data: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Runs a command with --json over the data directory and gives its document; `code` is the expected exit code."""

    def run(*arguments: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert main([*arguments, "--json", "--data", str(data)]) == code
        captured = capsys.readouterr()
        if code:
            return captured.err
        assert captured.out.count("\n") == 1
        return json.loads(captured.out)

    return run


@pytest.fixture
def say(data: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command over the data directory and gives what it says to people."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert main([*arguments, "--data", str(data)]) == 0
        return capsys.readouterr().out

    return run


def test_add_takes_files_in(shell: Shell, tmp_path: Path) -> None:
    """Each file becomes an item; with --loop it joins the loop, with --activate the last one is chosen."""
    for name in ("Sun Set.gif", "moon.png"):
        (tmp_path / name).write_bytes(b"bytes of " + name.encode())
    added = shell("add", str(tmp_path / "Sun Set.gif"), str(tmp_path / "moon.png"), "--loop", "--activate")
    assert [(item["slug"], item["status"]) for item in added["items"]] == [("sun-set", "pending"), ("moon", "pending")]
    assert [item["slug"] for item in shell("loop")["items"]] == ["sun-set", "moon"]
    assert shell("status")["active"] == "moon"


def test_add_is_all_or_nothing_where_a_file_is_missing(shell: Shell, tmp_path: Path) -> None:
    """A name that is no file is noticed before the first one is taken in; a folder is, too."""
    (tmp_path / "moon.png").write_bytes(b"moon")
    said = shell("add", str(tmp_path / "moon.png"), str(tmp_path / "none.png"), code=2)
    assert "none.png cannot be read" in said
    assert "is a folder" in shell("add", str(tmp_path), code=2)
    assert shell("ls")["total"] == 3


def test_add_of_what_is_held_already_gives_the_item(shell: Shell, tmp_path: Path) -> None:
    """The same content again is the same item."""
    (tmp_path / "again.png").write_bytes(b"cat")
    assert shell("add", str(tmp_path / "again.png"))["items"][0]["slug"] == "cat"
    assert shell("ls")["total"] == 3


def test_ls_lists_the_newest_first_and_finds(shell: Shell, say: Callable[..., str]) -> None:
    """All items, or those that contain the words."""
    assert [item["slug"] for item in shell("ls")["items"]] == ["owl", "dog", "cat"]
    assert [item["slug"] for item in shell("ls", "og")["items"]] == ["dog"]
    assert shell("ls", "--status", "ready")["items"] == []
    assert say("ls", "cat").splitlines()[1].split()[:5] == ["cat", "image", "pending", "3", "B"]


def test_show_gives_one_item(shell: Shell, say: Callable[..., str]) -> None:
    """The resource as its GET shows it."""
    item = shell("show", "cat")
    assert (item["slug"], item["filename"], item["size"], item["url"]) == ("cat", "cat.png", 3, "/api/v1/media/cat/content")
    assert say("show", "cat").startswith("cat\n")


def test_rm_and_restore(shell: Shell) -> None:
    """What was removed is gone from library and loop, and comes back while its file is held."""
    shell("loop", "set", "cat", "dog")
    assert shell("rm", "cat") == {"slug": "cat", "removed": True}
    assert [item["slug"] for item in shell("loop")["items"]] == ["dog"]
    assert "no item 'cat'" in shell("show", "cat", code=2)
    assert shell("restore", "cat")["slug"] == "cat"
    assert "nothing to restore" in shell("restore", "cat", code=2)


def test_activate_chooses_and_lets_go(shell: Shell, say: Callable[..., str]) -> None:
    """One item by slug, or --none; an unknown one is refused."""
    assert shell("activate", "dog") == {"slug": "dog"}
    assert shell("activate", "--none") == {"slug": None}
    assert "ghost" in shell("activate", "ghost", code=2)
    assert say("activate", "dog") == "dog is on\n"


def test_the_loop_is_set_added_to_taken_from_and_cleared(shell: Shell, say: Callable[..., str]) -> None:
    """Each answers with the loop as it is now."""
    assert [item["slug"] for item in shell("loop", "set", "cat", "dog", "--mode", "one", "--shuffle")["items"]] == ["cat", "dog"]
    assert (shell("loop")["mode"], shell("loop")["shuffle"]) == ("one", True)
    added = shell("loop", "add", "owl", "--at", "0", "--repeat", "3", "--duration", "2.5")
    assert added["items"][0] == {"slug": "owl", "repeat": 3, "duration": 2.5}
    assert [item["slug"] for item in shell("loop", "rm", "cat")["items"]] == ["owl", "dog"]
    assert "owl" in say("loop")
    assert shell("loop", "clear")["items"] == []
    assert say("loop").startswith("the loop is empty")
    assert "ghost" in shell("loop", "set", "cat", "ghost", code=2)


def test_the_buttons(shell: Shell) -> None:
    """pause and resume change something once; next has nowhere to go while nothing is ready."""
    assert shell("pause")["changed"]
    assert not shell("pause")["changed"]
    assert shell("status")["plan"]["paused"]
    assert shell("resume")["changed"]
    assert shell("next") == {"changed": False, "slug": None, "position": shell("status")["position"]}
    assert not shell("previous")["changed"]


def test_a_message_is_posted(shell: Shell) -> None:
    """Words are put together; priority and time to live are kept."""
    posted = shell("message", "back", "soon", "--priority", "warning", "--ttl", "60")
    assert (posted["text"], posted["priority"]) == ("back soon", "warning")
    assert posted["expiresAt"] > posted["postedAt"]
    assert [message["text"] for message in shell("status")["messages"]] == ["back soon"]


def test_status_shows_the_dashboard_and_the_plan(shell: Shell, say: Callable[..., str]) -> None:
    """For programs the dashboard with the plan beside it; for people a few lines."""
    shell("loop", "set", "cat")
    status = shell("status")
    assert status["media"]["total"] == 3
    assert status["plan"] == {"slug": None, "next": None, "paused": False, "held": False}
    lines = say("status").splitlines()
    assert lines[0] == "nothing to show"
    assert "passed over  cat (not ready)" in lines


def test_the_command_line_is_the_actor(shell: Shell, data: Path) -> None:
    """Events of the command line say so."""
    shell("activate", "cat")
    with pixelog.open(data) as state:
        assert list(state.store.read(types=["active.*"]))[-1].actor == "cli"


def test_commands_work_beside_an_open_service(shell: Shell, data: Path) -> None:
    """Another process's door is open the whole time; both see each other's changes."""
    with pixelog.open(data) as state:
        shell("activate", "owl")
        assert state.get_active() == "owl"
        state.set_active("cat")
        assert shell("status")["active"] == "cat"
        assert shell("verify")["ok"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["rm", "cta"], "there is no item 'cta'; is it 'cat'? pixelog ls lists them"),
        (["show", "Dogg"], "there is no item 'Dogg'; is it 'dog'? pixelog ls lists them"),
        (["activate", "ghost"], "there is no item 'ghost'; pixelog ls lists them"),
        (["loop", "add", "owll"], "there is no item 'owll'; is it 'owl'? pixelog ls lists them"),
        (["loop", "set", "cat", "dgo"], "there is no item 'dgo'; is it 'dog'? pixelog ls lists them"),
        (["loop", "rm", "catt"], "'catt' is not in the loop; is it 'cat'? pixelog loop lists what is"),
        (["loop", "rm", "dog"], "'dog' is not in the loop; pixelog loop lists what is"),
        (
            ["restore", "bat"],
            "there never was an item 'bat', or another took its place; pixelog log --type media.removed lists what was",
        ),
        (["token", "rm", "dorbell"], "there is no token 'dorbell'; is it 'doorbell'? pixelog token ls lists them"),
        (["message", "--dismiss", "m1"], "there is no message 'm1', or it has expired; pixelog message lists them"),
    ],
)
def test_a_name_that_is_not_known_comes_with_those_that_are(shell: Shell, command: list[str], said: str) -> None:
    """What comes close, and the command that lists them; other refusals stay as they are."""
    shell("loop", "set", "cat")
    shell("token", "add", "doorbell")
    assert shell(*command, code=2).startswith(f"pixelog: {said}")
    assert shell("loop", "add", "cat", "--repeat", "0", code=2).count("pixelog") == 1


def test_messages_are_listed_dismissed_and_cleared(shell: Shell, say: Callable[..., str], data: Path) -> None:
    """One without an end can be taken away from a shell, by the id that its posting and the list show; or all at once."""
    assert say("message") == "there are no messages; pixelog message TEXT draws one over the media\n"
    first = shell("message", "closed")
    shell("message", "fire", "--priority", "critical", "--ttl", "60")
    listed = shell("message")
    assert ([one["text"] for one in listed["items"]], listed["total"]) == (["fire", "closed"], 2)
    assert [line.split()[:2] for line in say("message").splitlines()[1:]][1] == [first["id"], "info"]
    assert say("message", "third").startswith("it is shown until pixelog message --dismiss ")
    assert shell("message", "--dismiss", first["id"]) == {"id": first["id"], "removed": True}
    assert [one["text"] for one in shell("message")["items"]] == ["fire", "third"]
    assert shell("message", "--clear") == {"removed": 2}
    assert say("message", "--clear") == "there was no message\n"
    assert shell("status")["messages"] == []
    with pixelog.open(data) as state:
        assert {event.actor for event in state.store.read(types=["message.*"])} == {"cli"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hello", "--clear"], "either TEXT, or --dismiss ID, or --clear"),
        (["--dismiss", "m1", "--clear"], "either TEXT, or --dismiss ID, or --clear"),
        (["--ttl", "3", "--clear"], "either TEXT, or --dismiss ID, or --clear"),
        (["--ttl", "3"], "a message needs its TEXT; see pixelog message --help"),
    ],
)
def test_one_thing_at_a_time_is_done_with_messages(shell: Shell, arguments: list[str], said: str) -> None:
    """Nothing that was asked for is passed over in silence."""
    assert shell("message", *arguments, code=2) == f"pixelog: {said}\n"
    assert shell("message")["total"] == 0
