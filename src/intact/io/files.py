"""`read` and `write`: any image file, by its content and by its extension."""

from __future__ import annotations

from pathlib import Path

from intact.errors import SeriesError, UnreadableError, UsageError
from intact.image import Image
from intact.io.dicom_write import write_dicom
from intact.io.discover import Unit, index, read_unit, unit_at
from intact.io.nifti import write_nifti
from intact.io.raster import write_raster


def read(path: str | Path) -> Image:
    """Read one image at full depth; the content decides the format, not the extension.

    Args:
        path: A DICOM, NIfTI, PNG, TIFF, JPEG, NPY, BMP, GIF or WebP file, or a folder that holds
            the DICOM files of one volume.

    Returns:
        The stored pixels and what they mean; `notes` says what had to be assumed.

    Raises:
        UnreadableError: Missing, damaged, truncated, empty, or too large.
        NotAnImageError: A sound file without an image.
        SeriesError: A folder that holds several images, or slices that do not fit together.
    """
    path = Path(path)
    if not path.exists():
        raise UnreadableError(str(path), "there is no such file or folder")
    if not path.is_dir():
        return read_unit(unit_at(path))
    units = [found for found in index([path]) if isinstance(found, Unit)]
    if len(units) != 1:
        names = ", ".join(unit.name for unit in units[:3]) + (", ..." if len(units) > 3 else "")
        raise SeriesError(
            str(path),
            f"holds {len(units)} images ({names or 'none'}), and reading a folder as one image "
            "needs exactly one; use index() and read_unit() to read them one by one",
        )
    return read_unit(units[0])


def write(image: Image, path: str | Path) -> Path:
    """Write one image without losing a value; the extension decides the format.

    The file appears whole or not at all. What a format cannot hold is refused.

    Args:
        image: To be written; a DICOM or NIfTI header it was read with is written back.
        path: .dcm, .nii, .nii.gz, .png, .tif, .tiff or .npy.

    Raises:
        UsageError: The format loses values (JPEG), is unknown, or cannot hold this image.
        OutputError: The file cannot be written.
    """
    name = Path(path).name.lower()
    if name.endswith(".dcm"):
        return write_dicom(image, path)
    if name.endswith((".nii", ".nii.gz")):
        return write_nifti(image, path)
    if name.endswith((".png", ".tif", ".tiff", ".npy")):
        return write_raster(image, path)
    if name.endswith((".jpg", ".jpeg")):
        raise UsageError(f"{path}: JPEG would change the values; write .png, .tif or .dcm instead")
    raise UsageError(
        f"{path}: the extension names no format that can be written; use .dcm, .nii, .nii.gz, "
        ".png, .tif or .npy"
    )
