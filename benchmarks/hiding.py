"""How much reversible data hiding costs, scheme by scheme -> rows.

    OMP_NUM_THREADS=1 python benchmarks/hiding.py --natural FOLDER
    OMP_NUM_THREADS=1 INTACT_DATA=... python benchmarks/hiding.py [--packs brain_mri] [--schemes sorted_pee]

With --natural: 10,000 and 20,000 random bits, and as many as authors report on, in the 8-bit grey
test images of the literature, which are not free to pass on and so are not here (512x512; the
file's name without its ending is the image's name). `passes` is 0 where eight do not hold them.
`reported` is what the authors measured; it counts no side information, while here everything that
the decoder needs is inside the image.

Otherwise: random bits at several loads in 20 images of each pack of real images, drawn with seed 0.
A load counts bits for each pixel that may be changed. `psnr` is the median over all images, where
one that cannot hold the load counts as worst; it is empty when that is half of them. `held` says
how many can. Peak is the largest value that the image's bits can store.

Every marked image is read back and compared, bits and pixels. Rows go to
benchmarks/results/hiding.csv; rows of the same data, image, scheme and load are replaced.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import intact
from intact.errors import CapacityError, InputError
from intact.protect.hiding import METHODS
from results import environment, replace_rows

BITS = (10_000, 20_000)
LOADS = (0.02, 0.05, 0.1, 0.2, 0.4)  # bits per pixel
PASSES = 8
IMAGES = 20  # of each pack
GREY = ("brain_mri", "chest_xray", "lung_ct")
PACKS = (*GREY, "cxr_lung_masks", "dicom")

# What authors report for an image, as bits: dB.
PAIRWISE = {  # `ou_performance.mat` of github.com/czhangkol/Ou-Pairwise_PEE-2013, for the map of figure 3
    "Airplane": (63.66, 60.15),
    "Baboon": (55.22, 50.11),
    "Barbara": (59.43, 56.23),
    "Boat": (57.49, 53.32),
    "Elaine": (58.06, 52.91),
    "Lake": (58.62, 53.70),
    "Lena": (59.70, 56.22),
    "Peppers": (56.21, 52.83),
}
REPORTED: dict[str, dict[str, dict[int, float]]] = {
    "pairwise_pee": {image: dict(zip(BITS, found, strict=True)) for image, found in PAIRWISE.items()},
    # Sachnev et al. 2009 at 0.04 and 0.08 bits per pixel, as plotted by the authors of
    # github.com/czhangkol/Adaptive-2D-MHM-RDH.
    "sorted_pee": {
        "Airplane": {10_486: 61.24, 20_972: 58.55},
        "Lena": {10_486: 58.51, 20_972: 55.29},
    },
    # Tian 2003 and Ni et al. 2006, from their tables of results, in which no load is smaller.
    "difference_expansion": {"Lena": {39_566: 44.20, 63_676: 42.86, 84_066: 41.55}},
    "histogram_shifting": {
        "Airplane": {16_171: 48.3},
        "Baboon": {5_421: 48.2},
        "Boat": {7_301: 48.2},
        "Lena": {5_460: 48.2},
    },
}


@dataclass(frozen=True, eq=False)
class Plane:
    """An image to hide in, where it may be changed, and the bits that its values can use."""

    pixels: np.ndarray
    mask: np.ndarray | None
    depth: int

    @property
    def usable(self) -> int:
        """Pixels that may be changed."""
        return self.pixels.size if self.mask is None else int(np.count_nonzero(self.mask))


def hide(scheme: str, plane: Plane, count: int) -> dict[str, float] | None:
    """Hide `count` bits in as few passes as possible, and take them out; None when they do not fit."""
    bits = np.random.default_rng(0).integers(0, 2, count, np.uint8)
    for passes in range(1, PASSES + 1):
        method = METHODS[scheme](passes=passes)
        started = time.perf_counter()
        try:
            marked = method.embed(plane.pixels, bits, plane.mask, depth=plane.depth)
        except CapacityError:
            continue
        embedded = time.perf_counter()
        pixels, found = method.extract(marked, plane.mask)
        extracted = time.perf_counter()
        if not (np.array_equal(pixels, plane.pixels) and np.array_equal(found, bits)):
            raise AssertionError(f"{scheme} did not give back {count} bits or the pixels")
        return {
            "psnr": psnr(plane.pixels, marked, plane.depth),
            "passes": passes,
            "embed_ms": 1e3 * (embedded - started),
            "extract_ms": 1e3 * (extracted - embedded),
        }
    return None


def psnr(pixels: np.ndarray, marked: np.ndarray, depth: int) -> float:
    """Peak signal-to-noise ratio in dB over the whole image."""
    loss = np.mean(np.square(pixels.astype(np.float64) - marked))
    return float(10 * np.log10((2.0**depth - 1) ** 2 / loss))


def natural(folder: Path, schemes: list[str]) -> None:
    """Each image, scheme and number of bits by itself."""
    for path in sorted(folder.iterdir()):
        plane = Plane(intact.read(path).pixels, None, 8)
        for scheme in schemes:
            reported = REPORTED.get(scheme, {}).get(path.stem, {})
            for bits in sorted({*BITS, *reported}):
                row = hide(scheme, plane, bits) or {"passes": 0}
                row |= {"reported": reported.get(bits, "")}
                store({"data": "natural", "image": path.stem, "scheme": scheme, "load": bits}, row)


def pack(name: str, schemes: list[str]) -> None:
    """Medians over the images of a pack."""
    planes = drawn(name)
    for scheme in schemes:
        for load in LOADS:
            rows = [hide(scheme, plane, round(load * plane.usable)) for plane in planes]
            held = [row for row in rows if row]
            middle = {key: float(np.median([row[key] for row in held])) for key in (held[0] if held else ())}
            worst = [row["psnr"] if row else -np.inf for row in rows]
            middle["psnr"] = value if np.isfinite(value := float(np.median(worst))) else ""
            counts = {"images": len(planes), "held": len(held)}
            store({"data": name, "image": "", "scheme": scheme, "load": load}, counts | middle)


def drawn(name: str) -> list[Plane]:
    """`IMAGES` different images of a pack, by chance but always the same ones."""
    folder, rng = Path(os.environ["INTACT_DATA"]) / name, np.random.default_rng(0)
    below = {"cxr_lung_masks": "images", "dicom": "."}.get(name, "train/good")
    paths = sorted(path for path in (folder / below).rglob("*") if path.is_file())
    found: dict[bytes, Plane] = {}
    for index in rng.permutation(len(paths)):
        for plane in planes_in(paths[index], name):
            found.setdefault(plane.pixels.tobytes(), plane)
        if len(found) == IMAGES:
            break
    return list(found.values())


def planes_in(path: Path, name: str) -> Iterator[Plane]:
    """The image in a file, if it is one plane of integers; of DICOM, if these have 9 to 16 bits."""
    try:
        image = intact.read(path)
    except InputError:
        return
    pixels = image.pixels
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu" or pixels.size < 4096:
        return
    if name == "dicom" and not (8 < image.bits <= 16 and fits(pixels, image.bits)):
        return
    lungs = intact.read(path.parent.parent / "masks" / path.name).pixels if name == "cxr_lung_masks" else None
    yield Plane(pixels, None if lungs is None else lungs == 0, image.bits)


def fits(pixels: np.ndarray, bits: int) -> bool:
    """Whether the values stay within the bits that the header gives."""
    low = -(2 ** (bits - 1)) if pixels.dtype.kind == "i" else 0
    return low <= int(pixels.min()) and int(pixels.max()) < low + 2**bits


def store(keys: dict[str, Any], row: dict[str, Any]) -> None:
    """Put a row into the table, and print it."""
    here = {name: value for name, value in environment().items() if name != "torch"}
    replace_rows("hiding.csv", keys, [keys | row | here])
    print(
        *keys.values(),
        {name: round(v, 2) if isinstance(v, float) else v for name, v in row.items()},
        flush=True,
    )


def main() -> None:
    """Measure what is asked for and store the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--natural", type=Path, metavar="FOLDER", help="only the images in this folder")
    parser.add_argument("--packs", nargs="+", default=PACKS)
    parser.add_argument("--schemes", nargs="+", default=list(METHODS))
    asked = parser.parse_args()
    if asked.natural:
        natural(asked.natural, asked.schemes)
        return
    for name in asked.packs:
        pack(name, asked.schemes)


if __name__ == "__main__":
    main()
