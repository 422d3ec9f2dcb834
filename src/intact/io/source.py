"""`Source`: the bytes of one file, on disk or inside a zip archive."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

from intact.errors import UnreadableError
from intact.io.limits import check_packed, check_size

EMPTY = "is empty (0 bytes); fetch it again"


@dataclass(frozen=True)
class Source:
    """A file, or a member of a zip archive.

    Args:
        path: The file or the archive.
        member: Name of the member inside the archive; empty for a file.
    """

    path: Path
    member: str = ""

    @property
    def name(self) -> str:
        """How messages and results call it: "scan.dcm", "archive.zip/inner/scan.dcm"."""
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    def read(self) -> bytes:
        """All bytes.

        Raises:
            UnreadableError: Missing, not permitted, empty, encrypted, damaged or a zip bomb.
        """
        with self.open() as stream:
            if not self.member:
                check_size(self.name, os.fstat(stream.fileno()).st_size, "the file")
            data = stream.read()
        if not data:
            raise UnreadableError(self.name, EMPTY)
        return data

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The bytes as a seekable stream; raises like `read`, also for errors in the block."""
        try:
            with self._stream() as stream:
                yield stream
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UnreadableError(self.name, f"cannot be read: {reason}") from error

    def _stream(self) -> IO[bytes]:
        if not self.member:
            return self.path.open("rb")
        archive = archive_at(self.path)
        entry = archive.getinfo(self.member)
        if entry.flag_bits & 0x1:
            raise UnreadableError(self.name, "is encrypted; unpack the archive with its password")
        check_packed(self.name, packed=entry.compress_size, unpacked=entry.file_size)
        try:
            return archive.open(entry)
        except NotImplementedError as error:
            raise UnreadableError(self.name, f"cannot be unpacked: {error}") from error


def archive_at(path: Path) -> zipfile.ZipFile:
    """The opened archive; kept open, since its directory is slow to read again for each member."""
    return _opened(path, path.stat().st_mtime_ns, os.getpid())


@lru_cache(maxsize=4)
def _opened(path: Path, changed: int, process: int) -> zipfile.ZipFile:
    # A changed file is another archive, and a forked process must not share a file position.
    return zipfile.ZipFile(path)
