"""What every test leaves behind in shared memory is taken away at the end."""

from __future__ import annotations

import shutil

import pytest

from eventstore.head import runtime_folder


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Each data directory of the session has a folder in shared memory, named by its inode; directories that are gone took their name along."""
    factory: pytest.TempPathFactory | None = getattr(session.config, "_tmp_path_factory", None)
    if factory is None:
        return
    base = factory.getbasetemp()
    for folder in {path.parent for path in base.rglob("*.db")}:
        shutil.rmtree(runtime_folder(folder), ignore_errors=True)
