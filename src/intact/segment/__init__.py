"""Segmentation: regions of interest and lesions, by classical methods and by networks."""

from __future__ import annotations

from collections.abc import Callable

from intact.errors import UsageError
from intact.image import Image
from intact.segment.anatomy import body, field_of_view, head
from intact.segment.attention_unet import AttentionUNet
from intact.segment.auto import Auto
from intact.segment.base import Classical, Segmenter
from intact.segment.clustering import FuzzyCMeans, GaussianMixture, KMeans
from intact.segment.graph_cut import GraphCut
from intact.segment.lettering import text
from intact.segment.level_set import ChanVese, Geodesic
from intact.segment.lungs import lungs
from intact.segment.morphology import Mask
from intact.segment.network import Network
from intact.segment.random_walker import RandomWalker
from intact.segment.region_growing import RegionGrowing
from intact.segment.snakes import Snakes
from intact.segment.threshold import Histogram, Hysteresis, MultiOtsu, Otsu
from intact.segment.unet import UNet
from intact.segment.watershed import Watershed

METHODS: dict[str, type[Segmenter]] = {
    "otsu": Otsu,
    "multi_otsu": MultiOtsu,
    "histogram": Histogram,
    "hysteresis": Hysteresis,
    "kmeans": KMeans,
    "gmm": GaussianMixture,
    "fuzzy_cmeans": FuzzyCMeans,
    "region_growing": RegionGrowing,
    "watershed": Watershed,
    "graph_cut": GraphCut,
    "random_walker": RandomWalker,
    "snakes": Snakes,
    "chan_vese": ChanVese,
    "geodesic": Geodesic,
    "unet": UNet,
    "attention_unet": AttentionUNet,
    "auto": Auto,
}

# Where an image shows what: always the same answer, without a seed and without training.
REGIONS: dict[str, Callable[[Image], Mask]] = {
    "body": body,
    "field_of_view": field_of_view,
    "head": head,
    "lungs": lungs,
    "text": text,
}


def known_region(name: str) -> str:
    """The name of a region, if there is such a region.

    Raises:
        UsageError: There is none.
    """
    if name not in REGIONS:
        raise UsageError(f"unknown region {name!r}; choose one of {', '.join(REGIONS)}")
    return name


__all__ = ["METHODS", "REGIONS", "Classical", "Network", "Segmenter", "known_region"]
