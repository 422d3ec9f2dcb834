"""`Ledger`: what was sealed, restored, verified or refused, as a chain that verifies offline.

One JSON object per line, in canonical form: keys sorted, no spaces, UTF-8. Every line holds

    n         its number, from 0
    time      UTC, to the second
    event     "protect", "restore", "verify" or "refuse"
    name      the file as the user named it, relative to the input folder
    details   plain JSON: digests before and after, key id, reason code
    previous  `hash` of the line before; `START` in the first line
    mac       HMAC-SHA256 of the six above, with a key derived from the user's secret key
    hash      SHA-256 of the seven above

`hash` lets anyone see that a line was changed, moved, inserted or removed. It needs no secret, so
anyone could also compute the chain anew from a changed line on; `mac` lets the owner of the key
see that. Neither shows that whole lines are missing at the end, or that the file is another ledger
of the same key: note the head (`Checked.head`) elsewhere, and `check` tells whether it is still in
the chain. Against the owner of the key only a head that others noted helps.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal

from intact.errors import InputError, OutputError, UsageError
from intact.protect.keys import Key, ledger_key

Event = Literal["protect", "restore", "verify", "refuse"]

START = 64 * "0"  # the head of a ledger without lines
FIELDS = ("n", "time", "event", "name", "details", "previous")
OPENING = b'{"details":'  # how every line begins, as its keys are sorted
_NO_LINE = "is not a line of a ledger: it was damaged, or this is another file"


class LedgerError(InputError):
    """A ledger is broken.

    Args:
        name: The ledger.
        line: Its first line, from 1, at which this shows; 0 for a ledger without lines.
        reason: What was found, and what it means.
    """

    def __init__(self, name: str, line: int, reason: str) -> None:
        super().__init__(name, f"line {line}: {reason}")
        self.args = (name, line, reason)  # else it could not be copied to another process
        self.line = line


@dataclass(frozen=True)
class Checked:
    """A ledger without a fault.

    Attributes:
        events: How many it holds.
        head: `hash` of its last line; noted elsewhere, it later shows that no line was cut off.
        keyed: Whether it was checked with the key; if not, it may have been written anew as a whole.
    """

    events: int
    head: str
    keyed: bool


def check(path: str | Path, key: Key | None = None, head: str | None = None) -> Checked:
    """Check every line of a ledger that nobody is writing to just now.

    Args:
        path: The ledger.
        key: The secret key it was written with; without it, a chain that someone computed anew
            from a changed line on looks sound.
        head: The head that an earlier check gave; without it, lines cut off the end are not missed.

    Raises:
        LedgerError: A line was changed, moved, inserted, removed or cut short, its mac is not of
            `key`, or `head` is not in the chain.
        UsageError: There is no such ledger, or it cannot be read.
    """
    mac_key = ledger_key(key) if key else None
    try:
        with Path(path).open("rb") as file:
            checked, seen = Checked(0, START, key is not None), head in (None, START)
            for checked in _chain(file, str(path), mac_key):
                seen = seen or checked.head == head
    except OSError as error:
        raise UsageError(f"{path}: the ledger cannot be read: {error.strerror}; check its name") from error
    if not seen:
        raise LedgerError(
            str(path),
            checked.events,
            f"the ledger ends here without the head {head} noted earlier: lines were cut off its end, or "
            "it is another ledger; look for the whole file in a backup",
        )
    return checked


class Ledger:
    """A ledger open for more events; a context manager that holds the file for this process alone.

    Opening checks the whole chain. What a killed process left of a last line is cut off: `append`
    had not returned, so the event was not done and the resumed run will write it again.

    Args:
        path: The ledger, created if need be.
        key: The secret key that all its lines are written with.

    Raises:
        LedgerError: It is broken, no ledger, or was written with another key; it stays as it is.
        UsageError: Another process is writing to it.
        OutputError: It cannot be written to.
    """

    def __init__(self, path: str | Path, key: Key) -> None:
        self.path, self._mac_key = Path(path), ledger_key(key)
        self.events, self.head = 0, START
        self._size = 0  # bytes of all lines
        self._file: FileIO

    def __enter__(self) -> Ledger:
        try:
            self._file = self.path.open("ab", buffering=0)  # closing must not write what failed before
            try:
                self._lock()
                self._take_up()
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise self._cannot(error) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self._file.close()

    def append(self, event: Event, name: str, details: dict[str, Any]) -> None:
        """Write one event, and return when it is on the disk itself.

        Raises:
            OutputError: The disk is full, say; the ledger is as it was before.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        values = (self.events, now, event, name, details, self.head)
        # Hashed as it will be read back: tuples as lists, numbers that are keys as text.
        body = json.loads(json.dumps(dict(zip(FIELDS, values, strict=True)), allow_nan=False))
        line, head = _seal(body, _mac(body, self._mac_key))
        try:
            if self.path.stat().st_size != self._size:
                raise OutputError(f"{self.path}: the ledger is not as it was left; start again to check it")
            self._write(line)
        except OSError as error:
            raise self._cannot(error) from error
        self.events, self.head, self._size = self.events + 1, head, self._size + len(line)

    def _write(self, line: bytes) -> None:
        """Write all of `line` or, as far as the disk obeys, nothing of it."""
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError:
            with suppress(OSError):  # then the size is not as expected, and `append` refuses
                self._file.truncate(self._size)
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{self.path}: another process is writing to it; wait for that one") from None

    def _take_up(self) -> None:
        """Follow the chain to its end, and cut off a torn last line."""
        with self.path.open("rb") as file:
            for checked in _chain(self._whole(file), str(self.path), self._mac_key):
                self.events, self.head = checked.events, checked.head
        self._file.truncate(self._size)

    def _whole(self, file: BinaryIO) -> Iterator[bytes]:
        """All lines but a torn one, which must be the beginning of a line: other files are left alone."""
        for line in file:
            if not line.endswith(b"\n"):
                if line[: len(OPENING)] != OPENING[: len(line)]:
                    raise LedgerError(str(self.path), self.events + 1, f"{_NO_LINE}; choose another name")
                return
            self._size += len(line)
            yield line

    def _cannot(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self.path}: the ledger cannot be written to: {error.strerror or error}; put that right, then "
            "the same command goes on"
        )


def _chain(lines: Iterable[bytes], name: str, mac_key: bytes | None) -> Iterator[Checked]:
    """Follow the chain up to the first line that does not continue it, which is a `LedgerError`."""
    head = START
    for number, line in enumerate(lines):
        try:
            head = _follow(line, number, head, mac_key)
        except ValueError as error:
            raise LedgerError(
                name, number + 1, f"{error}; trust nothing from here on, and look for the ledger in a backup"
            ) from None
        yield Checked(number + 1, head, mac_key is not None)


def _follow(line: bytes, number: int, head: str, mac_key: bytes | None) -> str:
    """The new head, if `line` is line `number` of a chain that had `head`; else ValueError says why."""
    if not line.endswith(b"\n"):
        raise ValueError("has no end: the file was cut short, or its writer was killed at this event")
    try:
        record = json.loads(line)
        body, mac = {field: record[field] for field in FIELDS}, record["mac"]
        sealed, new_head = _seal(body, mac)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(_NO_LINE) from None
    if sealed != line:
        raise ValueError("does not match its own hash: it was changed after it was written")
    if body["n"] != number:
        raise ValueError(f"is number {body['n']} where {number} comes: lines were removed, added or moved")
    if body["previous"] != head:
        raise ValueError("does not continue the line before: one of the two was replaced")
    if mac_key and mac != _mac(body, mac_key):
        raise ValueError("was not written with this key: this is another key, or the line was forged")
    return new_head


def _mac(body: dict[str, Any], mac_key: bytes) -> str:
    return hmac.new(mac_key, _canonical(body), "sha256").hexdigest()


def _seal(body: dict[str, Any], mac: str) -> tuple[bytes, str]:
    """The whole line and its hash."""
    record = {**body, "mac": mac}
    head = hashlib.sha256(_canonical(record)).hexdigest()
    return _canonical({**record, "hash": head}) + b"\n", head


def _canonical(record: dict[str, Any]) -> bytes:
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # Where a file name is not UTF-8, Python holds lone surrogates; what this writes is JSON's \udc80.
    return text.encode("utf-8", "backslashreplace")
