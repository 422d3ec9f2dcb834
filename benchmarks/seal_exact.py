"""Does every image come back bit for bit, and is every change refused, each time?

    INTACT_DATA=... python benchmarks/seal_exact.py [--images 10000]

Made images of every dtype, depth, sign, saturation, shape and region to keep are sealed, restored
and compared; then restored with a wrong key and with one pixel changed by one bit. Every file of
the DICOM pack is sealed, restored and compared byte for byte, and restored with a wrong key, with
a changed byte at random places and cut off. One row per kind of image, with the first failure.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from intact.errors import (
    AlteredError,
    CapacityError,
    InputError,
    NotAnImageError,
    UnreadableError,
    UnsealableError,
    WrongKeyError,
)
from intact.image import Image
from intact.protect import Key, restore, restore_file, seal, seal_file
from results import environment, replace_rows

DTYPES = (("uint8", 8), ("uint16", 8), ("uint16", 12), ("uint16", 16), ("int16", 12), ("int16", 16))
BYTES_CHANGED = 20  # per file of the pack
Tally = dict[str, Counter[str]]


def made(rng: np.random.Generator) -> tuple[str, Image, NDArray[np.bool_] | None]:
    """A made image, its kind, and a region to keep or None."""
    dtype, bits = DTYPES[rng.integers(len(DTYPES))]
    kind = str(rng.choice(["smooth", "noisy", "background", "saturated", "flat", "two values", "colour"]))
    shape = tuple(int(n) for n in rng.integers(64, 160, 2))
    if rng.random() < 0.1:
        shape = (int(rng.integers(2, 5)), *shape)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype == "int16" else (0, 2**bits - 1)
    share = _share(kind, shape, rng)
    pixels = np.rint(low + np.clip(share, 0, 1) * (high - low)).astype(dtype)
    if kind == "colour":
        pixels = np.stack([pixels, np.roll(pixels, 1, -1), pixels], axis=-1)
    image = Image(pixels, photometric="RGB" if kind == "colour" else "MONOCHROME2", bits=bits)
    keep = None
    if rng.random() < 0.3:
        keep = np.zeros(shape[-2:], bool)
        keep[shape[-2] // 3 : 2 * shape[-2] // 3, shape[-1] // 3 : 2 * shape[-1] // 3] = True
    return f"{dtype}, {bits} bits, {kind}", image, keep


def _share(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Values as a share of the range."""
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(2, 6))
    smooth = 0.5 + 0.25 * smooth / max(float(smooth.std()), 1e-9)
    if kind == "flat":
        return np.full(shape, rng.choice([0.0, 0.3, 1.0]))
    if kind == "two values":
        return (smooth > 0.5).astype(np.float64)
    noise = rng.normal(scale=rng.uniform(0.0, 0.02), size=shape)
    if kind == "background":
        return np.where(smooth > 0.55, smooth + noise, 0.0)
    if kind == "saturated":
        return 0.5 + 3.0 * (smooth - 0.5) + noise
    return smooth + (noise if kind == "noisy" else 0.2 * noise)


def try_made(count: int, seed: int) -> Tally:
    """Seal, restore and tamper with made images."""
    rng, tally = np.random.default_rng(seed), defaultdict(Counter)
    key, other = Key(rng.bytes(32)), Key(rng.bytes(32))
    for _ in range(count):
        kind, image, keep = made(rng)
        tally[kind]["images"] += 1
        try:
            sealed = seal(image, key, keep=keep)
        except CapacityError:
            tally[kind]["too_small"] += 1
            continue
        kept = keep is None or _equal_where(keep, sealed, image)
        exact = np.array_equal(restore(sealed, key).pixels, image.pixels)
        tally[kind]["exact"] += bool(exact and kept)
        tally[kind]["wrong_key_refused"] += refused(WrongKeyError, restore, sealed, other)
        changed = sealed.pixels.copy()
        at = tuple(rng.integers(0, n) for n in changed.shape)
        changed[at] ^= changed.dtype.type(1 << int(rng.integers(0, image.bits - 1)))
        altered = Image(changed, photometric=image.photometric, bits=image.bits)
        tally[kind]["changed_pixel_refused"] += refused(AlteredError, restore, altered, key)
    return tally


def _equal_where(keep: NDArray[np.bool_], one: Image, other: Image) -> bool:
    """Whether two images agree in a region of each plane."""
    region = keep[..., None] if one.colour else keep
    return bool((np.equal(one.pixels, other.pixels) | ~region).all())


def try_files(files: Iterator[Path], seed: int) -> Tally:
    """Seal, restore and tamper with files."""
    rng, tally = np.random.default_rng(seed), defaultdict(Counter)
    key, other = Key(rng.bytes(32)), Key(rng.bytes(32))
    for path in files:
        data, counts = path.read_bytes(), tally["DICOM pack"]
        carrier = "pixels"
        try:
            sealed, _ = seal_file(data, path.name, key)
        except (NotAnImageError, UnreadableError):
            continue
        except (CapacityError, UnsealableError):
            sealed, _ = seal_file(data, path.name, key, carrier="envelope")
            carrier = "envelope"
        counts["images"] += 1
        counts["in_envelope"] += carrier == "envelope"
        counts["exact"] += restore_file(sealed, path.name, key)[0] == data
        counts["wrong_key_refused"] += refused(WrongKeyError, restore_file, sealed, path.name, other)
        places = rng.integers(0, len(sealed), BYTES_CHANGED)
        tampered = [_flip(sealed, int(at), rng) for at in places] + [sealed[: int(places[0])]]
        for one in tampered:
            counts["changes"] += 1
            counts["changes_refused"] += refused(InputError, restore_file, one, path.name, key)
    return tally


def _flip(data: bytes, at: int, rng: np.random.Generator) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]


def refused(error: type[InputError], act: Callable[..., Any], *given: Any) -> bool:
    """Whether something is refused, and for the right reason."""
    try:
        act(*given)
    except InputError as found:
        if not isinstance(found, error):
            print(f"refused for another reason than {error.__name__}: {type(found).__name__}: {found}")
        return isinstance(found, error)
    print(f"not refused, expected {error.__name__}")
    return False


def main() -> None:
    """Try all, store and print the rows; exits with 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    started = time.perf_counter()
    tally = dict(sorted(try_made(asked.images, asked.seed).items()))
    tally |= try_files(iter(sorted((Path(os.environ["INTACT_DATA"]) / "dicom").rglob("*.dcm"))), asked.seed)
    seconds = time.perf_counter() - started
    rows = [{"kind": kind, "seed": asked.seed, **counts} | environment() for kind, counts in tally.items()]
    replace_rows("seal_exact.csv", {"seed": asked.seed}, rows)
    total = sum(tally.values(), Counter())
    print(f"{dict(total)} in {seconds:.0f} s")
    sealed = total["images"] - total["too_small"]
    tampered = (total["exact"], total["wrong_key_refused"])
    sys.exit(any(n != sealed for n in tampered) or total["changes"] != total["changes_refused"])


if __name__ == "__main__":
    main()
