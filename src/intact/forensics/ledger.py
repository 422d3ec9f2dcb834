"""A ledger of pixel digests: what the pixels of a series were on the day they were recorded.

It is what signatures in the files would give, without touching the files: a text file with one JSON
object per line, kept outside the archive. A line holds the digest of every slice (`pixel_digest`,
independent of compression), the root of their Merkle tree (RFC 6962, section 2.1) and the digest of the
line before, so that an edit, or a line taken out or put in, breaks the chain. Who cuts off the end, or
writes all lines after an edit anew, leaves no trace in the file: keep the digest of the last line, which
`record` returns, somewhere else.

No line holds data of a patient: series and slices are named by the SHA-256 of their UIDs.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from intact.digest import pixel_digest
from intact.errors import OutputError, UsageError
from intact.forensics.base import Finding, Severity
from intact.forensics.instance import Instance, Series

FORMAT = 1
START = "0" * 64  # what the first line has in place of the digest of the line before

Entry = dict[str, Any]


class Ledger:
    """A ledger on disk; made by the first recording.

    Args:
        path: Of the file.

    Raises:
        UsageError: The file is no ledger.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._places: dict[str, list[int]] = {}  # of the lines of each series, in bytes
        self._broken: list[int] = []  # numbers of lines that do not follow from the line before
        self._hashes: set[str] = set()
        self._last, self._end = START, 0
        self._take_up()

    def record(self, series: Series, *, now: datetime | None = None) -> str:
        """Append what the pixels of a series are.

        Args:
            series: All its files.
            now: The time to record; by default the present.

        Returns:
            The digest of the new line, which vouches for all lines before it.

        Raises:
            UsageError: Files without a SOP Instance UID, or several with the same.
            OutputError: The ledger cannot be written to.
        """
        leaves = _leaves(series)
        told = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
        try:
            with self.path.open("ab+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # held until the file is closed
                self._take_up()
                entry = {
                    "format": FORMAT,
                    "time": told,
                    "series": _name(series.instances[0].text("SeriesInstanceUID")),
                    "root": merkle_root([bytes.fromhex(uid + of) for uid, of in leaves.items()]),
                    "slices": leaves,
                    "before": self._last,
                }
                line = json.dumps(entry | {"hash": _hash(entry)}) + "\n"
                file.truncate(self._end)  # what a kill left of a line
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be written to ({error.strerror}); nothing was recorded"
            ) from error
        self._take_up()
        return self._last

    def verify(self, series: Series, *, vouched: str = "") -> list[Finding]:
        """Compare the pixels of a series with what was recorded of them first.

        Args:
            series: All its files.
            vouched: The digest of a line that was kept elsewhere: it must still be in the ledger.

        Returns:
            Findings of changed, missing and added slices, and of a ledger that was tampered with; the
            heaviest first.
        """
        found = self.check(vouched=vouched)
        entries = list(self._entries(_name(series.instances[0].text("SeriesInstanceUID"))))
        if not entries:
            said = "The series is not in the ledger."
            return [*found, Finding("B11", Severity.INFORMATION, "", said, series.names)]
        return [*found, *_compared(series, entries)]

    def check(self, *, vouched: str = "") -> list[Finding]:
        """Whether the ledger is what was written: lines edited, taken out or put in.

        Args:
            vouched: The digest of a line that was kept elsewhere.
        """
        found = []
        if self._broken:  # all later lines rest on the first of them
            said = (
                f"Line {self._broken[0]} of the ledger does not follow from the line before: it was edited, "
                "or lines were taken out or put in."
            )
            found.append(self._tampered(said))
        if vouched and vouched not in self._hashes:
            found.append(
                self._tampered("The line whose digest was kept elsewhere is no longer in the ledger.")
            )
        return found

    def _tampered(self, said: str) -> Finding:
        return Finding("B11", Severity.IMPOSSIBLE, "", said, (str(self.path),))

    def _entries(self, series: str) -> Iterator[Entry]:
        """What was recorded of a series, the oldest first."""
        for place in self._places.get(series, ()):
            with self.path.open("rb") as file:
                file.seek(place)
                yield json.loads(file.readline())

    def _take_up(self) -> None:
        """Read the lines that were added since the last time."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._end)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._follow(line)

    def _follow(self, line: bytes) -> None:
        number = len(self._hashes) + len(self._broken) + 1
        try:
            entry = json.loads(line)
            claimed = entry.pop("hash")
            sound = entry["before"] == self._last and _hash(entry) == claimed
            self._places.setdefault(entry["series"], []).append(self._end)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number == 1:
                raise UsageError(
                    f"{self.path}: its first line is not a ledger's; name another file"
                ) from error
            sound, claimed = False, hashlib.sha256(line).hexdigest()
        if sound:
            self._hashes.add(claimed)
        else:
            self._broken.append(number)
        self._last, self._end = claimed, self._end + len(line)


def merkle_root(leaves: Sequence[bytes]) -> str:
    """The root of a Merkle tree: RFC 6962, section 2.1.

    Args:
        leaves: In order.

    Returns:
        64 hexadecimal digits.
    """
    return _root([hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves]).hex()


def _root(nodes: Sequence[bytes]) -> bytes:
    if not nodes:
        return hashlib.sha256().digest()
    if len(nodes) == 1:
        return nodes[0]
    half = 1 << ((len(nodes) - 1).bit_length() - 1)  # the largest power of two below the count
    return hashlib.sha256(b"\1" + _root(nodes[:half]) + _root(nodes[half:])).digest()


def _compared(series: Series, entries: Sequence[Entry]) -> Iterator[Finding]:
    first = entries[0]
    recorded, now = first["slices"], _leaves(series)
    if merkle_root([bytes.fromhex(uid + of) for uid, of in now.items()]) == first["root"]:
        return
    files = {_name(_uid(one)): one.name for one in series.instances}
    day = first["time"]
    changed = [uid for uid in now if uid in recorded and now[uid] != recorded[uid]]
    if changed:
        since = next(
            (
                entry["time"]
                for entry in entries[1:]
                if all(entry["slices"].get(uid) == now[uid] for uid in changed)
            ),
            "",
        )
        said = f"The pixels are not those that were recorded on {day}"
        said += f"; what they are now was recorded on {since}." if since else "."
        yield Finding("B11", Severity.IMPOSSIBLE, "", said, tuple(files[uid] for uid in changed))
    added = [uid for uid in now if uid not in recorded]
    if added:
        said = f"{len(added)} files were not in the series when it was recorded on {day}."
        yield Finding("B11", Severity.UNUSUAL, "", said, tuple(files[uid] for uid in added))
    gone = len(set(recorded) - set(now))
    if gone:
        said = f"{gone} of {len(recorded)} files that were recorded on {day} are missing."
        yield Finding("B11", Severity.UNUSUAL, "", said, series.names)


def _leaves(series: Series) -> dict[str, str]:
    """The digest of each slice by the digest of its UID, in the order of the latter."""
    uids = [_uid(one) for one in series.instances]
    if "" in uids or len(set(uids)) < len(uids):
        raise UsageError(
            "the files of this series do not each have a SOP Instance UID (0008,0018) of their own, so a "
            "ledger cannot tell them apart"
        )
    leaves = {_name(uid): pixel_digest(one.image) for uid, one in zip(uids, series.instances, strict=True)}
    return dict(sorted(leaves.items()))


def _uid(one: Instance) -> str:
    return one.text("SOPInstanceUID")


def _name(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()


def _hash(entry: Entry) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
