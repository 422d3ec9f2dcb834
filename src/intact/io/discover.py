"""Finding images: every file of folders and archives ends up in one unit or one rejection."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from pydicom import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag

from intact.errors import InputError, NotAnImageError, UnreadableError
from intact.image import Image
from intact.io.dicom import read_dicom, without_pixels
from intact.io.formats import HEAD, describe, sniff
from intact.io.nifti import read_nifti
from intact.io.raster import read_raster
from intact.io.series import Slice, join_planes, read_planes, volumes
from intact.io.source import EMPTY, Source
from intact.io.walk import Skip, files, members, roots

_SERIES, _NUMBER, _FRAMES = (0x0020, 0x000E), (0x0020, 0x0013), (0x0028, 0x0008)
_POSITION, _ORIENTATION = (0x0020, 0x0032), (0x0020, 0x0037)
# Temporal Position Identifier, Echo Numbers, Diffusion b-value, Acquisition Number
_MOMENTS = ((0x0020, 0x0100), (0x0018, 0x0086), (0x0018, 0x9087), (0x0020, 0x0012))
_CLASS, _MODALITY, _ROWS = (0x0008, 0x0016), (0x0008, 0x0060), (0x0028, 0x0010)
_TAGS = [
    Tag(tag)
    for tag in (
        _CLASS,
        _MODALITY,
        *_MOMENTS,
        _SERIES,
        _NUMBER,
        _POSITION,
        _ORIENTATION,
        _FRAMES,
        _ROWS,
    )
]
_PIXEL_GROUP = 0x7FE0


@dataclass(frozen=True)
class Unit:
    """One image to be read: one file, or the files of a series that make one volume.

    Args:
        name: Unique in an index: the file's name, or "first file (n slices)".
        format: "dicom", "nifti", "png", "jpeg", "tiff", "npy", "gif", "bmp" or "webp".
        sources: Where its bytes are, in order; header then voxels for a NIfTI pair.
        folder: First folder below the path it was found under ("good", "glioma"), or "".
    """

    name: str
    format: str
    sources: tuple[Source, ...]
    folder: str = ""

    @property
    def stem(self) -> str:
        """The file's name without its ending; the folder's, for a volume of many files."""
        first = Path(self.sources[0].name)
        volume = len(self.sources) > 1 and self.format == "dicom"
        return first.parent.name if volume else stem_of(first)


def stem_of(path: Path) -> str:
    """A file's name without its ending, and without two where it is .nii.gz."""
    return path.name.removesuffix(".gz").rsplit(".", 1)[0]


@dataclass(frozen=True)
class Rejected:
    """A file that is no image, or none that can be read, and why."""

    name: str
    reason: str
    folder: str = ""


def index(paths: Sequence[Path], *, skip: Skip | None = None) -> list[Unit | Rejected]:
    """Find the images under `paths`, reading headers only.

    Hidden files, Thumbs.db and DICOMDIR are passed over, and so is what `skip` holds for.

    Args:
        paths: Files, folders and zip archives; one inside another counts once.
        skip: Called with each file and folder below `paths`.

    Returns:
        Units and rejections sorted by name, the same on every machine.

    Raises:
        UsageError: A path does not exist.
    """
    rest: list[Unit | Rejected] = []
    slices: list[Slice] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's; reading the image tells what matters
        for path, trail in files(roots(paths), skip or (lambda path: False)):
            for found in _look(Source(path), trail):
                slices.append(found) if isinstance(found, Slice) else rest.append(found)
    rest = _join_pairs(rest) + [_unit(volume) for volume in volumes(slices)]
    return sorted(rest, key=lambda found: found.name)


def unit_at(path: Path) -> Unit:
    """The image in one file.

    Raises:
        InputError: It holds none, or none that can be read.
    """
    source = Source(path)
    if path.suffix.lower() == ".img" and path.with_suffix(".hdr").exists():
        source = Source(path.with_suffix(".hdr"))
    kind, _ = _identify(source)
    if kind == "zip":
        raise NotAnImageError(source.name, "is an archive, which can hold many images; index it")
    if kind == "nifti-pair":
        return Unit(source.name, "nifti", (source, _partner(source)))
    return Unit(source.name, kind, (source,))


def read_unit(unit: Unit) -> Image:
    """Read the image that `index` found.

    Raises:
        InputError: It turns out to be damaged, truncated or inconsistent.
    """
    if unit.format == "dicom" and len(unit.sources) > 1:
        return join_planes(read_planes(unit.sources), unit.name)
    first, *others = unit.sources
    data = first.read()
    if unit.format == "dicom":
        return read_dicom(data, name=first.name)
    if unit.format == "nifti":
        return read_nifti(data, first.name, *(other.read() for other in others))
    return read_raster(data, first.name)


def stems(entries: Sequence[Unit | Rejected]) -> dict[str, str]:
    """What files made of each image are called: like it, with a number where two are called alike.

    Returns:
        By the unit's name.
    """
    seen: Counter[str] = Counter()
    called = {}
    for unit in (entry for entry in entries if isinstance(entry, Unit)):
        seen[unit.stem] += 1
        called[unit.name] = unit.stem if seen[unit.stem] == 1 else f"{unit.stem}-{seen[unit.stem]}"
    return called


def read_some(units: Sequence[Unit], count: int, seed: int) -> list[Image]:
    """A few images drawn at random, to see of what kind they are; bad files are passed over."""
    images: list[Image] = []
    for at in np.random.default_rng(seed).permutation(len(units)):
        if len(images) == count:
            break
        with suppress(InputError):  # told by whoever reads them all
            images.append(read_unit(units[at]))
    return images


def _look(source: Source, trail: tuple[str, ...]) -> Iterator[Unit | Rejected | Slice]:
    folder = trail[0] if len(trail) > 1 else ""
    try:
        kind, header = _identify(source)
        if kind == "zip" and source.member:
            raise NotAnImageError(source.name, "is an archive inside an archive; unpack it first")
        inside = members(source) if kind == "zip" else []
    except InputError as error:
        yield Rejected(source.name, error.reason, folder)
        return
    if header is not None:
        yield _slice(header, source, folder)
    elif kind == "zip":
        for member in inside:
            yield from _look(replace(source, member=member), (*trail, *PurePosixPath(member).parts))
    else:
        yield Unit(source.name, kind, (source,), folder)


def _identify(source: Source) -> tuple[str, Dataset | None]:
    """The format of a file, and the header if it is DICOM with pixels."""
    if not source.member and not source.path.is_file():
        raise UnreadableError(source.name, "is no regular file, or a link to nothing")
    with source.open() as stream:
        head = stream.read(HEAD)
        kind = sniff(head)
        if kind == "dicom":
            stream.seek(0)
            return kind, _header(stream, source.name)
    if not head:
        raise UnreadableError(source.name, EMPTY)
    if not kind:
        raise NotAnImageError(source.name, f"is {describe(head)}; it cannot be read as an image")
    return kind, None


def _header(stream: IO[bytes], name: str) -> Dataset:
    has_pixels = False

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal has_pixels
        has_pixels = has_pixels or tag >> 16 == _PIXEL_GROUP
        return tag >> 16 >= _PIXEL_GROUP

    try:
        dataset = read_partial(stream, at_pixels, force=True, specific_tags=_TAGS)  # type: ignore[arg-type]
    except Exception as error:  # damaged headers make pydicom raise almost anything
        raise UnreadableError(name, f"its DICOM header is damaged: {error}") from error
    if not has_pixels:
        raise without_pixels(dataset, name)
    return dataset


def _slice(header: Dataset, source: Source, folder: str) -> Slice:
    # Raw bytes: turning each into a pydicom element would halve the speed of an index.
    single = (_floats(header, _FRAMES) or (1.0,))[0] <= 1
    return Slice(
        source,
        folder,
        series=_raw(header, _SERIES).decode("ascii", "replace") if single else "",
        orientation=_floats(header, _ORIENTATION),
        position=_floats(header, _POSITION),
        number=int((_floats(header, _NUMBER) or (0.0,))[0]),
        moments=tuple(_raw(header, tag) for tag in _MOMENTS),
    )


def _raw(header: Dataset, tag: tuple[int, int]) -> bytes:
    element = header.get_item(Tag(tag))
    value = b"" if element is None else element.value
    return value.strip(b" \0") if isinstance(value, bytes) else str(value or "").encode()


def _floats(header: Dataset, tag: tuple[int, int]) -> tuple[float, ...]:
    """Values of a decimal or integer string; empty when missing or damaged."""
    try:
        values = tuple(float(part) for part in _raw(header, tag).split(b"\\"))
    except ValueError:
        return ()
    return values if all(math.isfinite(value) for value in values) else ()


def _unit(volume: Sequence[Slice]) -> Unit:
    first = volume[0]
    name = first.source.name if len(volume) == 1 else f"{first.source.name} ({len(volume)} slices)"
    return Unit(name, "dicom", tuple(one.source for one in volume), first.folder)


def _partner(header: Source) -> Source:
    """The .img file of a NIfTI .hdr file."""
    if header.member:
        return replace(header, member=str(PurePosixPath(header.member).with_suffix(".img")))
    return replace(header, path=header.path.with_suffix(".img"))


def _join_pairs(found: list[Unit | Rejected]) -> list[Unit | Rejected]:
    """Give each NIfTI header its voxels, which have no mark of their own and were rejected."""
    waiting = {one.name for one in found if isinstance(one, Rejected)}
    taken: set[str] = set()
    joined: list[Unit | Rejected] = []
    for one in found:
        if isinstance(one, Rejected) or one.format != "nifti-pair":
            joined.append(one)
            continue
        partner = _partner(one.sources[0])
        if partner.name in waiting:
            taken.add(partner.name)
            joined.append(Unit(one.name, "nifti", (*one.sources, partner), one.folder))
        else:
            reason = f"is a NIfTI header, but its voxels {partner.name} are missing"
            joined.append(Rejected(one.name, reason, one.folder))
    return [one for one in joined if isinstance(one, Unit) or one.name not in taken]
