"""Make the network that finds lungs in radiographs: a small U-Net that learned on made images only.

    python tools/teach_lungs.py OUT [--images 400] [--steps 1500]

The images are the chest phantoms of `intact.data.phantom_xray`, with and without findings, bent,
cropped as tightly as real ones are, with gas below the diaphragm, their tones changed, blurred,
veiled and lettered at random. Half an hour on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from intact._version import __version__
from intact.data.phantom_xray import chest_xray, lung_fields
from intact.image import Image
from intact.segment.morphology import Mask
from intact.segment.unet import UNet
from intact.store import save_folder

SIDE = 288  # of the made images
FIELDS = {"size": 192, "width": 10, "batch": 8, "seed": 0, "mirror": True}
Grey = NDArray[np.float32]


def made(number: int) -> tuple[Image, Mapping[str, Mask]]:
    """One radiograph and its lungs."""
    rng = np.random.default_rng(number)
    seed = int(rng.integers(2**31))
    image, _ = chest_xray(seed, shape=(SIDE, SIDE), lesion=bool(rng.random() < 0.6))
    grey, lungs = bent(image.display().astype(np.float32), lung_fields(seed, shape=(SIDE, SIDE)), rng)
    box = cropped(lungs, rng)
    shown = grey[box] / 255
    return Image(varied(shown, lungs[box], rng)), {"lungs": lungs[box]}


def bent(shown: Grey, lungs: Mask, rng: np.random.Generator) -> tuple[Grey, Mask]:
    """Both moved by a smooth random field, as no two diaphragms have one shape."""
    places = np.indices(shown.shape).astype(np.float32)
    for axis in places:
        field = ndimage.gaussian_filter(rng.normal(size=shown.shape), rng.uniform(20, 50), mode="wrap")
        axis += field / field.std() * rng.uniform(0, 7)
    moved = ndimage.map_coordinates(shown, places, order=1, mode="nearest")
    return moved, ndimage.map_coordinates(lungs, places, order=0, mode="nearest")


def cropped(lungs: Mask, rng: np.random.Generator) -> tuple[slice, slice]:
    """From just around the lungs to nearly all."""
    spans = []
    for axis in (0, 1):
        there = np.flatnonzero(lungs.any(axis=1 - axis))
        least, most = -0.03 * SIDE, 0.22 * SIDE
        low = there[0] - rng.uniform(least, most)
        high = there[-1] + rng.uniform(least, most * (2 if axis == 0 else 1))
        spans.append(slice(max(0, int(low)), min(SIDE, int(high))))
    return spans[0], spans[1]


def varied(shown: Grey, lungs: Mask, rng: np.random.Generator) -> Grey:
    """Tones, veils, opacities, shading, letters and noise as scanners, printers and disease make them."""
    low, high = np.percentile(shown, (rng.uniform(0, 3), rng.uniform(95, 100)))
    x = np.clip((shown - low) / max(high - low, 0.05), 0, 1)
    x = x ** np.exp(rng.normal(0, 0.4))
    x = x * rng.uniform(0.75, 1.0) + rng.uniform(0, 0.15)
    if rng.random() < 0.5:  # opacities of any kind, yet never as dense as the belly: the dome is to be seen
        cloud = ndimage.gaussian_filter(rng.normal(size=x.shape), rng.uniform(6, 25))
        cloud = np.clip(cloud / cloud.std() - rng.uniform(-0.3, 1.2), 0, 2) / 2
        x = x + lungs * cloud * rng.uniform(0.1, 0.5) * (np.percentile(x, 85) - x)
    x = with_gas(x, lungs, rng)
    if rng.random() < 0.6:  # uneven exposure
        slope = rng.normal(0, 0.15, 2)
        x = x + slope[0] * np.linspace(-1, 1, x.shape[0])[:, None] + slope[1] * np.linspace(-1, 1, x.shape[1])
    for _ in range(rng.integers(0, 4)):  # tubes, wires and letters
        at = rng.integers(0, x.shape[0], 3), rng.integers(0, x.shape[1], 3)
        x = drawn(x, at, rng)
    x = ndimage.gaussian_filter(x, rng.choice([0.0, rng.uniform(0, 1.5)]))
    x = x + rng.normal(0, rng.uniform(0, 0.04), x.shape)
    return np.clip(x, 0, 1).astype(np.float32)


def with_gas(x: Grey, lungs: Mask, rng: np.random.Generator) -> Grey:
    """Gas in stomach and bowel: as dark as lung but below it, on the patient's left more often."""
    rows, columns = np.indices(x.shape)
    dark, apart = np.percentile(x[lungs], 20), ~ndimage.binary_dilation(lungs, iterations=3)
    there = np.flatnonzero(lungs.any(axis=0))
    left = there[there > x.shape[1] / 2]
    for _ in range(rng.integers(0, 5)):
        column = rng.choice(left if left.size and rng.random() < 0.7 else there)
        row = np.flatnonzero(lungs[:, column])[-1] + rng.uniform(0.02, 0.25) * len(x)
        tall, wide = rng.uniform((0.02, 0.02), (0.1, 0.15)) * len(x)
        pocket = (((rows - row) / tall) ** 2 + ((columns - column) / wide) ** 2 < 1) & apart
        soft = ndimage.gaussian_filter(pocket.astype(np.float32), rng.uniform(0.7, 2.5))
        x = x + soft * rng.uniform(0.2, 1.1) * (dark - x)
    return x


def drawn(x: Grey, at: tuple[NDArray[np.int_], NDArray[np.int_]], rng: np.random.Generator) -> Grey:
    """A bright curve through three points, or a bright block."""
    x = x.copy()
    if rng.random() < 0.4:
        row, column = int(at[0][0]), int(at[1][0])
        x[row : row + rng.integers(4, 16), column : column + rng.integers(4, 40)] = rng.uniform(0.6, 1.0)
        return x
    t = np.linspace(0, 1, 400)
    weights = ((1 - t) ** 2, 2 * t * (1 - t), t**2)
    rows, columns = (sum(w * p for w, p in zip(weights, axis, strict=True)).astype(int) for axis in at)
    line = np.zeros(x.shape, np.float32)
    line[rows, columns] = 1
    return x + rng.uniform(0.1, 0.5) * np.clip(3 * ndimage.gaussian_filter(line, rng.uniform(0.6, 1.4)), 0, 1)


class Made:
    """The first so many made images, each time anew the same."""

    def __init__(self, images: int) -> None:
        self.images = images

    def __iter__(self) -> Iterator[tuple[Image, Mapping[str, Mask]]]:
        return (made(number) for number in range(self.images))


def main() -> None:
    """Teach and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--steps", type=int, default=1500)
    asked = parser.parse_args()
    network = UNet(steps=asked.steps, **FIELDS).fit(Made(asked.images))
    halves = {name: t.half() if t.is_floating_point() else t for name, t in network.state().items()}
    manifest = {"intact": __version__, "kind": "segmentation", "fields": network.fields()}
    save_folder(asked.out, halves, manifest | {"learned": network.learned()})


if __name__ == "__main__":
    main()
