"""How well classical methods outline one object from a seed: ours, and what libraries do by default.

    INTACT_DATA=... python benchmarks/segment_classical.py [--methods otsu flood] [--data phantom]

Ours are the classical ones of `intact.segment.METHODS`, as they come. Beside each stands the
function of scikit-image or scikit-learn that a newcomer would call, on the whole image scaled to
0..1, with its own defaults (the column `call`); then the connected part that holds the seed. Dark
objects are negated for it first. Where a function asks for what it has no default for, it gets what
the library's gallery has; a snake starts as a circle of 1.3 times the true radius, which no user
knows. Many of ours call the same functions: what differs is what is done around the call.

The seed is the phantom's own, and for real images the voxel deepest inside the true object. Dice
and the 95th percentile of surface distances (mm; pixels where nothing tells the spacing) are means
over cases: what finds nothing has 0 and the image's diagonal. How long they take is told by
`segment_speed.py`. Rows go to benchmarks/results/segment_classical.csv, those of the same data,
setting and method are replaced.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import draw, filters, segmentation
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

import intact
from intact.data.phantom_lesion import lesion_in_organ
from intact.image import Image
from intact.metrics.segmentation import compare
from intact.segment import METHODS
from intact.segment.base import Classical, component_at
from intact.segment.scene import bright
from results import environment, replace_rows

PHANTOMS = 10
NOISE_AND_BIAS = ((0.05, 0.0), (0.08, 0.25))
SMALLEST = 100  # pixels of tumour in a slice worth an outline
START = 1.3  # radius of the first contour, over the true one
SLOW, PLANE = 100_000, 1_000_000  # voxels

Values = NDArray[np.float32]
Mask = NDArray[np.bool_]
Voxel = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """An image, the true mask, and a voxel of each of the objects that make it up."""

    image: Image
    truth: Mask
    seeds: tuple[Voxel, ...]
    target: Literal["bright", "dark"] = "bright"


@dataclass(frozen=True)
class View:
    """What a newcomer hands to a library: values 0..1, what is sought bright, and where it is."""

    values: Values
    seed: Voxel
    radius: float  # of a disc as large as the object, in pixels

    def above(self, level: float) -> Mask:
        """Brighter than a level."""
        return self.values > level

    def cluster(self, model: Any) -> Mask:
        """What belongs to the seed's cluster."""
        labels = model.fit_predict(self.values.reshape(-1, 1)).reshape(self.values.shape)
        return self.same(labels)

    def same(self, labels: NDArray[Any]) -> Mask:
        """What has the seed's label."""
        return np.asarray(labels == labels[self.seed])


@dataclass(frozen=True)
class Peer:
    """A library's function beside one of our methods."""

    method: str
    call: str
    find: Callable[[View], Mask]
    voxels: float = np.inf  # what it takes at most: above, minutes go by, or it refuses volumes


def walk(view: View) -> Mask:
    """Random walk from the seed and from the image's first pixel."""
    markers = np.zeros(view.values.shape, int)
    markers[(0,) * markers.ndim] = 2
    markers[view.seed] = 1
    return segmentation.random_walker(view.values, markers) == 1


def geodesic(view: View) -> Mask:
    """A contour that edges stop, as often moved as in the gallery."""
    edges = segmentation.inverse_gaussian_gradient(view.values)
    return segmentation.morphological_geodesic_active_contour(edges, 230) > 0


def snake(view: View) -> Mask:
    """A curve that edges attract, on an image as smooth and with as many points as in the gallery."""
    angles = np.linspace(0, 2 * np.pi, 400)
    circle = START * view.radius * np.column_stack([np.sin(angles), np.cos(angles)])
    curve = segmentation.active_contour(filters.gaussian(view.values, 3), circle + view.seed)
    return draw.polygon2mask(view.values.shape, curve)


PEERS = (
    Peer("otsu", "threshold_otsu(image)", lambda v: v.above(filters.threshold_otsu(v.values))),
    Peer(
        "multi_otsu",
        "threshold_multiotsu(image)",
        lambda v: v.above(filters.threshold_multiotsu(v.values)[-1]),
    ),
    Peer("histogram", "threshold_minimum(image)", lambda v: v.above(filters.threshold_minimum(v.values))),
    Peer("histogram", "threshold_li(image)", lambda v: v.above(filters.threshold_li(v.values))),
    Peer("kmeans", "KMeans(3)", lambda v: v.cluster(KMeans(3, random_state=0))),
    Peer("gmm", "GaussianMixture(3)", lambda v: v.cluster(GaussianMixture(3, random_state=0))),
    Peer("region_growing", "flood(image, seed)", lambda v: segmentation.flood(v.values, v.seed)),
    Peer(
        "region_growing",
        "flood(image, seed, tolerance=0.1)",
        lambda v: segmentation.flood(v.values, v.seed, tolerance=0.1),
    ),
    Peer(
        "watershed",
        "watershed(sobel(image))",
        lambda v: v.same(segmentation.watershed(filters.sobel(v.values))),
    ),
    Peer("random_walker", "random_walker(image, two voxels)", walk, voxels=SLOW),
    Peer("chan_vese", "chan_vese(image)", lambda v: v.same(segmentation.chan_vese(v.values)), voxels=PLANE),
    Peer(
        "chan_vese",
        "morphological_chan_vese(image, 35)",
        lambda v: v.same(segmentation.morphological_chan_vese(v.values, 35)),
        voxels=PLANE,
    ),
    Peer("geodesic", "morphological_geodesic_active_contour(edges, 230)", geodesic, voxels=PLANE),
    Peer("snakes", "active_contour(gaussian(image, 3), circle)", snake, voxels=PLANE),
)


def phantoms(noise: float, bias: float) -> Iterator[Case]:
    """One lesion in one organ, of seeds 0 to 9."""
    for number in range(PHANTOMS):
        image, truth, seed = lesion_in_organ(number, noise=noise, bias=bias)
        yield Case(image, truth, (seed,))


def tumour_volume(packs: Path) -> Iterator[Case]:
    """A contrast-enhanced brain MR and its tumour, dark but for its rim."""
    folder = packs / "nifti" / "pair_t1_t1ce_tumour"
    truth = intact.read(folder / "tumour_mask.nii.gz").pixels > 0
    yield Case(intact.read(folder / "t1ce.nii.gz"), truth, (deepest(truth),), "dark")


def tumour_slices(packs: Path, most: int) -> Iterator[Case]:
    """Its planes that show enough tumour."""
    volume = next(tumour_volume(packs))
    numbers = np.flatnonzero(volume.truth.sum(axis=(1, 2)) > SMALLEST)
    for number in spread(numbers, most):
        truth = volume.truth[number]
        yield Case(volume.image.plane(number), truth, (deepest(truth),), "dark")


def lungs(packs: Path, most: int) -> Iterator[Case]:
    """Chest X-rays; one seed in the lung of each half of the picture."""
    folder = packs / "cxr_lung_masks"
    for path in spread(sorted((folder / "masks").iterdir()), most):
        truth = intact.read(path).pixels > 0
        left, right = truth.copy(), truth.copy()
        middle = truth.shape[1] // 2
        left[:, middle:], right[:, :middle] = False, False
        seeds = tuple(deepest(half) for half in (left, right) if half.any())
        yield Case(intact.read(folder / "images" / path.name), truth, seeds, "dark")


def data(packs: Path, most: int) -> dict[str, list[tuple[str, Iterable[Case]]]]:
    """What is measured: of each kind of data the settings, and cases that are made when asked for."""
    return {
        "phantom": [
            (f"noise {noise:g}, bias {bias:g}", phantoms(noise, bias)) for noise, bias in NOISE_AND_BIAS
        ],
        "tumour": [
            ("slices", tumour_slices(packs, most)),
            ("volume", tumour_volume(packs)),
        ],
        "lungs": [("X-rays", lungs(packs, most))],
    }


def spread(items: Any, most: int) -> list[Any]:
    """At most so many of them, evenly from first to last."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, most).round().astype(int))]


def deepest(mask: Mask) -> Voxel:
    """The voxel of a mask that is farthest from what is outside it."""
    inside = ndimage.distance_transform_edt(np.pad(mask, 1))
    return tuple(int(at) - 1 for at in np.unravel_index(int(np.argmax(inside)), inside.shape))


def ours(method: type[Classical], case: Case) -> Mask:
    """The objects at the seeds, found by one of our methods."""
    segmenter = method(target=case.target)
    return np.any([segmenter.segment(case.image, seed=seed) for seed in case.seeds], axis=0)


def theirs(peer: Peer, case: Case) -> Mask:
    """The objects at the seeds, found by a library's function."""
    values = bright(case.image, case.target)
    values = (values - values.min()) / np.ptp(values)
    found = np.zeros(values.shape, bool)
    for seed in case.seeds:
        size = component_at(case.truth, seed).sum()
        mask = peer.find(View(values, seed, float(np.sqrt(size / np.pi))))
        if mask[seed]:
            found |= component_at(mask, seed)
    return found


def measure(find: Callable[[Case], Mask], cases: list[Case]) -> dict[str, Any]:
    """How well the cases were outlined."""
    results = []
    for case in cases:
        try:
            found = find(case)
        except RuntimeError:  # threshold_minimum knows no valley
            found = np.zeros(case.truth.shape, bool)
        results.append(compare(found, case.truth, case.image.spacing))
    dice = [result["dice"] for result in results]
    return {
        "dice": mean(dice),
        "dice_min": min(dice),
        "hd95": mean(result["hausdorff_95"] for result in results),
        "n": len(cases),
    }


def rows_of(method: str, cases: list[Case]) -> list[dict[str, Any]]:
    """Our method's row and those of its peers; none where it does not take such images."""
    rows, kind = [], METHODS[method]
    if cases[0].truth.ndim in kind.dimensions:
        rows.append({"which": "ours", "call": method} | measure(lambda case: ours(kind, case), cases))
    for peer in (p for p in PEERS if p.method == method and cases[0].truth.size <= p.voxels):
        with warnings.catch_warnings(action="ignore"):  # of results that have not settled
            found = measure(lambda case, peer=peer: theirs(peer, case), cases)
        rows.append({"which": "library", "call": peer.call} | found)
    return rows


def main() -> None:
    """Measure, store and print the rows."""
    classical = [name for name, kind in METHODS.items() if issubclass(kind, Classical)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=classical, choices=classical)
    parser.add_argument("--data", nargs="+", default=["phantom", "tumour", "lungs"])
    parser.add_argument("--images", type=int, default=20, help="slices and X-rays, at most")
    asked = parser.parse_args()
    assert all(peer.method in METHODS for peer in PEERS)
    kinds = data(Path(os.environ["INTACT_DATA"]), asked.images)
    for name in asked.data:
        for setting, made in kinds[name]:
            cases = list(made)
            for method in asked.methods:
                keys = {"data": name, "setting": setting, "method": method}
                rows = [keys | row for row in rows_of(method, cases)]
                replace_rows("segment_classical.csv", keys, [row | environment() for row in rows])
                for row in rows:
                    print(
                        *(f"{v:.3f}" if isinstance(v, float) else v for v in row.values()),
                        sep="  ",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
