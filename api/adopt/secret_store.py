"""The passwords of an older installation, in files of their own below `DIR/secrets`: never in the log, and for their owner's eyes alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from eventstore.blobs import fsync_folder


def secrets_file(folder: Path, name: str) -> Path:
    """Where the secrets of a source are kept."""
    return folder / f"adopted-{name}.json"


def kept_secrets(folder: Path, name: str) -> dict[str, Any]:
    """Those of a source by their paths. Raises OSError."""
    path = secrets_file(folder, name)
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return {}
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise OSError(f"{path} is damaged; move it away, and it is made anew") from error


def keep_secrets(folder: Path, name: str, secrets: dict[str, Any]) -> None:
    """Write them for the owner's eyes alone; nothing when they are there already. One that is no longer in the source stays."""
    path = secrets_file(folder, name)
    text = msgspec.json.encode({**kept_secrets(folder, name), **secrets}, order="sorted") + b"\n"
    folder.chmod(0o700)
    if path.is_file() and path.read_bytes() == text:
        path.chmod(0o600)
        return
    temporary = path.with_suffix(".part")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync_folder(folder)
