"""The files of the page: small, complete, and from nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parents[2] / "api" / "dashboard").iterdir())

BYTES_MAX = 100_000

NAMESPACE = "http://www.w3.org/2000/svg"


def test_size() -> None:
    """All files together are at most 100 kB, as they are, not compressed."""
    assert sum(path.stat().st_size for path in FILES) <= BYTES_MAX


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_from_elsewhere(path: Path) -> None:
    """No file names another host."""
    assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+", path.read_text().replace(NAMESPACE, "")) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_inline(path: Path) -> None:
    """No markup is made of text, and none carries scripts or styles: the policy forbids the latter, and nothing needs the former."""
    text = path.read_text()
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser", text) == []
    if path.suffix == ".html":
        assert re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text) == []


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".js"], ids=lambda path: path.name)
def test_charter(path: Path) -> None:
    """Every module says first what lives in it."""
    assert path.read_text().startswith("/**")
