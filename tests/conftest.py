"""What holds for every test: what it leaves behind in shared memory is taken away at the end, and generated examples are the same in every run.

`make test` says whether this state of the code is good, and must say the same twice; `make fuzz` draws examples that
nobody has seen before."""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import settings

from eventstore.head import runtime_folder

settings.register_profile("same", derandomize=True, database=None)
settings.register_profile("drawn", derandomize=False, database=None, print_blob=True)
settings.load_profile("drawn" if os.environ.get("PIXELOG_EXAMPLES") == "drawn" else "same")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Each data directory of the session has a folder in shared memory, named by its inode; directories that are gone took their name along."""
    factory: pytest.TempPathFactory | None = getattr(session.config, "_tmp_path_factory", None)
    if factory is None:
        return
    base = factory.getbasetemp()
    for folder in {path.parent for path in base.rglob("*.db")}:
        shutil.rmtree(runtime_folder(folder), ignore_errors=True)
