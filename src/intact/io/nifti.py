"""NIfTI-1 and NIfTI-2 volumes as they are stored, and back.

Axes: NIfTI counts (i, j, k, t), i fastest; `Image.pixels` is that array transposed, [T,D,H,W] or
[D,H,W] or [H,W]. Nothing is flipped: column i, row j, plane k keep their indices. Space: NIfTI's
world is RAS (+x to the right), `Image.affine` is LPS, so its first two rows change sign.
"""

from __future__ import annotations

import gzip
import io
import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from intact.errors import InputError, NotAnImageError, UnreadableError, UsageError
from intact.image import MADE, Identity, Image, Photometric, Scale, Window, made_of
from intact.io.atomic import put
from intact.io.limits import check_size

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS to LPS, and back
_MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}
_RGB24 = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def read_nifti(data: bytes, name: str, voxels: bytes | None = None) -> Image:
    """Read a NIfTI file.

    Args:
        data: The .nii or .nii.gz file, or the .hdr file of a pair.
        name: How errors and the image's identity call it.
        voxels: The .img file of a pair.

    Returns:
        Stored values in native byte order, not scaled; `header` is the nibabel header.

    Raises:
        UnreadableError: Damaged, truncated or too large.
        NotAnImageError: Voxels that are not numbers of an image (complex, vectors).
    """
    try:
        return _read(data, name, voxels)
    except InputError:
        raise
    except Exception as error:  # nibabel raises anything on damaged headers
        raise UnreadableError(name, f"is a damaged NIfTI file: {error}") from error


def write_nifti(image: Image, path: str | Path) -> Path:
    """Write a .nii or .nii.gz file with the same voxels, affine, type and scaling.

    Raises:
        UsageError: NIfTI has no place for these values or for what they mean.
        OutputError: The file cannot be written.
    """
    data = encode_nifti(image)
    return put(path, pack_nifti(data) if str(path).endswith(".gz") else data)


def pack_nifti(data: bytes) -> bytes:
    """The .nii.gz file of a .nii file; without a time stamp, so that equal images give equal files."""
    return gzip.compress(data, 6, mtime=0)


def encode_nifti(image: Image) -> bytes:
    """The bytes of a .nii file.

    Raises:
        UsageError: NIfTI has no place for these values or for what they mean.
    """
    header = _header_for(image)
    stream = io.BytesIO()
    header.write_to(stream)
    stream.write(b"\0" * (int(header["vox_offset"]) - stream.tell()))
    dtype = np.dtype(np.uint8) if image.colour else header.get_data_dtype()
    stream.write(image.pixels.astype(dtype, copy=False).tobytes())
    return stream.getvalue()


def _read(data: bytes, name: str, voxels: bytes | None) -> Image:
    with _unzipped(data) as stream:
        kind = nib.Nifti1Header if _size_of_header(stream) == 348 else nib.Nifti2Header
        header = kind.from_fileobj(stream, check=False)
        notes: list[str] = []
        dtype, shape = header.get_data_dtype(), header.get_data_shape()
        size = math.prod(shape) * dtype.itemsize
        check_size(name, size, f"a NIfTI header of shape {shape} {dtype}")
        if size <= 0:
            raise UnreadableError(name, f"has no voxels: its header declares shape {shape}")
        body, offset = _body(stream, header, voxels)
        with body:
            body.seek(offset)
            stored = body.read(size)
    if len(stored) < size:
        raise UnreadableError(
            name,
            f"is truncated: {size:,} bytes of voxels expected for shape {shape} {dtype}, "
            f"{len(stored):,} found",
        )
    pixels = _pixels(np.frombuffer(stored, dtype), shape, name, notes)
    spatial = pixels.ndim - 1 if dtype.names else pixels.ndim
    spacing, affine = _space(header, spatial, notes)
    photometric: Photometric = "RGB" if dtype.names else "MONOCHROME2"
    return Image(
        pixels,
        photometric=photometric,
        spacing=spacing,
        affine=affine,
        scale=_scale(header),
        windows=_window(header),
        identity=Identity(path=name),
        header=header,
        made=made_of(bytes(header["descrip"]).decode("latin-1").strip("\0")),
        notes=tuple(notes),
    )


def _unzipped(data: bytes) -> Any:
    stream = io.BytesIO(data)
    return gzip.GzipFile(fileobj=stream) if data.startswith(b"\x1f\x8b") else stream


def _size_of_header(stream: Any) -> int:
    """348 for NIfTI-1, 540 for NIfTI-2, in either byte order."""
    size = stream.read(4)
    stream.seek(0)
    return 348 if 348 in (int.from_bytes(size, "little"), int.from_bytes(size, "big")) else 540


def _body(stream: Any, header: Any, voxels: bytes | None) -> tuple[Any, int]:
    """Where the voxels are: a stream, and the offset in it."""
    if voxels is None:
        return stream, max(int(header["vox_offset"]), int(header.single_vox_offset))
    return _unzipped(voxels), int(header["vox_offset"])


def _pixels(stored: NDArray[Any], shape: tuple[int, ...], name: str, notes: list[str]) -> NDArray[Any]:
    dtype = stored.dtype
    samples: tuple[int, ...] = ()
    if dtype.names:
        samples = (len(dtype.names),)
        stored = stored.view(np.uint8)
    elif dtype.kind not in "uif":
        raise NotAnImageError(
            name, f"holds {dtype} voxels; an image needs real numbers, so save the magnitude"
        )
    axes = list(shape)
    while len(axes) > 2 and axes[-1] == 1:
        axes.pop()
    axes = axes[:3] + [n for n in axes[3:] if n > 1]
    if len(axes) > 4 or len(axes) < 2:
        raise NotAnImageError(
            name, f"has shape {shape}; images have two to four axes (time at most), so split it"
        )
    pixels = stored.reshape(*axes[::-1], *samples)
    if samples == (4,):
        notes.append("the alpha channel was dropped")
        pixels = pixels[..., :3]
    return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))


def _space(
    header: Any, axes: int, notes: list[str]
) -> tuple[tuple[float, ...] | None, NDArray[np.float64] | None]:
    unit = header.get_xyzt_units()[0]
    if unit not in _MILLIMETRES:
        notes.append("the header names no unit of length (xyzt_units); millimetres were assumed")
    factor = _MILLIMETRES.get(unit, 1.0)
    affine = _LPS @ header.get_best_affine().astype(np.float64)
    affine[:3] *= factor
    zooms = [factor * abs(float(z)) for z in header.get_zooms()[: min(axes, 3)]]
    if not all(math.isfinite(z) and z > 0 for z in zooms):
        notes.append(f"voxel sizes (pixdim) are {zooms}; the spacing in mm is unknown")
        return None, None
    return tuple(zooms[::-1]), affine if np.isfinite(affine).all() else None


def _scale(header: Any) -> Scale:
    slope, intercept = header.get_slope_inter()
    return Scale(slope=1.0 if slope is None else float(slope), intercept=float(intercept or 0.0))


def _window(header: Any) -> tuple[Window, ...]:
    low, high = float(header["cal_min"]), float(header["cal_max"])
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        return ()
    return (Window((low + high) / 2, high - low, "LINEAR_EXACT"),)


def _header_for(image: Image) -> Any:
    _check(image)
    axes = image.shape[::-1]
    kept = image.header if isinstance(image.header, nib.Nifti1Header) else None
    if kept is None:
        header = nib.Nifti1Header() if max(axes) <= 32767 else nib.Nifti2Header()
        header.set_data_shape(axes)
        header.set_xyzt_units("mm", "sec" if len(axes) == 4 else 0)
        _set_space(header, image)
    else:
        header = kept.copy()
        header["magic"] = header.single_magic
        if tuple(n for n in header.get_data_shape() if n > 1) != tuple(n for n in axes if n > 1):
            header.set_data_shape(axes)
        known = _space(kept, 3, [])[1]
        if image.affine is not None and (known is None or (known != image.affine).any()):
            header.set_xyzt_units("mm", header.get_xyzt_units()[1])
            _set_space(header, image)
    if image.made:
        header["descrip"] = f"{MADE}{image.made}".encode("latin-1", "replace")[:79]
    if image.colour:
        header.set_data_dtype(_RGB24)
    else:
        header.set_data_dtype(image.pixels.dtype.newbyteorder(header.endianness))
    if kept is None or _scale(kept) != image.scale:
        header.set_slope_inter(float(image.scale.slope), float(image.scale.intercept))
    extensions = sum(extension.get_sizeondisk() for extension in header.extensions)
    header["vox_offset"] = max(int(header.single_vox_offset) + extensions, 0)
    return header


def _set_space(header: Any, image: Image) -> None:
    if image.spacing:
        zooms = list(image.spacing[::-1])
        header.set_zooms(zooms + [1.0] * (len(header.get_data_shape()) - len(zooms)))
    if image.affine is not None:
        affine = _LPS @ image.affine
        header.set_sform(affine, code="scanner")
        header.set_qform(affine, code="scanner", strip_shears=True)


def _check(image: Image) -> None:
    dtype, scale = image.pixels.dtype, image.scale
    if image.photometric not in ("RGB", "MONOCHROME2") or scale.table is not None:
        raise UsageError(
            f"NIfTI holds grey or RGB voxels and a linear scale, not {image.photometric} or a "
            "look-up table; write .dcm, or the values of physical()"
        )
    if isinstance(scale.slope, np.ndarray) or isinstance(scale.intercept, np.ndarray):
        raise UsageError(
            "NIfTI has one slope for all planes, this image has one for each; write the values of "
            "physical() as float32 instead"
        )
    if image.colour and dtype != np.uint8:
        raise UsageError(f"NIfTI holds colour as 8-bit RGB, this image has {dtype}; write .tif")
    if dtype.kind not in "uif" or dtype == np.float16:
        raise UsageError(f"NIfTI has no {dtype} voxels; write .npy or .tif")
