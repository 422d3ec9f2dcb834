"""Seconds to segment a 512 x 512 plane and a 128 x 128 x 128 volume, by method -> rows.

    OMP_NUM_THREADS=1 python benchmarks/segment_speed.py [--methods otsu graph_cut]

The lesion phantom of the tests, whose radius grows with the image; the seed is given. Classical
methods and regions; networks as they come after a few steps of training, since weights change
nothing about speed. The better of two runs, one core, reading and writing not included. Rows go to
benchmarks/results/segment_speed.csv.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from intact.data.phantom import chest_xray, thorax_ct
from intact.data.phantom_lesion import lesion_in_organ
from intact.image import Image
from intact.segment import METHODS, REGIONS, Classical, Network
from results import environment, replace_rows

SIZES = {"512x512": (512, 512), "128x128x128": (128, 128, 128)}
TEACH = {"steps": 2, "batch": 2}


def seconds(work: Callable[[], Any]) -> float:
    """The better of two runs."""
    taken = []
    for _ in range(2):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return min(taken)


def method(name: str, size: str) -> float | None:
    """Seconds of one method, or None where it does not take such images."""
    image, mask, seed = lesion_in_organ(0, shape=SIZES[size])
    kind = METHODS[name]
    if len(image.shape) not in kind.dimensions:
        return None
    if issubclass(kind, Classical):
        segmenter = kind()
        return seconds(lambda: segmenter.segment(image, seed=seed))
    assert issubclass(kind, Network)
    network = kind(**TEACH).fit([(image, {"lesion": mask})] * 2)
    return seconds(lambda: network.segment(image))


def region(name: str, size: str) -> float:
    """Seconds of one region: of a radiograph, or of a CT."""
    if len(SIZES[size]) == 2:
        image, _ = chest_xray(0, shape=(512, 512))
    else:
        image, _ = thorax_ct(0, shape=SIZES[size], lesion=False)
    REGIONS[name](Image(np.zeros((64, 64), np.uint8)))  # loads the network, once
    return seconds(lambda: REGIONS[name](image))


def main() -> None:
    """Measure what is asked for and store the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=[*METHODS, *REGIONS])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in asked.methods:
        for size in SIZES:
            taken = region(name, size) if name in REGIONS else method(name, size)
            if taken is None:
                continue
            keys = {"method": name, "size": size}
            replace_rows("segment_speed.csv", keys, [keys | {"seconds": taken} | environment()])
            print(name, size, round(taken, 4), flush=True)


if __name__ == "__main__":
    main()
