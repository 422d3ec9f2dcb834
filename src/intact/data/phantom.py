"""Phantoms: heads and chests that were never alive, with lesions whose outline is known exactly.

They drive the demo and the tests, which need images that look and behave like an archive's but
belong to nobody. A detector that does well on them has proved that it runs, not that it works on
patients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Raster
from pydicom import dcmread
from pydicom.uid import generate_uid

from intact import progress
from intact.data.phantom_brain import brain_mr
from intact.data.phantom_thorax import thorax_ct
from intact.data.phantom_xray import chest_xray
from intact.errors import OutputError, UsageError
from intact.image import Identity, Image
from intact.io.dicom_write import write_dicom, write_series
from intact.io.nifti import write_nifti

__all__ = ["PHANTOMS", "brain_mr", "chest_xray", "thorax_ct", "write_archive"]

PHANTOMS: dict[str, Callable[..., tuple[Image, NDArray[np.bool_]]]] = {
    "brain_mr": brain_mr,
    "thorax_ct": thorax_ct,
    "chest_xray": chest_xray,
}


def write_archive(
    folder: Path,
    kind: str,
    *,
    train: int,
    test_normal: int,
    test_lesion: int,
    seed: int,
    options: dict[str, Any] | None = None,
    format: Literal["dicom", "nifti"] = "dicom",  # noqa: A002 - the word users know
) -> None:
    """Write an archive of phantoms in the layout of MVTec AD; the same seed, the same bytes.

    `train/good`, `test/good` and `test/lesion` hold the images, `ground_truth/lesion` the masks
    of the last (8-bit PNG, or .nii.gz for volumes) under the same names. Every image is a patient
    of its own, numbered through all folders: PHANTOM-0001 and on. A DICOM volume is a folder.

    Args:
        folder: Made if needed; must be empty.
        kind: A key of `PHANTOMS`.
        train: How many healthy images to learn from.
        test_normal: How many healthy images to test on.
        test_lesion: How many images with a lesion to test on.
        seed: Decides every image.
        options: What the phantom takes besides a seed and a lesion: `shape`, `sequence`.
        format: "nifti" stores MONOCHROME1 as MONOCHROME2, since it knows nothing else.

    Raises:
        UsageError: There is no such kind or format, or the folder holds files already.
        OutputError: A file cannot be written.
    """
    if kind not in PHANTOMS:
        raise UsageError(f"kind={kind!r} is no phantom; choose one of {', '.join(PHANTOMS)}")
    if format not in ("dicom", "nifti"):
        raise UsageError(f'format={format!r} is not one of "dicom" and "nifti"')
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(
            f"{folder} holds files already, which would mix with the archive; name an empty folder"
        )
    places = list(_places(train, test_normal, test_lesion))
    for number, place in enumerate(progress.track(places, "making phantoms", len(places)), start=1):
        own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        image, mask = PHANTOMS[kind](own, lesion=place == "test/lesion", **(options or {}))
        name = f"PHANTOM-{number:04d}"
        image = replace(image, identity=_identity(kind, seed, name))
        _write_image(image, _made(folder / place), name, format)
        if place == "test/lesion":
            _write_mask(image, mask, _made(folder / "ground_truth" / "lesion"), name)


def _places(train: int, test_normal: int, test_lesion: int) -> Iterator[str]:
    yield from ["train/good"] * train
    yield from ["test/good"] * test_normal
    yield from ["test/lesion"] * test_lesion


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from error
    return folder


def _identity(kind: str, seed: int, name: str) -> Identity:
    def uid(level: str) -> str:
        return str(generate_uid(entropy_srcs=["phantom", kind, str(seed), name, level]))

    return Identity(study=uid("study"), series=uid("series"), instance=uid("instance"), patient=name)


def _write_image(image: Image, folder: Path, name: str, format: str) -> None:  # noqa: A002
    volume = len(image.shape) == 3
    if format == "nifti":
        write_nifti(_bright_is_dense(image), folder / f"{name}.nii.gz")
    elif volume:
        _settle(write_series(image, folder / name), image.identity)
    else:
        _settle([write_dicom(image, folder / f"{name}.dcm")], image.identity)


def _settle(paths: list[Path], identity: Identity) -> None:
    """Replace the UIDs that the writer drew at random, so that the seed decides every byte."""
    for number, path in enumerate(paths, start=1):
        dataset = dcmread(path)
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[identity.instance, str(number)])
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        if "FrameOfReferenceUID" in dataset:
            dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=[identity.study, "frame"])
        dataset.save_as(path, enforce_file_format=True)


def _bright_is_dense(image: Image) -> Image:
    if image.photometric != "MONOCHROME1":
        return image
    top = image.pixels.dtype.type(2**image.bits - 1)
    return replace(image, pixels=top - image.pixels, photometric="MONOCHROME2")


def _write_mask(image: Image, mask: NDArray[np.bool_], folder: Path, name: str) -> None:
    if mask.ndim == 3:
        volume = Image(mask.astype(np.uint8), spacing=image.spacing, affine=image.affine)
        write_nifti(volume, folder / f"{name}.nii.gz")
        return
    path = folder / f"{name}.png"
    try:
        Raster.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
