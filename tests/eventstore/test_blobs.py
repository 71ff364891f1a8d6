"""Blobs: what a full disk leaves of one that was begun."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BEGUN = """
import resource, sys
from pathlib import Path
from eventstore.blobs import BlobStore
folder = Path(sys.argv[1])
blobs = BlobStore(folder / "blobs", folder / "tmp")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with blobs.writer() as writer:
        writer.write(b"x" * 5_000)  # still in memory
        raise KeyError("the upload ended early")
except KeyError as error:
    print(error)
print(list((folder / "tmp").iterdir()))
"""


def test_a_blob_that_no_longer_fits_leaves_nothing(tmp_path: Path) -> None:
    """What ended the writing is said, not that the rest of it could not be written out either; the temporary file is gone."""
    command = [sys.executable, "-c", BEGUN, str(tmp_path)]
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={"PYTHONPATH": str(root)})
    assert (done.stdout, done.stderr) == ("'the upload ended early'\n[]\n", "")
