"""Cases: images that are known to be genuine or forged, and where.

A pack of cases is a folder with `cases.csv` or `cases.json`, a row or an object per image:

    image       its file, or the folder of a series, from the pack on
    mask        where it is forged: 255, or the labels that `intact forge` writes; may be empty
    label       "genuine" or "forged"
    operator    how it was forged, in a word; "forged" if missing
    group       the patient; if missing, that of the header, else images that look alike
    processing  what was done to the whole image afterwards; "none" if missing
    pair        what a genuine image and those made from it have in common; may be missing

or without a list: images/, and masks/ or labels/ with files called alike, or NAME_mask. Then an image
with a mask is forged, its operator the folder in images/ that it is in, if any.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from intact import progress
from intact.data.splits import look_alikes
from intact.errors import UsageError
from intact.image import Image
from intact.io import Unit, index, read
from intact.io.atomic import put
from intact.io.discover import stem_of
from intact.io.walk import files
from intact.metrics.tampering import BORDER, FORGED
from intact.rows import Row, read_rows
from intact.store import file_digest

LISTS = ("cases.csv", "cases.json")
COLUMNS = ("image", "mask", "label", "operator", "group", "processing", "pair")
GENUINE = "genuine"
UNKNOWN = "forged"  # the operator where none is told
PLAIN = "none"  # no processing
SIDE = 32  # of a thumbnail
LAYOUT = "a pack holds cases.csv or cases.json, or images/ and masks/; or name a --kind to forge the images"


@dataclass(frozen=True)
class Case:
    """One image, and the truth about it.

    Args:
        name: Unique in a pack: the path from the pack on.
        image: Its file, or the folder of its series.
        mask: Where it is forged; None where that is not known, and for a genuine image.
        operator: How it was forged; empty for a genuine image.
        group: Its patient.
        processing: What was done to all of it afterwards.
        pair: The genuine image that it is, or was made from; empty if not known.
    """

    name: str
    image: Path
    mask: Path | None
    operator: str
    group: str
    processing: str = PLAIN
    pair: str = ""

    @property
    def forged(self) -> bool:
        """Whether anything in it is."""
        return bool(self.operator)

    def labels(self, shape: tuple[int, ...]) -> UInt8[ndarray, "..."]:
        """0 genuine, 1 forged, 2 copied, 3 don't care; all 0 where there is no mask.

        Raises:
            InputError: The mask cannot be read.
            UsageError: It has another shape than the image.
        """
        if self.mask is None:
            return np.zeros(shape, np.uint8)
        found = read(self.mask)
        values = found.pixels.max(axis=-1) if found.colour else found.pixels
        if values.size != int(np.prod(shape)):
            raise UsageError(f"{self.mask} has shape {values.shape} and its image {shape}; they must agree")
        values = values.reshape(shape)
        if values.max(initial=0) > BORDER:
            return np.where(values > values.max() / 2, np.uint8(FORGED), np.uint8(0))
        return values.astype(np.uint8)


def read_cases(folder: Path) -> list[Case]:
    """The cases of a pack, in the order of their names; each has a patient.

    Raises:
        UsageError: There is no such pack, a file of it is missing, or one class is.
        InputError: An image that has no patient in the list cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder; {LAYOUT}")
    listed = next((folder / name for name in LISTS if (folder / name).exists()), None)
    rows = _looked_up(folder) if listed is None else _listed(listed)
    cases = sorted((_case(folder, row) for row in rows), key=lambda case: case.name)
    names = [case.name for case in cases]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"{folder}: {min(twice)} is listed twice; list each image once")
    if not 0 < sum(case.forged for case in cases) < len(cases):
        raise UsageError(
            f"{folder}: {sum(case.forged for case in cases)} of {len(cases)} images are forged; a benchmark "
            "needs forged and genuine ones"
        )
    return _with_patients(cases)


def write_cases(folder: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """Write `cases.csv`, rows of the columns above.

    Raises:
        OutputError: It cannot be written.
    """
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return put(folder / LISTS[0], table.getvalue().encode("utf-8", "surrogateescape"))


def digest(folder: Path) -> str:
    """SHA-256 over the names and contents of all files of a pack, in hexadecimal."""
    found = [path for path, _ in files([folder], lambda path: False)]
    whole = hashlib.sha256()
    for path in progress.track(found, "looking at the pack", len(found)):
        whole.update(f"{path.relative_to(folder).as_posix()}\0{file_digest(path)}\n".encode())
    return whole.hexdigest()


def patients_of(images: Sequence[tuple[str, Float[ndarray, "32 32"]]]) -> list[str]:
    """The patient of each image: the one that is known, else those that look alike share one.

    Args:
        images: Of each image the patient or an empty text, and a thumbnail.
    """
    alike = look_alikes(np.stack([small for _, small in images]))
    return [patient or like for (patient, _), like in zip(images, alike, strict=True)]


def about(image: Image) -> tuple[str, Float[ndarray, "32 32"]]:
    """What `patients_of` needs to know of an image."""
    grey = middle_plane(image.pixels, image).astype(np.float32)
    small = cv2.resize(np.nan_to_num(grey), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return image.identity.patient or image.identity.study, small


def middle_plane(values: ndarray, image: Image) -> Float[ndarray, "h w"]:
    """The middle plane of an image's pixels or labels, colours averaged.

    Args:
        values: Of the image's shape, with or without its colour axis.
        image: Whose they are.
    """
    shape = image.shape
    grey = values.mean(axis=-1) if values.ndim > len(shape) else values
    return grey.reshape(-1, *shape[-2:])[image.planes // 2]


def _listed(path: Path) -> list[Row]:
    if path.suffix == ".csv":
        return [dict(row) for row in read_rows(path)]
    try:
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise ValueError("it is no list of objects")
    except ValueError as error:
        raise UsageError(f"{path} is damaged: {error}") from error
    return found


def _looked_up(folder: Path) -> list[Row]:
    """Rows of a pack without a list."""
    images = folder / "images"
    masks = next((folder / name for name in ("masks", "labels") if (folder / name).is_dir()), None)
    if not images.is_dir() or masks is None:
        raise UsageError(f"{folder} holds no cases; {LAYOUT}")
    by_stem = {
        (path.parent.relative_to(masks).as_posix(), stem_of(path).removesuffix("_mask")): path
        for path in sorted(masks.rglob("*"))
        if path.is_file()
    }
    rows = []
    for unit in (found for found in index([images]) if isinstance(found, Unit)):
        first = unit.sources[0].path
        file = first.parent if len(unit.sources) > 1 and unit.format == "dicom" else first
        inside = file.parent.relative_to(images).as_posix()
        mask = by_stem.get((inside, unit.stem)) or by_stem.get((".", unit.stem))
        operator = inside.partition("/")[0] if inside != "." else UNKNOWN
        rows.append(
            {
                "image": file.relative_to(folder).as_posix(),
                "mask": "" if mask is None else mask.relative_to(folder).as_posix(),
                "label": GENUINE if mask is None or not read(mask).pixels.any() else "forged",
                "operator": operator,
            }
        )
    return rows


def _case(folder: Path, row: Mapping[str, str]) -> Case:
    known = {name: str(row.get(name) or "").strip() for name in COLUMNS}
    if known["label"] not in (GENUINE, "forged") or not known["image"]:
        raise UsageError(
            f"{folder}: its list names the image {known['image']!r} with the label {known['label']!r}; each "
            f'has an image, and "{GENUINE}" or "forged" as its label'
        )
    forged = known["label"] != GENUINE
    paths = [folder / known["image"]] + ([folder / known["mask"]] if forged and known["mask"] else [])
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: there is no such file, though {folder.name} lists it")
    return Case(
        known["image"],
        paths[0],
        paths[1] if len(paths) > 1 else None,
        (known["operator"] or UNKNOWN) if forged else "",
        known["group"],
        known["processing"] or PLAIN,
        known["pair"],
    )


def _with_patients(cases: list[Case]) -> list[Case]:
    if all(case.group for case in cases):
        return cases
    seen = [about(read(case.image)) for case in progress.track(cases, "reading", len(cases))]
    found = patients_of(seen)
    return [replace(case, group=case.group or one) for case, one in zip(cases, found, strict=True)]
