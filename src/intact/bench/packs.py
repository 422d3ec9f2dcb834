"""Packs: folders of normal images to learn from, and of normal and abnormal ones to be judged by.

PACK/train/good               normal images, the only ones that a method learns from
PACK/test/good                other normal images
PACK/test/KIND                images of one kind of finding; any number of kinds
PACK/ground_truth/KIND/NAME   masks of them, called like the image or NAME_mask; may be missing
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from intact import progress
from intact.bench.measures import ALL
from intact.errors import UsageError
from intact.evaluate import NORMAL
from intact.io.walk import files
from intact.store import file_digest

LAYOUT = "a pack holds train/good, test/good and at least one more folder test/KIND, with images in each"


@dataclass(frozen=True)
class Pack:
    """A folder of images that a benchmark is run on.

    Args:
        folder: Where it is.
        name: Of the folder.
        digest: SHA-256 over the names and contents of all its files, in hexadecimal.
    """

    folder: Path
    name: str
    digest: str


def open_packs(folders: list[Path]) -> list[Pack]:
    """Check the layout of some packs and take their digests.

    Raises:
        UsageError: A folder is missing or empty, or two packs have one name.
    """
    for folder in folders:
        _check(folder)
    names = [folder.resolve().name for folder in folders]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(
            f"two packs are called {min(twice)}: their rows could not be told apart, so rename one"
        )
    return [Pack(folder, name, _digest(folder)) for folder, name in zip(folders, names, strict=True)]


def _check(folder: Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder; {LAYOUT}")
    for part in ("train/good", f"test/{NORMAL}"):
        if not (folder / part).is_dir():
            raise UsageError(f"{folder} has no folder {part}; {LAYOUT}")
        if not _any_file(folder / part):
            raise UsageError(f"{folder}: its folder {part} is empty; {LAYOUT}")
    kinds = [path for path in (folder / "test").iterdir() if path.is_dir() and path.name != NORMAL]
    if ALL in (path.name for path in kinds):
        raise UsageError(f"{folder}: rename its folder test/{ALL}, as all kinds together are called so")
    if not any(map(_any_file, kinds)):
        raise UsageError(f"{folder} has no images in test/ other than those in test/{NORMAL}; {LAYOUT}")


def _any_file(folder: Path) -> bool:
    return next(files([folder], _none_skipped), None) is not None


def _none_skipped(path: Path) -> bool:
    return False


def _digest(folder: Path) -> str:
    parts = [folder / name for name in ("train/good", "test", "ground_truth")]
    found = [path for path, _ in files([part for part in parts if part.is_dir()], _none_skipped)]
    whole = hashlib.sha256()
    for path in progress.track(found, "looking at packs", len(found)):
        whole.update(f"{path.relative_to(folder).as_posix()}\0{file_digest(path)}\n".encode())
    return whole.hexdigest()
