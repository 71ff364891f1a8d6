"""The structure rules, as tests that name file and line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("eventstore", "projections", "player", "api")

MAY_IMPORT = {
    "eventstore": {"eventstore"},
    "projections": {"projections", "eventstore"},
    "player": {"player", "projections"},
    "api": {"api", "projections", "eventstore"},
    "api/cli": {"api", "projections", "eventstore", "player"},
}
"""Dependencies point one way. The longest folder that matches a file decides."""

PURE_PLAYER_MODULES = {
    "player.render",
    "player.framepack",
    "player.drawing",
    "player.pixels",
    "player.screen",
    "player.compose",
    "player.prepare",
    "player.child",
    "player.media_error",
    "player.demo",
}
"""What of the player the ways in may use: drawing and file formats. Never the loop, the worker or the panels."""

THIRD_PARTY = {
    "eventstore": {"apsw", "msgspec", "anyio"},
    "projections": {"apsw", "msgspec"},
    "player": {"apsw", "msgspec", "PIL", "numpy"},
    "api": {"apsw", "msgspec", "anyio", "starlette", "uvicorn", "python_multipart", "PIL", "uvloop"},
}
"""Packages from outside that each package may import at module level or inside functions."""

HARDWARE = {"adafruit_rgb_display", "board", "busio", "digitalio", "microcontroller"}

PURE = (
    *(f"projections/{name}.py" for name in ("rows", "times", "area")),
    "projections/plan/*.py",
    "api/commands/*.py",
    "player/render.py",
    "player/qr.py",
    "player/drawing.py",
    "player/font.py",
    "player/strokes.py",
    "eventstore/chain.py",
    "eventstore/record.py",
)
"""Modules that take clocks, ids and randomness as arguments."""

IMPURE_NAMES = {"time", "random", "secrets", "os", "socket", "subprocess", "threading"}
IMPURE_CALLS = {"now", "today", "utcnow", "uuid1", "uuid4", "urandom", "open"}


def sources(*patterns: str) -> list[Path]:
    """Files of ours that match, in order."""
    found = [path for pattern in patterns for path in ROOT.glob(pattern)]
    return sorted(path for path in found if "__pycache__" not in path.parts)


def all_sources() -> list[Path]:
    """Every module of the four packages."""
    return sources(*(f"{package}/**/*.py" for package in PACKAGES))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.lineno, node.module
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def place(path: Path) -> str:
    """`file` relative to the root."""
    return path.relative_to(ROOT).as_posix()


def floor_of(path: Path) -> str:
    """The longest folder of MAY_IMPORT that holds the file."""
    return max((folder for folder in MAY_IMPORT if place(path).startswith(folder + "/")), key=len)


def test_dependencies_point_one_way() -> None:
    """eventstore knows nobody, projections know the store, the player knows projections, and only the command line knows all."""
    faults: list[str] = []
    for path in all_sources():
        floor = floor_of(path)
        for line, name in imports(path):
            package = name.split(".")[0]
            if package not in PACKAGES or package in MAY_IMPORT[floor]:
                continue
            module = ".".join(name.split(".")[:2])
            if package == "player" and floor == "api" and (module in PURE_PLAYER_MODULES or name == "player"):
                continue
            faults.append(f"{place(path)}:{line} imports {name}")
    assert faults == []


def test_each_package_uses_only_its_dependencies() -> None:
    """What a package may need from outside is a short list; the event store can be used with apsw and msgspec alone."""
    import sys

    faults: list[str] = []
    for path in all_sources():
        package = place(path).split("/")[0]
        allowed = THIRD_PARTY[package] | (HARDWARE if "panels" in path.parts else set())
        for line, name in imports(path):
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names and top not in PACKAGES and top != "pixelog" and top not in allowed:
                faults.append(f"{place(path)}:{line} imports {name}")
    assert faults == []


def test_no_area_imports_anothers_fold() -> None:
    """Slices stand side by side: an area's module imports of other areas only types and queries, never `fold`."""
    faults = [
        f"{place(path)}:{line} imports {name}"
        for path in sources("projections/*.py", "api/commands/*.py")
        if path.stem not in ("folding", "catalogue")
        for line, name in imports(path)
        if name.endswith(".fold")
    ]
    assert faults == []


@pytest.mark.parametrize("path", sources(*PURE), ids=place)
def test_pure_modules_read_no_clock_and_no_chance(path: Path) -> None:
    """decide, fold, plan and render take what they need as arguments."""
    faults: list[str] = []
    for line, name in imports(path):
        if name.split(".")[0] in IMPURE_NAMES:
            faults.append(f"{place(path)}:{line} imports {name}")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in IMPURE_CALLS:
                faults.append(f"{place(path)}:{node.lineno} calls {called}()")
    assert faults == []


def test_every_module_opens_with_its_charter() -> None:
    """A module's docstring says what lives there."""
    assert [place(path) for path in all_sources() if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_no_rooms_without_a_noun() -> None:
    """No `utils`, `helpers`, `manager`, `common`, `misc`."""
    banned = {"utils", "util", "helpers", "helper", "manager", "common", "misc", "base"}
    assert [place(path) for path in all_sources() if path.stem in banned] == []


def test_integrity_checks_survive_optimisation() -> None:
    """Python drops `assert` under -O, so product code does not rely on it."""
    faults = [
        f"{place(path)}:{node.lineno}"
        for path in all_sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]
    assert faults == []


def test_an_area_is_one_noun_on_every_floor() -> None:
    """Each area has a read slice, and a write slice of the same name when callers may change it."""
    from api.commands.catalogue import HANDLERS
    from projections.catalogue import AREAS

    read = {area.name for area in AREAS}
    write = {path.stem for path in sources("api/commands/*.py")} - {"__init__", "deciding", "bounds", "catalogue"}
    assert {command.__module__.rsplit(".", 1)[1] for command in HANDLERS} <= write
    assert write - read <= {"adopt"}
    assert read - write == {"clock"}
    assert all((ROOT / "projections" / f"{name}.py").is_file() for name in read)
