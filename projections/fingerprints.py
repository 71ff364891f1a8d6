"""Which code an area's rows were folded by: a hash that changes when the rows might, and does not for a comment.

Taken over the syntax of the fold and of everything of ours that it reaches (event structs, upcasters, constants), and over the tables and
views. Parsing costs some 50 ms, too much for every start: a hash over the plain sources stands in front, and only when that differs is
the syntax looked at.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from projections import catalogue, rows
from projections.area import Area

_OURS = "projections."


@cache
def of_sources() -> str:
    """A hash over every source file of the projections: as long as it is the same, so is every fingerprint."""
    hash = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        hash.update(path.read_bytes())
    return hash.hexdigest()[:32]


@cache
def of_area(name: str) -> str:
    """What the rows of an area depend on beside the log."""
    area = catalogue.BY_NAME[name]
    return of(area)


def of(area: Area) -> str:
    """As `of_area`, for an area that the catalogue need not know."""
    parts = dict(sorted(_reached([area.fold, *area.events.values(), *area.upcasters.values()])))
    shape = [[table.create_sql(), table.seed, table.derived] for table in area.tables]
    versions = [sorted(area.events), sorted(area.versions.items()), sorted(area.upcasters), area.views]
    return hashlib.sha256(msgspec.json.encode([parts, shape, versions])).hexdigest()[:32]


def stored(name: str) -> str:
    """How an area's fingerprint is kept in the log: the area's own, and that of the sources."""
    return f"{of_area(name)}/{of_sources()}"


def is_same(name: str, kept: str) -> bool:
    """Whether rows kept under this stored fingerprint were folded as this program would fold them."""
    own, _, sources = kept.partition("/")
    return sources == of_sources() or own == of_area(name)


def _reached(roots: list[Any]) -> Iterator[tuple[str, str]]:
    """(qualified name, text) of every function, class and constant of ours that the roots reach."""
    waiting, seen = list(roots), set[str]()
    while waiting:
        one = waiting.pop()
        name = f"{one.__module__}.{one.__qualname__}"
        if name in seen:
            continue
        seen.add(name)
        tree = _syntax(one)
        if tree is None:
            yield name, one.__code__.co_code.hex() if inspect.isfunction(one) else repr(inspect.signature(one))
            continue
        yield name, ast.unparse(tree)
        module = sys.modules[one.__module__]
        for label, value in _named(tree, module):
            if _is_ours(value):
                waiting.append(value)
            elif _is_plain(value):
                yield f"{module.__name__}.{label}", repr(value)


def _is_ours(value: Any) -> bool:
    """Code that decides what rows hold. What carries row writes out is the same for all."""
    return (
        (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__.startswith(_OURS)
        and value.__module__ != rows.__name__
    )


def _is_plain(value: Any) -> bool:
    """A constant whose text is its value. Sets have no order; tables are taken as a whole, by their SQL."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))  # type: ignore[arg-type]
    if isinstance(value, dict):
        return all(_is_plain(part) for pair in value.items() for part in pair)  # type: ignore[misc]
    return isinstance(value, bool | int | float | str | bytes)


def _named(tree: ast.AST, module: ModuleType) -> Iterator[tuple[str, Any]]:
    """What the names, and attributes of modules, in this syntax stand for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and hasattr(module, node.id):
            yield node.id, getattr(module, node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = getattr(module, node.value.id, None)
            if isinstance(owner, ModuleType) and owner.__name__.startswith(_OURS) and hasattr(owner, node.attr):
                yield f"{owner.__name__}.{node.attr}", getattr(owner, node.attr)


@cache
def _definitions(module: str) -> dict[str, ast.AST]:
    """The definitions at the top of a module by name, without docstrings."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError):
        return {}
    found: dict[str, ast.AST] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            for inner in ast.walk(node):
                if isinstance(inner, ast.FunctionDef | ast.ClassDef):
                    body = [part for part in inner.body if not _is_text(part)]
                    inner.body = body or [ast.Pass()]
            found[node.name] = node
    return found


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _syntax(one: Any) -> ast.AST | None:
    return _definitions(one.__module__).get(one.__qualname__)
