"""`pixelog backup FILE` and `pixelog restore FILE`. `pixelog restore SLUG`, of an item, shares the second's name: what is given decides."""

from __future__ import annotations

import os
import signal
import threading
from argparse import ArgumentParser
from pathlib import Path

from api import backups
from api.cli import library
from api.cli.command import Call, Command, Usage
from api.data import DataDirectory
from api.reading import open_for_reading
from eventstore import backup, connection
from eventstore.backup import BadBackup, Cancelled, Manifest
from eventstore.errors import Unusable


def _backup_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--secrets", action="store_true", help="take the secrets along; then keep the file as safe as a password")


def _backup(call: Call) -> int:
    data, target = DataDirectory(call.data), Path(call.options.file).absolute()
    if not target.parent.is_dir():
        raise Usage(f"there is no folder {target.parent}")
    if target.is_dir():
        raise Usage(f"{target} is a folder; name a file in it, such as {target}/pixelog.tar")
    data.check()
    if connection.inspect(data.database) is None:
        raise Usage(f"there is no log in {call.data}; nothing to back up")
    stop = threading.Event()
    interrupted = signal.signal(signal.SIGINT, lambda number, frame: stop.set())
    try:
        with open_for_reading(data) as store:
            manifest = backups.write(data, store, target, call.options.secrets, stop.is_set)
    except Cancelled as error:
        raise KeyboardInterrupt from error
    except BadBackup as error:
        raise Usage(str(error)) from error
    except OSError as error:
        raise Usage(f"{target} cannot be written: {error.strerror or error}; nothing of it is left") from error
    finally:
        signal.signal(signal.SIGINT, interrupted)
    if call.options.secrets:
        target.chmod(0o600)
    _say(call, manifest, target, f"{target} holds the log up to position {manifest.head}")
    return 0


def _restore_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("what", metavar="FILE|SLUG", help="a backup file, or the slug of an item that was removed")
    parser.add_argument("--replace", action="store_true", help="put the backup in the place of a directory that is not empty")


def _restore(call: Call) -> int:
    file = Path(call.options.what)
    if not _means_file(call):
        call.options.slug = call.options.what
        return library.RESTORE.run(call)
    if file.is_file() and not os.access(file, os.R_OK):
        raise Usage(f"{file} cannot be read: permission denied; nothing was changed")
    if file.is_file() and not backup.is_backup(file):
        raise Usage(f"{file} is not a backup of pixelog; nothing was changed")
    try:
        manifest = backups.restore(file, DataDirectory(call.data), call.options.replace)
    except BadBackup as error:
        raise Usage(f"{error}; nothing was changed") from error
    except Unusable as error:
        if error.code != "not_empty":
            raise
        raise Usage(str(error)) from error
    _say(call, manifest, file, f"{call.data} is the log of {file} up to position {manifest.head}")
    return 0


def _means_file(call: Call) -> bool:
    """A backup is told by how it begins. Something else is a slug, unless it is plainly the name of a file: then saying so helps more than looking
    for an item."""
    file = Path(call.options.what)
    return backup.is_backup(file) or call.options.replace or file.is_file() or file.suffix in (".tar", ".backup")


def _say(call: Call, manifest: Manifest, file: Path, line: str) -> None:
    size_bytes = sum(stored.size_bytes for stored in manifest.files)
    blobs = sum(stored.name.startswith("blobs/") for stored in manifest.files)
    if call.out.json:
        call.out.document(
            {
                "file": str(file),
                "logId": manifest.log_id,
                "head": manifest.head,
                "chain": manifest.chain,
                "createdAt": manifest.created_at,
                "blobs": blobs,
                "sizeBytes": size_bytes,
            }
        )
    call.out.line(f"{line}: {blobs} files, {library.size(size_bytes)}")


BACKUP = Command(_backup, _backup_arguments)
RESTORE = Command(_restore, _restore_arguments)
