"""Seal, restore and verify whole folders: one file after the other, none lost, all in a ledger.

Files are worked on in processes that may die; each result is written whole, and then its event is
appended to the ledger. A run that was stopped goes on with the same call: files whose events and
results are there, unchanged, are passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Bool
from numpy import ndarray

from intact import progress
from intact.engine import local
from intact.errors import (
    AlreadySealedError,
    CapacityError,
    InputError,
    OutputError,
    UnsealableError,
    UsageError,
)
from intact.io.atomic import put, sweep
from intact.io.source import Source
from intact.io.walk import files, roots
from intact.model import batched
from intact.protect.envelope import Carrier
from intact.protect.files import PIXELS_OF, read_image, restore_file, seal_file
from intact.protect.keys import Key, PublicKey
from intact.protect.ledger import Ledger
from intact.protect.seal import state_of
from intact.store import file_digest

LEDGER = "ledger.jsonl"
BATCH = 4  # files per unit of work
TIMEOUT = 300.0  # seconds that one file may take
LONGEST = 235  # bytes of a name; most file systems allow 255, and a file being written has a longer one
Act = Literal["protect", "restore"]


@dataclass(frozen=True)
class Item:
    """One file to work on.

    Args:
        path: Where it is.
        name: Below the path it was found under; with that path's own name where there are several.
        number: Its place among all files.
        before: What the ledger says of an earlier run, if anything.
    """

    path: Path
    name: str
    number: int = 0
    before: dict[str, Any] | None = None


@dataclass(frozen=True)
class Done:
    """What became of one file.

    Args:
        name: As in `Item`.
        state: "done", "kept" (an earlier run had done it), or why it was refused, in a word or two.
        reason: Why it was refused, or why it is not whole, in words.
        details: For the ledger.
    """

    name: str
    state: str
    reason: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        """Whether there is no result."""
        return self.state not in ("done", "kept")


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Args:
        out: Folder with the results and the ledger.
        results: One for each file, in the order of their names.
        head: The last hash of the ledger, to be noted elsewhere.
        events: How many events the ledger holds.
    """

    out: Path
    results: list[Done]
    head: str
    events: int

    @property
    def counts(self) -> Counter[str]:
        """How many files ended in which state."""
        return Counter(done.state for done in self.results)

    @property
    def refused(self) -> list[Done]:
        """The files without a result."""
        return [done for done in self.results if done.refused]


def seal_archive(
    paths: Sequence[str | Path],
    out: str | Path,
    key: Key,
    *,
    recipients: Sequence[PublicKey] = (),
    keep: str | Path | None = None,
    localise: bool = False,
    carrier: Carrier = "pixels",
    workers: int | None = None,
) -> Outcome:
    """Seal every image file of some folders into the same folders below `out`.

    Args:
        paths: Files and folders.
        out: Folder for the sealed files and the ledger; never written outside.
        key: Of the one who seals.
        recipients: Others who may restore and verify.
        keep: What stays bit for bit: a region that Intact finds itself, a key of
            `intact.segment.REGIONS` such as "lungs"; a mask (not zero: kept); or a folder that
            holds one for each image, of the same name but for the extension.
        localise: As for `seal_file`.
        carrier: As for `seal_file`.
        workers: Processes; by default one per core. 0 works in this process.

    Raises:
        UsageError: A path does not exist, or `out` is where an input is.
        LedgerError: The ledger in `out` is broken or of another key.
        OutputError: Results cannot be written; what was written stays, the same call goes on.
    """
    masks = None if keep is None else Masks(str(keep))
    sealer = Sealer(Path(out), key, tuple(recipients), masks, localise, carrier)
    return _run("protect", sealer, paths, Path(out), key, workers)


def restore_archive(
    paths: Sequence[str | Path],
    out: str | Path,
    key: Key,
    *,
    accept_header: bool = False,
    workers: int | None = None,
) -> Outcome:
    """Restore every sealed file of some folders below `out`, under the names of the originals.

    Args:
        paths: Files and folders.
        out: Folder for the originals and a ledger.
        key: Of the one who sealed, or of a recipient.
        accept_header: As for `restore_file`.
        workers: Processes; by default one per core. 0 works in this process.

    Raises:
        UsageError: A path does not exist, or `out` is where an input is.
        LedgerError: The ledger in `out` is broken or of another key.
        OutputError: Results cannot be written; what was written stays, the same call goes on.
    """
    return _run("restore", Restorer(Path(out), key, accept_header), paths, Path(out), key, workers)


@dataclass(frozen=True)
class Masks:
    """Where the regions to keep come from.

    Args:
        keep: A region by its name ("lungs"), one mask for all images, or a folder with one for each.
    """

    keep: str

    def of(self, data: bytes, name: str) -> Bool[ndarray, "..."]:
        """The region of an image, given its file.

        Raises:
            InputError: There is none, or it cannot be read.
        """
        from intact.segment import REGIONS  # takes a second, and is seldom needed

        path = Path(self.keep)
        if self.keep in REGIONS and not path.exists():
            return REGIONS[self.keep](read_image(data, name))
        if path.is_dir():
            below = Path(name)
            found = sorted((path / below.parent).glob(f"{below.stem}.*"))
            if not found:
                raise InputError(name, f"has no mask in {path}; one of the same name is needed there")
            path = found[0]
        mask: Bool[ndarray, "..."] = read_image(Source(path).read(), str(path)).pixels != 0
        return mask


@dataclass(frozen=True)
class Worker(ABC):
    """Works on one file after the other, in whichever process."""

    out: Path
    key: Key

    def __call__(self, items: Sequence[Item]) -> list[Done]:
        """What became of each."""
        return [self._one(item) for item in items]

    def lost(self, item: Item, reason: str) -> Done:
        """For a file that ended the process working on it."""
        return Done(item.name, "unreadable", reason, {"state": "unreadable"})

    @abstractmethod
    def _make(self, data: bytes, item: Item) -> tuple[bytes, str]:
        """The result of a file, and its name."""

    @abstractmethod
    def _made(self, there: bytes, data: bytes, result: bytes) -> bool:
        """Whether what is at the place of a result was made of the same file."""

    def _one(self, item: Item) -> Done:
        try:
            data = Source(item.path).read()
            before = hashlib.sha256(data).hexdigest()
            if self._is_done(item.before, before):
                return Done(item.name, "kept")
            result, name = self._make(data, item)
            target = (self.out / item.name).with_name(_plain(name))
            result = self._put(target, result, data, item)
        except InputError as error:
            state = _refusal(error)
            return Done(item.name, state, error.reason, {"state": state})
        except UsageError as error:
            return Done(item.name, "refused", str(error), {"state": "refused"})
        after = hashlib.sha256(result).hexdigest()
        written = str(target.relative_to(self.out))
        details = {"before": before, "after": after, "written": written, "key": self.key.id}
        reason = "its envelope is gone, so only its pixels came back" if name.startswith(PIXELS_OF) else ""
        return Done(item.name, "done", reason, details)

    def _is_done(self, before: dict[str, Any] | None, digest: str) -> bool:
        """Whether an earlier run made the result of this very file, and it is still there."""
        if before is None or before.get("before") != digest:
            return False
        try:
            return file_digest(self.out / before["written"]) == before["after"]
        except OSError:
            return False

    def _put(self, target: Path, result: bytes, data: bytes, item: Item) -> bytes:
        """Write a result, unless a run that was killed did; nothing else is ever written over."""
        known = item.before is not None and item.before.get("written") == str(target.relative_to(self.out))
        if target.is_dir() or (target.exists() and not known):
            there = target.read_bytes() if target.is_file() else b""
            if there and self._made(there, data, result):
                return there
            raise UsageError(f"{target} exists and is something else; nothing was written, choose another -o")
        make_folder(target.parent)
        put(target, result)
        return result


@dataclass(frozen=True)
class Sealer(Worker):
    """Seals."""

    recipients: tuple[PublicKey, ...]
    masks: Masks | None
    localise: bool
    carrier: Carrier

    def _make(self, data: bytes, item: Item) -> tuple[bytes, str]:
        return seal_file(
            data,
            item.path.name,
            self.key,
            recipients=self.recipients,
            keep=self.masks.of(data, item.name) if self.masks else None,
            localise=self.localise,
            carrier=self.carrier,
        )

    def _made(self, there: bytes, data: bytes, result: bytes) -> bool:
        try:
            return restore_file(there, "", self.key)[0] == data
        except InputError:
            return False


@dataclass(frozen=True)
class Restorer(Worker):
    """Restores."""

    accept_header: bool

    def _make(self, data: bytes, item: Item) -> tuple[bytes, str]:
        return restore_file(data, item.name, self.key, accept_header=self.accept_header)

    def _made(self, there: bytes, data: bytes, result: bytes) -> bool:
        return there == result


def find(paths: Sequence[str | Path], out: Path | None) -> list[Item]:
    """Every file below some paths but for what is in `out` and for ledgers, by name.

    Raises:
        UsageError: A path does not exist, or there is no file.
    """
    own = out.resolve() if out else None
    tops = roots([Path(path) for path in paths])
    if any(top.resolve() == own for top in tops):
        raise UsageError(f"{out} is the input itself, which is never overwritten: choose another -o")
    found = []
    for top in tops:
        for path, trail in files([top], lambda path: path.resolve() == own or path.name == LEDGER):
            trail = trail or (path.name,)
            name = "/".join((top.name, *trail) if len(tops) > 1 and top.is_dir() else trail)
            found.append(Item(path, name))
    if not found:
        raise UsageError(f"{', '.join(map(str, paths))}: there are no files")
    if twice := [name for name, count in Counter(item.name for item in found).items() if count > 1]:
        raise UsageError(f"two files would both become {twice[0]} in {out}: give their folders one by one")
    found.sort(key=lambda item: item.name)
    return [replace(item, number=number) for number, item in enumerate(found)]


def make_folder(folder: Path) -> None:
    """Make a folder for results.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}; choose another -o") from error


def _refusal(error: InputError) -> str:
    """Why a file was refused, in a word or two."""
    if isinstance(error, CapacityError):
        return "too small"
    if isinstance(error, AlreadySealedError):
        return "already sealed"
    return "unsealable" if isinstance(error, UnsealableError) else state_of(error)


def _plain(name: str) -> str:
    """The name of a result without folders; whoever has a public key may have put any name into a seal.

    Raises:
        UsageError: No file can be called so.
    """
    plain = Path(name).name
    if plain in ("", "..") or "\0" in plain:
        raise UsageError(f"its name is said to be {name!r}, which no file can have; nothing was written")
    if len(os.fsencode(plain)) > LONGEST:
        raise UsageError(
            f"the name of its result would have {len(os.fsencode(plain))} bytes, over the {LONGEST} that "
            "a file being written can have; give it a shorter one"
        )
    return plain


def processes(workers: int | None, items: Sequence[Item]) -> int:
    """How many processes to use: one per core unless asked otherwise, and none for a single file."""
    asked = len(os.sched_getaffinity(0)) if workers is None else workers
    return 0 if len(items) == 1 else min(asked, -(-len(items) // BATCH))


def _run(
    act: Act, worker: Worker, paths: Sequence[str | Path], out: Path, key: Key, workers: int | None
) -> Outcome:
    items = find(paths, out)
    make_folder(out)
    results: list[Done] = []
    with Ledger(out / LEDGER, key) as ledger:
        sweep(out)
        earlier = _last_events(out / LEDGER, act)
        items = [replace(item, before=earlier.get(item.name)) for item in items]
        what = {"protect": "sealing", "restore": "restoring"}[act]
        for batch in local.run(
            worker, batched(items, BATCH), worker.lost, workers=processes(workers, items), timeout=TIMEOUT
        ):
            for done in batch:
                if done.state != "kept" and done.details != earlier.get(done.name):
                    ledger.append("refuse" if done.refused else act, done.name, done.details)
            results += batch
            progress.report(what, len(results), len(items))
        return Outcome(out, results, ledger.head, ledger.events)


def _last_events(path: Path, act: Act) -> dict[str, dict[str, Any]]:
    """The details of the last event of each file in a ledger that was just checked."""
    last: dict[str, dict[str, Any]] = {}
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            event = json.loads(line)
            if event["event"] in (act, "refuse"):
                last[event["name"]] = event["details"]
    return last
