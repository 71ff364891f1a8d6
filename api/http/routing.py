"""From method and path to a handler.

Paths are matched segment by segment *before* percent-decoding, so that a slug may hold an encoded `/`. A literal segment wins over a parameter.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

Handler = Callable[[Any], Awaitable[Any]]
"""Takes the `Call`, gives an ASGI response."""

PARAMETER = "{"


class Route(msgspec.Struct, frozen=True):
    """`template` has literal segments and parameters such as `{slug}`; a last segment `{name...}` takes all that remains."""

    method: str
    template: str
    handler: Handler


class Found(msgspec.Struct, frozen=True):
    """The handlers of a path by method, the template that matched, and the decoded parameters."""

    handlers: Mapping[str, Handler]
    template: str
    parameters: Mapping[str, str]

    @property
    def allow(self) -> str:
        """Value of the `Allow` header."""
        methods = {*self.handlers, "OPTIONS"}
        if "GET" in methods:
            methods.add("HEAD")
        return ", ".join(sorted(methods))


class _Node:
    """One segment of the tree of paths."""

    __slots__ = ("children", "handlers", "parameter", "rest", "template")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.parameter: tuple[str, _Node] | None = None
        self.rest: tuple[str, _Node] | None = None
        self.handlers: dict[str, Handler] = {}
        self.template = ""


class Router:
    """All routes. Immutable once made."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        self._fixed: dict[str, Found] = {}
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node = self._root
        for segment in route.template.split("/")[1:]:
            if not segment.startswith(PARAMETER):
                node = node.children.setdefault(segment, _Node())
                continue
            name = segment.strip("{}")
            if name.endswith("..."):
                node.rest = node.rest or (name.removesuffix("..."), _Node())
                node = node.rest[1]
            else:
                node.parameter = node.parameter or (name, _Node())
                node = node.parameter[1]
        if route.method in node.handlers:
            raise ValueError(f"two routes for {route.method} {route.template}")
        node.handlers[route.method] = route.handler
        node.template = route.template
        if PARAMETER not in route.template:
            self._fixed[route.template] = Found(node.handlers, route.template, {})

    def find(self, raw_path: str) -> Found | None:
        """The route of a path as it came over the wire (percent-encoded, without query); None when there is none."""
        fixed = self._fixed.get(raw_path)
        if fixed is not None:
            return fixed
        segments = raw_path.split("/")[1:]
        parameters: dict[str, str] = {}
        node = self._walk(segments, parameters)
        if node is None or not node.handlers:
            return None
        return Found(node.handlers, node.template, parameters)

    def _walk(self, segments: list[str], parameters: dict[str, str]) -> _Node | None:
        node = self._root
        for place, segment in enumerate(segments):
            literal = node.children.get(segment)
            if literal is not None:
                node = literal
                continue
            if node.parameter is not None and segment:
                name, node = node.parameter
                value = _decoded(segment)
            elif node.rest is not None:
                name, node = node.rest
                value = _decoded("/".join(segments[place:]))
                segments = segments[:place]
            else:
                return None
            if value is None:
                return None
            parameters[name] = value
            if len(segments) == place:
                return node
        return node


def _decoded(segment: str) -> str | None:
    """The text of a percent-encoded segment; None when it is not UTF-8: nothing has such a name."""
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        return None
