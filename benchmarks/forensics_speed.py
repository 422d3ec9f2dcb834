"""Seconds that examiners take on one core, by method -> rows.

    OMP_NUM_THREADS=1 python benchmarks/forensics_speed.py [--methods block_dct] [--slices 300] [--peers ..]

    git clone https://github.com/photoholmes/photoholmes ../photoholmes       # asks for pyyaml

- Every method on one 512 x 512 slice of 16 bits, a thorax phantom, one after the other: all together, and
  those together that screening asks. The best of thirty runs, ten at a time with all others in between, as
  neighbours slow a shared machine for minutes; in processor time of this process, reading not included.
  Methods that abstain on it, as those for JPEG do, have a row with the slice as an 8-bit JPEG export, too;
  methods that take whole volumes one with 32 planes of 128 x 128 of noise.
- Header rules and continuity of a DICOM series of 300 slices, written to a temporary folder from the
  phantom: with reading the files, and by themselves.
- In the same run, public implementations of the same task, on the same slice as 8-bit pixels, if --peers
  names the folder of the clone: ZERO (AGPL) and Noisesniffer (GPL) of photoholmes. The public PatchMatch
  code is MATLAB, or a library built for another Python: not measured.

Rows go to benchmarks/results/forensics_speed.csv.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from intact.data.phantom import thorax_ct
from intact.forensics import METHODS, Examiner
from intact.forensics.header.examine import examine_headers
from intact.forensics.instance import read_series
from intact.forensics.slices.continuity import examine_continuity
from intact.forge import CopyMove, Recompress
from intact.image import Image
from intact.io import Source, write_series
from results import environment, replace_rows

SIDE, SLICES = 512, 300
PIECE = (32, 128, 128)  # planes, rows, columns of the volume
TIMES, ROUNDS = 10, 3
ROWS, NO_PEER = "forensics_speed.csv", "none"
KEYS = ("method", "size", "peer")
Row = dict[str, Any]


def zero(plane: np.ndarray) -> None:
    """JPEG grids by counting zeros, Nikoukhah et al. 2019."""
    from photoholmes.methods.zero.method import Zero

    Zero().predict(plane[..., None].astype(float))


def noisesniffer(plane: np.ndarray) -> None:
    """Noise inconsistencies, Gardella et al. 2021."""
    from photoholmes.methods.noisesniffer.method import Noisesniffer

    Noisesniffer().predict(np.repeat(plane[..., None], 3, axis=2))


# By the method that they are beside: repository, folder of its modules, and what to call.
PEERS: dict[str, tuple[str, str, Callable[[np.ndarray], None]]] = {
    "jpeg_grid": ("photoholmes", "src", zero),
    "noise_level": ("photoholmes", "src", noisesniffer),
}
UNMATCHED = ("patchmatch",)  # methods with a time to keep, and no peer that runs here


def seconds(work: Callable[[], Any], times: int = TIMES) -> float:
    """The best of some runs, in processor time."""
    taken = []
    for _ in range(times):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)


def slice_of_16_bits() -> Image:
    """One slice of a thorax, with a copied region so that nobody is spared the work of telling it."""
    volume, _ = thorax_ct(0, shape=(16, SIDE, SIDE), lesion=False)
    plane = volume.plane(8)
    return CopyMove(diameter=24.0).forge(plane, seed=0).image


def exported(image: Image) -> Image:
    """What is left of a slice that was exported as a JPEG file: 8 bits and a grid."""
    return Recompress(where="image", quality=85).forge(Image(image.display())).image


def methods(names: Sequence[str]) -> Iterator[Row]:
    """A row per method, and two for many of them on the slice, one after the other."""
    plane = slice_of_16_bits()
    grain = np.random.default_rng(0).normal(1000.0, 40.0, PIECE).astype(np.int16)
    volume = Image(grain, modality="CT", spacing=(1.0, 1.0, 1.0))
    for name in names:
        kind = METHODS[name]
        image = volume if kind.volumes else plane
        one = measure(name, image)
        yield one
        if one["said"] and image is plane:
            yield measure(name, exported(plane))
    if set(names) == set(METHODS):
        for_planes = [kind for kind in METHODS.values() if not kind.volumes]
        yield row("all", size(plane), seconds(lambda: ask(for_planes, plane)), said="all for planes")
        asked = [kind for kind in for_planes if kind.routine]
        yield row("screen", size(plane), seconds(lambda: ask(asked, plane)), said="those that screening asks")


def measure(name: str, image: Image) -> Row:
    """The row of a method; it says whether that abstains."""
    abstained = bool(METHODS[name]().examine(image).abstained)
    taken = seconds(lambda: ask([METHODS[name]], image))
    return row(name, size(image), taken, said="abstains" if abstained else "")


def ask(kinds: Sequence[type[Examiner]], image: Image) -> None:
    """What these say of an image that nobody has looked at before."""
    fresh = replace(image)
    for kind in kinds:
        kind().examine(fresh)


def size(image: Image) -> str:
    """Its shape and depth."""
    return "x".join(map(str, image.shape)) + f" {image.bits}-bit"


def peers(folder: Path) -> Iterator[Row]:
    """A row per public implementation, on the same slice exported as JPEG."""
    plane = exported(slice_of_16_bits()).pixels
    for name, (repository, modules, work) in PEERS.items():
        sys.path.insert(0, str(folder / repository / modules))
        taken = seconds(partial(work, plane), times=1)
        yield row(name, f"{SIDE}x{SIDE} 8-bit", taken, peer=f"{repository}: {work.__name__}")
    for name in UNMATCHED:
        yield row(name, f"{SIDE}x{SIDE}", math.nan, peer=NO_PEER, said="not measured")


def series(slices: int) -> Iterator[Row]:
    """Header rules and continuity of a series."""
    volume, _ = thorax_ct(0, shape=(16, SIDE, SIDE), lesion=False)
    # The same planes again and again, each with noise of its own: no two are one measurement.
    rng = np.random.default_rng(0)
    planes = volume.pixels[np.abs(np.arange(slices) % 30 - 15)]
    noise = rng.integers(-40, 41, planes.shape, dtype=np.int16)
    deep = replace(volume, pixels=(planes + noise).astype(volume.pixels.dtype))
    of = f"{slices}x{SIDE}x{SIDE}"
    with tempfile.TemporaryDirectory() as folder:
        write_series(deep, Path(folder))
        sources = [Source(path) for path in sorted(Path(folder).iterdir())]
        yield row("reading", of, seconds(lambda: read_series(sources), times=1))
        found = read_series(sources)
        yield row("header", of, seconds(lambda: examine_headers(found)))
        stack = np.stack([one.image.pixels for one in found.instances]).astype(np.float32)
        yield row("continuity", of, seconds(lambda: examine_continuity(stack, found.names)))


def row(method: str, of: str, taken: float, *, peer: str = "", said: str = "") -> Row:
    """What was measured, which is also told at once."""
    print(method, of, peer, said, round(taken, 4), flush=True)
    return {"method": method, "size": of, "peer": peer, "seconds": taken, "said": said}


def store(rows: Sequence[Row]) -> None:
    """Write the best of each kind in place of its predecessor."""
    by_keys: dict[tuple[str, ...], list[Row]] = {}
    for one in rows:
        by_keys.setdefault(tuple(one[name] for name in KEYS), []).append(one)
    for keys, alike in by_keys.items():
        best = min(alike, key=lambda one: one["seconds"])
        taken = "" if math.isnan(best["seconds"]) else best["seconds"]
        kept = best | {"seconds": taken} | environment()
        replace_rows(ROWS, dict(zip(KEYS, keys, strict=True)), [kept])


def main() -> None:
    """Measure what is asked for and store the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--slices", type=int, default=SLICES)
    parser.add_argument("--peers", type=Path, help="folder of the clones above")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rows = [one for _ in range(ROUNDS) for one in (*methods(asked.methods), *series(asked.slices))]
    if asked.peers:
        rows += peers(asked.peers)
    store(rows)


if __name__ == "__main__":
    main()
