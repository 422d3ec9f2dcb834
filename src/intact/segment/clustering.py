"""Clustering: the object is the voxels whose brightness belongs to the brightest of a few clusters.

Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf. Theory 28(2), 1982 (k-means).
Dempster, Laird, Rubin, "Maximum likelihood from incomplete data via the EM algorithm", J. R. Stat.
Soc. B 39(1), 1977 (mixtures).
Bezdek, "Pattern Recognition with Fuzzy Objective Function Algorithms", Plenum, 1981 (fuzzy c-means);
Chuang, Tzeng, Chen, Wu, Chen, "Fuzzy c-means clustering with spatial information for image
segmentation", Comput. Med. Imaging Graph. 30(1), 2006.

Differs from the papers: a voxel is described by its brightness and by the mean around it. Clusters
are fitted on a sample, of the seed's neighbourhood if the user gave one, of all of the scene
otherwise. Which of them are the object is told by the seed, and by where the outline is steepest;
the result is tidied. The spatial step of c-means is done once, on all voxels, when the centres have
been found. The tissues of a mixture share one covariance by default.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage
from scipy.spatial.distance import cdist
from sklearn import cluster, mixture

from intact.errors import UsageError
from intact.segment.brightness import SEVERAL, THICK, ByBrightness, divisions
from intact.segment.grey import Values
from intact.segment.morphology import Mask
from intact.segment.scene import Scene

SAMPLE = 50_000  # voxels that clusters are fitted on: centres are then exact to a hundredth of the noise
STARTS = 4  # of k-means, of which the best is kept
ITERATIONS = 200  # of the others, at most
ERROR = 1e-4  # of the centres of c-means, in units of values

Points = Float[ndarray, "n 2"]  # brightness of voxels, and the mean around them
Centres = Float[ndarray, "k 2"]
Memberships = Float[ndarray, "n k"]  # the larger, the more a voxel belongs to a cluster


@dataclass(eq=False)
class Clustering(ByBrightness):
    """What the clustering methods share: all but the clusters.

    The object is the cluster of the seed and the brighter ones, or the brightest if no seed is given.

    Args:
        clusters: 2 to 8.
        random_seed: Of the sample, and of the clusters' first centres.

    Raises:
        UsageError: Another number of clusters.
    """

    clusters: int = 3
    random_seed: int = 0

    family: ClassVar[str] = "clustering"
    share: ClassVar[float] = SEVERAL
    smoothed: ClassVar[bool] = True  # whether the brightness of a voxel is taken after smoothing

    def __post_init__(self) -> None:
        if not 2 <= self.clusters <= 8:
            raise UsageError(f"{self.clusters} clusters: brightness tells 2 to 8 tissues; give as many")

    def _masks(self, scene: Scene, smooth: Values, measured: Mask, searched: Mask) -> Iterable[Mask]:
        brightness = smooth if self.smoothed else scene.values
        window = [3 if step < THICK * min(scene.spacing) else 1 for step in scene.spacing]
        points = np.stack([brightness, ndimage.uniform_filter(brightness, window)], axis=-1)[searched]
        sample = self._sample(points[measured[searched]])
        clusters = min(self.clusters, len(np.unique(sample, axis=0)))
        average = functools.partial(mean_around, where=searched, window=window)
        centres, memberships = self._cluster(sample, clusters, points, average)
        order = np.argsort(centres[:, 0])
        memberships = memberships[:, order]
        for dark, bright in divisions(centres[order, 0], smooth, scene):
            found = np.zeros_like(searched)
            found[searched] = memberships[:, bright:].max(axis=1) > memberships[:, : dark + 1].max(axis=1)
            yield found

    def _sample(self, points: Points) -> Points:
        if len(points) > SAMPLE:
            points = np.random.default_rng(self.random_seed).choice(points, SAMPLE, replace=False)
        return points.astype(np.float64)

    @abstractmethod
    def _cluster(
        self, sample: Points, clusters: int, points: Points, average: Callable[[Memberships], Memberships]
    ) -> tuple[Centres, Memberships]:
        """Find clusters of a sample, and what belongs to them.

        Args:
            sample: What to find them in.
            clusters: How many.
            points: What to assign to them: all voxels in which to look for the object.
            average: Replaces each of those voxels' memberships by the mean around it.
        """


@dataclass(eq=False)
class KMeans(Clustering):
    """Clusters of least variance: each voxel belongs to the nearest centre."""

    source: ClassVar[str] = "Lloyd, IEEE Trans. Inf. Theory 28(2), 1982"

    def _cluster(
        self, sample: Points, clusters: int, points: Points, average: Callable[[Memberships], Memberships]
    ) -> tuple[Centres, Memberships]:
        model = cluster.KMeans(clusters, n_init=STARTS, random_state=self.random_seed).fit(sample)
        return model.cluster_centers_, -model.transform(points.astype(np.float64))


@dataclass(eq=False)
class GaussianMixture(Clustering):
    """Tissues are Gaussians, which differ in how common they are: a voxel belongs to the likeliest.

    The noise is modelled, and so not smoothed away.

    Args:
        covariance: "tied": that of the noise is common to all tissues. "full": each has its own; the
            blurred outlines of things then tend to become a tissue, of wide spread.
    """

    covariance: Literal["tied", "full"] = "tied"

    source: ClassVar[str] = "Dempster et al., J. R. Stat. Soc. B 39(1), 1977"
    smoothed: ClassVar[bool] = False

    def _cluster(
        self, sample: Points, clusters: int, points: Points, average: Callable[[Memberships], Memberships]
    ) -> tuple[Centres, Memberships]:
        model = mixture.GaussianMixture(
            clusters, covariance_type=self.covariance, max_iter=ITERATIONS, random_state=self.random_seed
        ).fit(sample)
        return model.means_, model.predict_proba(points.astype(np.float64))


@dataclass(eq=False)
class FuzzyCMeans(Clustering):
    """Clusters that voxels belong to in part, and more so if the voxels around do.

    The fuzzifier is 2; both powers in Eq. 5 of Chuang et al. are 1.
    """

    source: ClassVar[str] = "Chuang et al., Comput. Med. Imaging Graph. 30(1), 2006"

    def _cluster(
        self, sample: Points, clusters: int, points: Points, average: Callable[[Memberships], Memberships]
    ) -> tuple[Centres, Memberships]:
        start = cluster.KMeans(clusters, n_init=STARTS, random_state=self.random_seed).fit(sample)
        centres = c_means(sample, start.cluster_centers_)
        fuzzy = fuzzy_memberships(points, centres)
        return centres, fuzzy * average(fuzzy)


def c_means(points: Points, centres: Centres) -> Centres:
    """The centres that fuzzy c-means comes to from these."""
    for _ in range(ITERATIONS):
        weights = fuzzy_memberships(points, centres) ** 2
        before, centres = centres, weights.T @ points / weights.sum(axis=0)[:, None]
        if np.abs(centres - before).max() < ERROR:
            break
    return centres


def fuzzy_memberships(points: Points, centres: Centres) -> Memberships:
    """Memberships of points, of sum 1: the closer a centre, the larger."""
    distances = cdist(points, centres, "sqeuclidean")
    closeness = 1 / np.maximum(distances, np.finfo(np.float32).tiny)
    memberships: Memberships = closeness / closeness.sum(axis=1, keepdims=True)
    return memberships


def mean_around(memberships: Memberships, where: Mask, window: list[int]) -> Memberships:
    """Means over a window around each voxel, to which voxels elsewhere add nothing.

    Args:
        memberships: Of the voxels where the mask is true.
        where: The mask.
        window: Voxels along each axis.
    """
    grid = np.zeros((*where.shape, memberships.shape[1]), memberships.dtype)
    grid[where] = memberships
    return ndimage.uniform_filter(grid, (*window, 1), mode="constant")[where]
