"""The documents are held to the code: what they list is what there is."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_pragma_table_is_that_of_the_code() -> None:
    """docs/architecture.md lists every pragma with its value and reason."""
    from eventstore.connection import PRAGMAS, WRITER_PRAGMAS

    text = (ROOT / "docs/architecture.md").read_text()
    table = text.split("<!-- pragmas -->")[1].split("<!-- /pragmas -->")[0]
    rows = [f"| `{name}` | `{value}` | {reason} |" for name, value, reason in (*PRAGMAS, *WRITER_PRAGMAS)]
    assert table.strip().splitlines()[2:] == rows


def test_every_dependency_has_its_reason() -> None:
    """Each run-time dependency of pyproject.toml stands in the architecture's table."""
    import tomllib

    text = (ROOT / "docs/architecture.md").read_text()
    names = [
        re.split(r"[<>=; ]", one)[0] for one in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    ]
    assert [name for name in names if name not in text] == []


def test_the_readme_is_short_and_shows_the_commands() -> None:
    """A newcomer meets the two commands within 120 lines."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 120
    assert {"make run", "make test"} <= {line.strip() for line in lines}


def test_the_readmes_python_runs(tmp_path: Path, monkeypatch: object) -> None:
    """The ten lines of Python in the README do what they say."""
    import os

    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        exec(compile(block, "README.md", "exec"), {})
    finally:
        os.chdir(before)
    assert (tmp_path / "notes.db").is_file()


def test_links_lead_somewhere() -> None:
    """Every relative link of the documents names a file that is there."""
    broken: list[str] = []
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_the_reference_of_projections_is_current() -> None:
    """docs/projections.md is what the tables say; `python -m projections.reference` writes it."""
    from projections.reference import page

    assert (ROOT / "docs/projections.md").read_text() == page()
