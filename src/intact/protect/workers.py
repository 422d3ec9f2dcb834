"""What is done to one file of an archive: sealed, perhaps changed beforehand, or restored."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Bool
from numpy import ndarray

from intact.errors import (
    AlreadySealedError,
    CapacityError,
    InputError,
    OutputError,
    UnsealableError,
    UsageError,
)
from intact.io.atomic import put
from intact.io.source import Source
from intact.protect.change import Change
from intact.protect.cloak import Against
from intact.protect.envelope import Carrier
from intact.protect.files import PIXELS_OF, read_image, restore_file, seal_file
from intact.protect.keys import Key, PublicKey
from intact.protect.seal import state_of
from intact.store import file_digest

LONGEST = 235  # bytes of a name; most file systems allow 255, and a file being written has a longer one


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
    def _make(self, data: bytes, item: Item) -> tuple[bytes, str, dict[str, Any]]:
        """The result of a file, its name, and what else the ledger is to tell."""

    @abstractmethod
    def _made(self, there: bytes, data: bytes, result: bytes) -> bool:
        """Whether what is at the place of a result was made of the same file."""

    def _one(self, item: Item) -> Done:
        try:
            data = Source(item.path).read()
            before = hashlib.sha256(data).hexdigest()
            if self._is_done(item.before, before):
                return Done(item.name, "kept", details=dict(item.before or {}))
            result, name, told = self._make(data, item)
            target = (self.out / item.name).with_name(_plain(name))
            result = self._put(target, result, data, item)
        except InputError as error:
            state = _refusal(error)
            return Done(item.name, state, error.reason, {"state": state})
        except UsageError as error:
            return Done(item.name, "refused", str(error), {"state": "refused"})
        after = hashlib.sha256(result).hexdigest()
        written = str(target.relative_to(self.out))
        details = {"before": before, "after": after, "written": written, "key": self.key.id, **told}
        return Done(item.name, "done", _remark(name, told), details)

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
    """Seals, after a change that classifiers are to misread, if that is asked for."""

    recipients: tuple[PublicKey, ...]
    masks: Masks | None
    against: Against | None
    localise: bool
    carrier: Carrier

    def _make(self, data: bytes, item: Item) -> tuple[bytes, str, dict[str, Any]]:
        keep = self.masks.of(data, item.name) if self.masks else None
        if self.against is None:
            return *self._sealed(data, item, keep, None), {}
        cloak, before = self.against.cloak(item.name), read_image(data, item.path.name)
        change = cloak.change(before, None if keep is None else ~keep)
        sealed, name, misread = cloak.sealed(before, change, lambda: self._sealed(data, item, keep, change))
        names = [folder.name for folder in self.against.models_for(item.name)]
        told = {"method": self.against.method, "misread": dict(zip(names, misread, strict=True))}
        return sealed, name, told

    def _sealed(
        self, data: bytes, item: Item, keep: Bool[ndarray, "..."] | None, change: Change | None
    ) -> tuple[bytes, str]:
        return seal_file(
            data,
            item.path.name,
            self.key,
            recipients=self.recipients,
            keep=keep,
            change=change,
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

    def _make(self, data: bytes, item: Item) -> tuple[bytes, str, dict[str, Any]]:
        return *restore_file(data, item.name, self.key, accept_header=self.accept_header), {}

    def _made(self, there: bytes, data: bytes, result: bytes) -> bool:
        return there == result


def make_folder(folder: Path) -> None:
    """Make a folder for results.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}; choose another -o") from error


def _remark(name: str, told: dict[str, Any]) -> str:
    """Why a result is not all that was asked for, if so."""
    if name.startswith(PIXELS_OF):
        return "its envelope is gone, so only its pixels came back"
    if failed := [model for model, misread in told.get("misread", {}).items() if not misread]:
        return f"is still read as before by {', '.join(failed)}"
    return ""


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
