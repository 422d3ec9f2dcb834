"""Does the watermark name the very blocks that were changed, and what does it bring back?

    INTACT_DATA=... python benchmarks/localise.py [--edits 1000]

Real images are sealed with `localise`. Then, again and again, one block of one of them is changed:
a pixel by one, a few pixels, all of it, lowest bits only, everything but the lowest bits (a change
that keeps remainders), or it is swapped with another block, of the same image or of another one
sealed with the same key. Counted are the edits after which exactly the changed blocks are named.
Then the middle quarter of each image is painted over and recovered; PSNR is of the recovered
pixels against the original, peak at the largest value that the depth allows.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import intact
from intact.errors import CapacityError, InputError
from intact.image import Image
from intact.protect import Key, restore, seal, verify
from intact.protect.blocks import Grid
from intact.protect.container import recover_region
from intact.protect.header import find_header
from intact.protect.keys import content_key
from intact.protect.seal import planes_of
from results import environment, replace_rows

PACKS = {"brain_mri": "test/good", "chest_xray": "test/good", "lung_ct": "test/good", "dicom": "."}
EDITS = ("one pixel", "few pixels", "whole block", "lowest bits", "multiple of four", "swap", "transplant")
Block = tuple[slice, slice]


@dataclass(frozen=True)
class Sealed:
    """A real image and its sealed twin."""

    original: Image
    image: Image
    grid: Grid

    def block(self, rng: np.random.Generator) -> tuple[tuple[int, int], Block]:
        """A random block: its row and column, and its pixels."""
        rows, columns = self.grid.edges
        r, c = int(rng.integers(rows.size - 1)), int(rng.integers(columns.size - 1))
        return (r, c), (slice(rows[r], rows[r + 1]), slice(columns[c], columns[c + 1]))


def sealed_images(folder: Path, count: int, key: Key) -> tuple[list[Sealed], int]:
    """Grey planes of a pack, sealed, and how many could not hold the watermark."""
    found, refused = [], 0
    for path in sorted(folder.rglob("*")):
        try:
            image = intact.read(path).plane(0) if path.is_file() else None
        except InputError:
            continue
        if image is None or image.colour or image.pixels.dtype.kind == "f" or min(image.shape) < 64:
            continue
        bare = Image(image.pixels, bits=image.bits)
        try:
            sealed = seal(bare, key, localise=True)
        except CapacityError:
            refused += 1
            continue
        found.append(Sealed(bare, sealed, Grid(planes_of(bare).shape)))
        if len(found) == count:
            break
    return found, refused


def edit(
    kind: str, one: Sealed, other: Sealed, rng: np.random.Generator
) -> tuple[NDArray[Any], set[tuple[int, int]]]:
    """A copy of the sealed pixels with one edit, and the blocks that it changed."""
    pixels, (name, at) = one.image.pixels.copy(), one.block(rng)
    before, named = pixels.copy(), {name}
    block = pixels[at]
    some = rng.permutation(block.size)[: {"one pixel": 1, "few pixels": 5}.get(kind, block.size)]
    change = {"lowest bits": 1, "multiple of four": 4}.get(kind)
    if kind == "swap":
        second, there = one.block(rng)
        if pixels[there].shape == block.shape:
            pixels[at], pixels[there] = before[there], before[at]
            named.add(second)
    elif kind == "transplant":
        height, width = block.shape
        pixels[at] = other.image.pixels[:height, :width]
    else:
        flat = block.ravel()
        flat[some] ^= pixels.dtype.type(change or 1 << int(rng.integers(0, 6)))
        pixels[at] = flat.reshape(block.shape)
    rows, columns = one.grid.edges
    changed = {
        (r, c)
        for r, c in named
        if not np.array_equal(
            pixels[rows[r] : rows[r + 1], columns[c] : columns[c + 1]],
            before[rows[r] : rows[r + 1], columns[c] : columns[c + 1]],
        )
    }
    return pixels, changed


def count_edits(pack: str, images: list[Sealed], key: Key, edits: int, seed: int) -> list[dict[str, Any]]:
    """Rows: of how many edits the changed blocks were named exactly, by kind of edit."""
    rng, tally = np.random.default_rng(seed), defaultdict(Counter)
    for number in range(edits):
        kind = EDITS[number % len(EDITS)]
        one, other = (images[i] for i in rng.choice(len(images), 2, replace=len(images) < 2))
        pixels, changed = edit(kind, one, other, rng)
        if not changed:
            continue  # a swap of a block with itself, a transplant of the same pixels
        damage = verify(Image(pixels, bits=one.image.bits), key).damage
        found = set() if damage is None else {(int(r), int(c)) for _, r, c in np.argwhere(~damage.sound)}
        tally[kind] += Counter(edits=1, exact=found == changed)
    return [{"pack": pack, "what": "edits", "kind": kind, **counts} for kind, counts in tally.items()]


def recover_middle(pack: str, images: list[Sealed], key: Key) -> dict[str, Any]:
    """Row: what comes back of a painted middle quarter."""
    psnr, back, quality, samples = [], [], [], Counter()
    for one in images:
        assert np.array_equal(restore(one.image, key).pixels, one.original.pixels)
        h, w = one.image.shape
        middle = np.s_[h // 4 : 3 * h // 4, w // 4 : 3 * w // 4]
        painted = one.image.pixels.copy()
        painted[middle] = int(np.median(painted))
        header = find_header(painted[None])
        if header is None:
            continue
        planes, known = recover_region(painted[None], header, content_key(key, header.salt))
        there = known[0][middle]
        peak = 2**one.image.bits - 1
        back.append(float(there.mean()))
        quality.append(_psnr(one.original.pixels, one.image.pixels, peak))
        samples[header.tail[-18]] += 1
        if there.any():
            psnr.append(_psnr(one.original.pixels[middle][there], planes[0][middle][there], peak))
    return {
        "pack": pack,
        "what": "recovery",
        "kind": "middle quarter",
        "images": len(back),
        "sealed_psnr": statistics.median(quality),
        "samples_per_side": " ".join(f"{n}:{count}" for n, count in sorted(samples.items())),
        "share_back": statistics.mean(back),
        "psnr": statistics.median(psnr) if psnr else "",
    }


def _psnr(one: NDArray[Any], other: NDArray[Any], peak: int) -> float:
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return float(10 * np.log10(peak**2 / max(error, 1e-12)))


def main() -> None:
    """Edit, recover, store and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--edits", type=int, default=1000, help="in all packs together")
    parser.add_argument("--images", type=int, default=20, help="per pack")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    key = Key(np.random.default_rng(asked.seed).bytes(32))
    rows: list[dict[str, Any]] = []
    for pack, folder in PACKS.items():
        images, refused = sealed_images(Path(os.environ["INTACT_DATA"]) / pack / folder, asked.images, key)
        rows += count_edits(pack, images, key, asked.edits // len(PACKS), asked.seed)
        rows.append(recover_middle(pack, images, key) | {"refused": refused})
        print(*rows[-1].items(), sep="\n  ")
    stored = [{"seed": asked.seed, **row} | environment() for row in rows]
    replace_rows("localise.csv", {"seed": asked.seed}, stored)
    edits = [row for row in rows if row["what"] == "edits"]
    exact, count = (sum(row[key] for row in edits) for key in ("exact", "edits"))
    print(f"{exact} of {count} edits localised to the block")


if __name__ == "__main__":
    main()
