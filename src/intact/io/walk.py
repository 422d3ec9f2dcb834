"""Every file below some paths and inside zip archives, each once and in one order."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from intact.errors import NotAnImageError, UnreadableError, UsageError
from intact.io.source import Source, archive_at

Skip = Callable[[Path], bool]
Found = tuple[Path, tuple[str, ...]]  # a file and its trail: the names that lead to it from a root

_IGNORED = ("Thumbs.db", "DICOMDIR", "__MACOSX")


def roots(paths: Iterable[Path]) -> list[Path]:
    """The paths, without those that are inside another."""
    kept: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise UsageError(f"{path}: there is no such file or folder; check the spelling")
        kept.setdefault(path.resolve(), path)
    return [path for real, path in kept.items() if not any(up in kept for up in real.parents)]


def files(roots: Sequence[Path], skip: Skip) -> Iterator[Found]:
    """Every file, with its trail: the names that lead to it from its root."""
    visited: set[Path] = set()

    def below(folder: Path, trail: tuple[str, ...]) -> Iterator[Found]:
        if (real := folder.resolve()) in visited:  # links may lead in circles
            return
        visited.add(real)
        try:
            names = sorted(os.listdir(folder))  # noqa: PTH208 - iterdir makes paths to be sorted
        except OSError:
            yield folder, trail  # opening it will say why
            return
        for name in names:
            path = folder / name
            if _hidden(name) or skip(path):
                continue
            if path.is_dir():
                yield from below(path, (*trail, name))
            else:
                yield path, (*trail, name)

    for root in roots:
        if root.is_dir():
            yield from below(root, ())
        else:
            yield root, ()


def members(source: Source) -> list[str]:
    """Names of the files in an archive."""
    try:
        entries = archive_at(source.path).infolist()
    except (OSError, zipfile.BadZipFile) as error:
        raise UnreadableError(source.name, f"is a damaged zip archive: {error}") from error
    names = sorted({entry.filename for entry in entries if not entry.is_dir()})
    if "[Content_Types].xml" in names:
        raise NotAnImageError(source.name, "is an Office document")
    return [name for name in names if not any(map(_hidden, PurePosixPath(name).parts))]


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in _IGNORED
