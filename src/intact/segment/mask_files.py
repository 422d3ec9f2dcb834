"""Masks as files of the format that their image has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from nibabel.nifti1 import Nifti1Header

from intact.errors import UsageError
from intact.image import Image
from intact.io import Unit, write
from intact.report.dicom_seg import write_seg
from intact.segment.by import By
from intact.segment.morphology import Mask

Format = Literal["own", "nifti", "png"]


def write_masks(
    masks: Mapping[str, Mask], image: Image, unit: Unit, folder: Path, stem: str, form: Format, by: By
) -> tuple[dict[str, str], list[str]]:
    """Write the masks of an image.

    Args:
        masks: Of each label, on the image's grid.
        image: What they are of.
        unit: Where it was read from.
        folder: For the files.
        stem: What they are called.
        form: "own" is a DICOM segmentation for DICOM, .nii.gz for NIfTI and PNG for pictures.
        by: What made the masks.

    Returns:
        The name of each label's file, and doubts in words.
    """
    doubts: list[str] = []
    if form == "own" and unit.format == "dicom":
        try:
            path = write_seg(
                masks,
                unit,
                folder / f"{stem}.dcm",
                algorithm=by.name,
                family=by.family,
                guided=bool(by.seed),
            )
            return dict.fromkeys(masks, path.name), doubts
        except UsageError as refusal:
            doubts.append(f"no DICOM segmentation can be made, so the masks are other files: {refusal}")
    volume = len(image.shape) > 2
    suffix = ".nii.gz" if volume or form == "nifti" or unit.format == "nifti" else ".png"
    files = {}
    for label, mask in masks.items():
        files[label] = f"{stem}-{label}{suffix}" if len(masks) > 1 else f"{stem}{suffix}"
        write(_as_image(mask, image, suffix), folder / files[label])
    return files, doubts


def _as_image(mask: Mask, image: Image, suffix: str) -> Image:
    """A mask to be written on the image's grid; a picture of it is white where it is set."""
    pixels = mask.astype(np.uint8)
    if suffix == ".png":
        return Image(pixels * np.uint8(255), spacing=image.spacing)
    header = None
    if isinstance(image.header, Nifti1Header):  # its two affines and their codes are kept as they are
        header = image.header.copy()
        header["cal_min"] = header["cal_max"] = 0  # a window made for the image would hide the mask
    return Image(pixels, spacing=image.spacing, affine=image.affine, header=header)
