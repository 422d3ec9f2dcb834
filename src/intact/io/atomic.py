"""Writing a file whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from intact.errors import OutputError


def put(path: str | Path, data: bytes) -> Path:
    """Write `data` to `path` so that a reader never sees half a file.

    The bytes go to a hidden file beside `path`, which then takes its name; an older file at
    `path` stays until that moment and survives every failure.

    Raises:
        OutputError: The folder is missing or not writable, or the disk is full.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{path}: cannot be written: {reason}; nothing was changed, choose another place"
        ) from error
    finally:
        _forget(part)
    return path


def sweep(folder: Path) -> None:
    """Remove what writers that were killed left of their files, anywhere below a folder.

    To be called by one process that has the folder for itself.
    """
    for part in folder.rglob(".*.[0-9]*.part"):
        _forget(part)


def _forget(part: Path) -> None:
    try:
        part.unlink(missing_ok=True)
    except OSError:
        return  # the folder itself is gone or closed; the error that matters is already raised
