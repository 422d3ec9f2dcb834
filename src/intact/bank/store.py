"""What a memory bank keeps of each image, on disk: one SQLite file that holds whole images only.

A process that is killed leaves the file as it was after some image. Forgetting writes a new file from
what stays and lets it take the old one's name, so that not a byte of what was forgotten is left in it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intact.errors import OutputError, UsageError
from intact.io.atomic import sweep

FILE = "images.sqlite"
TOGETHER = 64  # images that reach the disk at once


@dataclass(frozen=True, eq=False)
class Record:
    """One image.

    Args:
        digest: SHA-256 of its file, in hexadecimal.
        name: What it was called when it was added.
        patient: Keyed hash of the patient.
        held: Held out to calibrate, rather than remembered.
        lot: That of the whole image.
        modality: As in DICOM, or empty.
        bits: Of a stored value.
        planes: How many.
        grid: Rows and columns of the image, then top, left, rows and columns in the prepared square.
        places: int32 [n], which patches are kept, counted through all planes; empty when held out.
        vectors: float16, the features of these patches [n,c], or all maps [planes,total,1,1] when held out.
    """

    digest: str
    name: str
    patient: str
    held: bool
    lot: int
    modality: str
    bits: int
    planes: int
    grid: tuple[int, ...]
    places: NDArray[np.int32]
    vectors: NDArray[np.float16]


COLUMNS = [field.name for field in fields(Record)]
LISTED = ", ".join(COLUMNS)
MARKS = ", ".join("?" * len(COLUMNS))
# S608 warns of names put into SQL; these are our own.
INSERT = f"INSERT OR IGNORE INTO images ({LISTED}) VALUES ({MARKS})"  # noqa: S608
SELECT = f"SELECT id, {LISTED} FROM images WHERE held = ? ORDER BY lot, digest LIMIT ?"  # noqa: S608
COPY = (
    f"INSERT INTO rest.images ({LISTED}) SELECT {LISTED} FROM main.images "  # noqa: S608
    "WHERE id NOT IN (SELECT id FROM gone) ORDER BY digest"
)
MOST = "SELECT {0} FROM images GROUP BY {0} ORDER BY count(*) DESC, {0} LIMIT 1"


class BankStore:
    """The records of a bank; holds its folder for this process alone until it is closed.

    Args:
        folder: Of the bank.

    Raises:
        UsageError: Another process has the folder.
        OutputError: The file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise UsageError(f"{folder}: another process is working on this bank: wait for it") from None
        sweep(folder)
        with self._told():
            self._db = _opened(self.path)
        self._waiting = 0

    def close(self) -> None:
        """Bring to the disk what waits, and let go of the folder."""
        try:
            self.settle()
        finally:
            self._db.close()
            os.close(self._lock)

    def add(self, record: Record) -> bool:
        """Keep an image; False when it is there already."""
        values = [_stored(name, getattr(record, name)) for name in COLUMNS]
        with self._told():
            done = self._db.execute(INSERT, values)
        self._waiting += 1
        if self._waiting >= TOGETHER:
            self.settle()
        return done.rowcount > 0

    def settle(self) -> None:
        """Bring to the disk what waits."""
        with self._told():
            self._db.commit()
        self._waiting = 0

    def records(self, held: bool, limit: int = -1) -> Iterator[tuple[int, Record]]:
        """Each image held out, or each remembered, with its row number, smallest lots first."""
        with self._told():
            for number, *values in self._db.execute(SELECT, (held, limit)):
                yield number, self._record(dict(zip(COLUMNS, values, strict=True)))

    def find(self, patient: str, other: str) -> list[int]:
        """Row numbers of a patient's images, or of the one whose digest or name is `other`."""
        question = "SELECT id FROM images WHERE patient = ? OR digest = ? OR name = ?"
        digest = other.encode("ascii", "replace").decode()
        return [number for (number,) in self._ask(question, patient, digest, os.fsencode(other))]

    def forget(self, numbers: Collection[int]) -> None:
        """Remove images.

        Raises:
            OutputError: The disk has no room for a copy of what stays; nothing was removed.
        """
        rest = self.path.with_name(f".{FILE}.{os.getpid()}.part")
        with self._told():
            self._db.commit()
            rest.unlink(missing_ok=True)
            rest.touch(mode=0o600)
            self._db.execute("ATTACH ? AS rest", (str(rest),))
            self._db.execute("PRAGMA rest.journal_mode = OFF")  # a copy that fails is thrown away
            _create(self._db, "rest")
            self._db.execute("CREATE TEMP TABLE gone (id INTEGER PRIMARY KEY)")
            self._db.executemany("INSERT INTO gone VALUES (?)", ((number,) for number in numbers))
            self._db.execute(COPY)
            self._db.execute("DROP TABLE gone")
            self._db.commit()
            self._db.execute("DETACH rest")
            rest.replace(self.path)
            self._db.close()
            self._db = _opened(self.path)

    def has(self, digest: str) -> bool:
        """Whether an image is there."""
        return bool(self._ask("SELECT 1 FROM images WHERE digest = ?", digest))

    def named(self, numbers: Collection[int]) -> dict[int, tuple[str, str, tuple[int, ...]]]:
        """Name, digest and grid of images."""
        question = "SELECT name, digest, grid FROM images WHERE id = ?"
        rows = {number: self._ask(question, number)[0] for number in numbers}
        return {number: (os.fsdecode(row[0]), row[1], _numbers(row[2])) for number, row in rows.items()}

    def count(self, held: bool) -> int:
        """How many images are held out, or remembered."""
        return int(self._ask("SELECT count(*) FROM images WHERE held = ?", held)[0][0])

    def planes(self) -> int:
        """How many planes the images have that are remembered."""
        return int(self._ask("SELECT total(planes) FROM images WHERE NOT held")[0][0])

    def patients(self) -> int:
        """How many patients the images are of."""
        return int(self._ask("SELECT count(DISTINCT patient) FROM images")[0][0])

    def most(self, what: str) -> Any:
        """The most frequent value of a column."""
        return self._ask(MOST.format(what))[0][0]

    def _ask(self, question: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._told():
            return self._db.execute(question, values).fetchall()

    def _record(self, row: dict[str, Any]) -> Record:
        vectors = np.frombuffer(row["vectors"], np.float16)
        shape = (row["planes"], -1, 1, 1) if row["held"] else (len(row["places"]) // 4, -1)
        own = {
            "name": os.fsdecode(row["name"]),
            "held": bool(row["held"]),
            "grid": _numbers(row["grid"]),
            "places": np.frombuffer(row["places"], np.int32),
            "vectors": vectors.reshape(shape),
        }
        return Record(**row | own)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise OutputError(
                f"{self.path}: {error}; put that right, then the same command goes on where this one stopped"
            ) from error


def _opened(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    db = sqlite3.connect(path)
    _create(db, "main")
    return db


def _create(db: sqlite3.Connection, where: str) -> None:
    columns = f"id INTEGER PRIMARY KEY, {LISTED}, UNIQUE (digest)"
    db.execute(f"CREATE TABLE IF NOT EXISTS {where}.images ({columns})")
    db.execute(f"CREATE INDEX IF NOT EXISTS {where}.by_lot ON images (held, lot, digest)")
    db.execute(f"CREATE INDEX IF NOT EXISTS {where}.by_patient ON images (patient)")
    db.commit()


def _stored(column: str, value: Any) -> Any:
    if column == "name":
        return os.fsencode(value)  # a file's name need not be text
    if isinstance(value, np.ndarray):
        return value.tobytes()
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split()))
