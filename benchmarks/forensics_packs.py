"""Forgery sets of others as packs of cases, and genuine images of real packs to be forged.

`forgery_casia1`: tampered pictures, their originals, masks of what was pasted. Originals and forgeries
that name one source picture are one patient, in the sense of a split. `forgery_fau_copymove`: masks
tell copies and sources alike, so the two scores of a copy-move are one there; its originals are twice
as large as the forgeries and are halved here, as the forgeries were by their makers; forgeries without
an original are left out, since their sizes would tell them.
All files are written anew by one writer.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

import intact
from intact.forge.cases import write_cases
from intact.image import Image
from intact.io import write
from intact.rows import Row

GENUINE = {  # folders of genuine images, to be forged here
    "brain_mri": "test/good",
    "chest_xray": "test/good",
    "lung_ct": "test/good",
}
FORGED = ("forgery_casia1", "forgery_fau_copymove")
SOURCE = re.compile(r"[a-z]{3}\d{4}")  # a picture of CASIA in the names of what was made of it


def write_pack(name: str, data: Path, out: Path, images: int = 0) -> Path:
    """Write a forgery set as a pack of cases.

    Args:
        name: One of `FORGED`.
        data: Folder of all packs.
        out: A folder that is made.
        images: How many forged pictures are taken at most, evenly; 0 takes all.
    """
    folder = data / name
    rows = _casia(folder, out, images) if name == FORGED[0] else _fau(folder, out, images)
    write_cases(out, rows)
    return out


def _casia(folder: Path, out: Path, images: int) -> list[Row]:
    rows = []
    for part, operator in (("copymove", "copy_move"), ("splice", "splice")):
        for path in evenly(sorted((folder / part / "tampered").iterdir()), -(-images // 2)):
            source = SOURCE.search(path.name)
            group = source[0] if source else path.stem
            pair = f"{part} {path.stem}"
            stem = f"{operator}-{path.stem}"
            genuine = _copy(intact.read(folder / part / "authentic" / path.name), out / "genuine" / stem)
            forged = _copy(intact.read(path), out / "forged" / stem)
            mask = _copy(intact.read(folder / part / "masks" / path.name), out / "masks" / stem)
            rows += _pair(out, genuine, forged, mask, operator, group, pair)
    return rows


def _fau(folder: Path, out: Path, images: int) -> list[Row]:
    rows: list[Row] = []
    for original in evenly(sorted((folder / "authentic").iterdir()), images):
        path = folder / "tampered" / original.name
        mask = _copy(intact.read(folder / "masks" / path.name), out / "masks" / path.stem)
        tampered, large = intact.read(path), intact.read(original)
        height, width = tampered.shape
        small = cv2.resize(large.pixels, (width, height), interpolation=cv2.INTER_AREA)
        forged = _copy(tampered, out / "forged" / path.stem)
        genuine = _copy(replace(large, pixels=small), out / "genuine" / path.stem)
        rows += _pair(out, genuine, forged, mask, "copy_move", path.stem, path.stem)
    return rows


def _pair(
    out: Path, genuine: Path, forged: Path, mask: Path, operator: str, group: str, pair: str
) -> list[Row]:
    shared = {"group": group, "pair": pair}
    own = {"image": genuine.relative_to(out).as_posix(), "label": "genuine"}
    truth = {"mask": mask.relative_to(out).as_posix(), "label": "forged", "operator": operator}
    return [own | shared, {"image": forged.relative_to(out).as_posix()} | truth | shared]


def _copy(image: Image, place: Path) -> Path:
    """Pixels alone, written by one writer; `place` has no ending."""
    place.parent.mkdir(parents=True, exist_ok=True)
    return write(Image(np.asarray(image.pixels), photometric=image.photometric), place.with_suffix(".png"))


def evenly(paths: list[Path], count: int) -> list[Path]:
    """So many of them, evenly; all for 0."""
    if not 0 < count < len(paths):
        return paths
    return [paths[at] for at in np.unique(np.linspace(0, len(paths) - 1, count).round().astype(int))]
