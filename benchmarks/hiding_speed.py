"""Milliseconds to code and hide a payload and to take it out again, on one core, beside public code.

    OMP_NUM_THREADS=1 INTACT_DATA=... python benchmarks/hiding_speed.py
    pip install --no-deps stegano watermarklab   # for the peers; without them they are left out

What is timed, as medians over real images: each scheme with 4,000 random bits; `coded`, a
perturbation of everything but the middle quarter, one level for each of 56 x 56 tiles, packed by the
cheapest coder and hidden by the first scheme of the seal that holds it; `seal`, everything that
`protect.seal` and `restore` do, digests and encryption included. 8-bit: chest X-rays, 224 x 224.
16-bit: CT slices of the DICOM pack with noise in their low bits, 512 x 512. Limit on this machine:
reading and writing each pixel once takes `copy_ms`. Peers: Stegano's histogram shifting and
watermarklab's prediction-error expansion, both 8-bit and without keys.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import statistics
import sys
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

import intact
from intact.errors import CapacityError
from intact.image import Image
from intact.protect import Key, restore, seal
from intact.protect.coding import pack, unpack
from intact.protect.container import ATTEMPTS
from intact.protect.hiding import METHODS
from results import environment, replace_rows

BITS = 4000
TILES, EPSILON = 56, 8  # tiles across, so of 4 x 4 pixels at 224 x 224; grey levels
Pixels = NDArray[Any]
Timed = tuple[Callable[[], Any], Callable[[Any], Any]]


def eight_bit(data: Path, count: int) -> list[Pixels]:
    """Real chest X-rays of 224 x 224, uint8."""
    paths = sorted((data / "chest_xray" / "test" / "good").iterdir())[:count]
    return [np.asarray(Pillow.open(path).convert("L").resize((224, 224))) for path in paths]


def sixteen_bit(data: Path, count: int) -> list[Pixels]:
    """Real CT and MR slices brought to 512 x 512 and 16 bits by noise below their own steps, uint16."""
    rng = np.random.default_rng(0)
    found: list[Pixels] = []
    for path in sorted((data / "dicom").rglob("*.dcm")):
        try:
            image = intact.read(path)
        except intact.errors.InputError:
            continue
        if image.modality in ("CT", "MR") and image.shape == (512, 512):
            low = image.pixels.astype(np.int64) - int(image.pixels.min())
            found.append(np.minimum(low * 8 + rng.integers(0, 8, low.shape), 65535).astype(np.uint16))
        if len(found) == count:
            break
    return found


def of_scheme(name: str, pixels: Pixels, bits: NDArray[np.uint8]) -> Timed:
    """Hide and take out with one scheme."""
    scheme = METHODS[name](passes=4)
    return lambda: scheme.embed(pixels, bits), scheme.extract


def of_coding(pixels: Pixels, rng: np.random.Generator) -> Timed:
    """Pack a tiled perturbation, one level per tile, and hide it; take it out and unpack it."""
    levels = rng.choice([-EPSILON, EPSILON], (TILES, TILES)).astype(np.int32)
    levels[TILES // 4 : 3 * TILES // 4, TILES // 4 : 3 * TILES // 4] = 0  # the region of interest

    def code_and_hide() -> tuple[Any, Pixels]:
        bits = np.unpackbits(np.frombuffer(pack(levels), np.uint8))
        for scheme in ATTEMPTS:
            try:
                return scheme, scheme.embed(pixels, bits)
            except CapacityError:
                continue
        raise RuntimeError("no scheme of the seal holds the perturbation")

    def take_out(hidden: tuple[Any, Pixels]) -> Pixels:
        original, bits = hidden[0].extract(hidden[1])
        assert (unpack(np.packbits(bits).tobytes()) == levels).all()
        return original, bits

    return code_and_hide, take_out


def of_seal(pixels: Pixels, key: Key) -> Timed:
    """Seal and restore an image."""
    image = Image(pixels)
    return lambda: seal(image, key), lambda sealed: (restore(sealed, key).pixels, None)


def part(package: str, module: str) -> types.ModuleType:
    """A part of a package, without what the package's other parts need."""
    if package not in sys.modules:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        bare = types.ModuleType(package)
        bare.__path__ = list(spec.submodule_search_locations or [])
        sys.modules[package] = bare
    return importlib.import_module(f"{package}.{module}")


def of_stegano(pixels: Pixels, text: str) -> Timed:
    """Stegano's histogram shifting of as many characters as there are bytes."""
    rdh = part("stegano", "rdh")
    picture = Pillow.fromarray(pixels)
    return (
        lambda: rdh.hide(picture, text),
        lambda hidden: (np.asarray(rdh.recover(hidden)), rdh.reveal(hidden)),
    )


def of_watermarklab(pixels: Pixels, bits: list[int]) -> Timed:
    """Prediction-error expansion of watermarklab."""
    part("watermarklab", "tools")
    pee = importlib.import_module("watermarklab.tools.PEE")
    return (
        lambda: pee.PEE_embed(pixels, bits)[1],
        lambda hidden: (pee.PEE_extract(hidden)[1].reshape(pixels.shape), None),
    )


def measure(tasks: Sequence[tuple[Pixels, Timed]], rounds: int) -> dict[str, Any]:
    """Median milliseconds over images and rounds; whether the pixels came back each time."""
    forward, back, exact = [], [], True
    for pixels, (hide, take_out) in tasks:
        for _ in range(rounds):
            started = time.perf_counter()
            hidden = hide()
            between = time.perf_counter()
            original, _ = take_out(hidden)
            forward.append(between - started)
            back.append(time.perf_counter() - between)
            exact = exact and np.array_equal(np.asarray(original, pixels.dtype), pixels)
    return {
        "images": len(tasks),
        "hide_ms": 1e3 * statistics.median(forward),
        "restore_ms": 1e3 * statistics.median(back),
        "exact": "yes" if exact else "no",
    }


def copy_ms(pixels: Pixels) -> float:
    """Milliseconds to read and write each pixel once, as integers to calculate with."""
    seconds = []
    for _ in range(50):
        started = time.perf_counter()
        pixels.astype(np.int32).astype(pixels.dtype)
        seconds.append(time.perf_counter() - started)
    return 1e3 * statistics.median(seconds)


def main() -> None:
    """Time everything in one run, store and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    data, rng = Path(os.environ["INTACT_DATA"]), np.random.default_rng(0)
    bits = rng.integers(0, 2, BITS, np.uint8)
    key = Key(rng.bytes(32))
    peers = {name: importlib.util.find_spec(name) is not None for name in ("stegano", "watermarklab")}
    rows = []
    for what, images in (
        ("224x224 8-bit", eight_bit(data, asked.images)),
        ("512x512 16-bit", sixteen_bit(data, asked.images)),
    ):
        makers: dict[str, tuple[Callable[[Pixels], Timed], int]] = {
            name: (lambda x, name=name: of_scheme(name, x, bits), asked.rounds) for name in METHODS
        }
        makers["coded"] = (lambda x: of_coding(x, rng), asked.rounds)
        makers["seal"] = (lambda x: of_seal(x, key), asked.rounds)
        if what.endswith(" 8-bit") and peers["stegano"]:
            makers["stegano rdh"] = (lambda x: of_stegano(x, "x" * (BITS // 8)), 1)
        if what.endswith(" 8-bit") and peers["watermarklab"]:
            makers["watermarklab PEE"] = (lambda x: of_watermarklab(x, bits.tolist()), 1)
        for name, (make, rounds) in makers.items():
            row = {"size": what, "task": name, **run(make, images, rounds), "copy_ms": copy_ms(images[0])}
            rows.append(row | environment() | {"device": "cpu, 1 core"})
            print(*(f"{k} {v:.2f}" if isinstance(v, float) else v for k, v in row.items()), sep="  ")
    replace_rows("hiding_speed.csv", {}, rows)


def run(make: Callable[[Pixels], Timed], images: Sequence[Pixels], rounds: int) -> dict[str, Any]:
    """Measure on the images that can hold the payload."""
    tasks, refused = [], 0
    for pixels in images:
        timed = make(pixels)
        try:
            timed[1](timed[0]())  # also warms up
            tasks.append((pixels, timed))
        except (CapacityError, ValueError):
            refused += 1
    if not tasks:
        return {"images": 0, "hide_ms": "", "restore_ms": "", "exact": "", "too_small": refused}
    return measure(tasks, rounds) | {"too_small": refused}


if __name__ == "__main__":
    main()
