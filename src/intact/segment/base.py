"""The one promise every segmenter keeps."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np
from scipy import ndimage

from intact.errors import UsageError
from intact.image import Image
from intact.segment.morphology import Mask
from intact.segment.scene import Scene, look


@dataclass(eq=False)
class Segmenter(ABC):
    """Tells which voxels of an image belong to something.

    A segmenter is a dataclass: its fields are the method's parameters. The mask has the image's
    own grid; the image is left as it is.
    """

    family: ClassVar[str]  # threshold, clustering, region, graph, contour or network
    source: ClassVar[str]  # short citation, for listings
    dimensions: ClassVar[tuple[int, ...]] = (2, 3)  # what it takes: planes, volumes

    @final
    def fields(self) -> dict[str, Any]:
        """The parameters, as plain values."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @final
    def _check(self, image: Image) -> None:
        """Refuse what the method does not take.

        Raises:
            UsageError: A time series, or a volume given to a method for planes.
        """
        if len(image.shape) not in self.dimensions:
            takes = " or ".join("planes [h,w]" if n == 2 else "volumes [d,h,w]" for n in self.dimensions)
            raise UsageError(
                f"{type(self).__name__} takes {takes}, and this image has shape {image.shape}: "
                "give it plane by plane or choose another method"
            )


@dataclass(eq=False)
class Classical(Segmenter):
    """A segmenter that learns nothing: it finds one bright or dark object, from a seed.

    Args:
        target: Whether the object is brighter or darker than what is around it, on the screen.
        radius_mm: About that of the object; 0 measures it. Pixels, where the image has no spacing.
    """

    target: Literal["bright", "dark"] = "bright"
    radius_mm: float = 0.0

    @final
    def segment(self, image: Image, *, seed: Sequence[int] | None = None, within: Mask | None = None) -> Mask:
        """Find the object.

        Args:
            image: A plane or a volume; colour is turned grey.
            seed: A voxel of the object, as an index into the image's shape; by default the most
                conspicuous blob of the wanted brightness.
            within: Where the object may be, of the image's shape; by default the body.

        Returns:
            bool, of the image's shape. Empty where there is nothing to find, such as in an image
            of one value.

        Raises:
            UsageError: The method does not take such an image, the seed is outside, or the mask
                has another shape.
        """
        self._check(image)
        scene = look(image, self.target, self.radius_mm, seed, within)
        if scene is None:
            return np.zeros(image.shape, bool)
        found = self._segment(scene)
        return found & scene.within

    @abstractmethod
    def _segment(self, scene: Scene) -> Mask: ...


def component_at(mask: Mask, seed: tuple[int, ...]) -> Mask:
    """The connected part of a mask that holds the seed, or else the one nearest to it."""
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    if not labels[seed]:
        nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
        seed = tuple(int(axis[seed]) for axis in nearest)
    part: Mask = labels == labels[seed]
    return part


def fill_holes(mask: Mask) -> Mask:
    """Fill what is enclosed: in 3-D from all sides."""
    filled: Mask = ndimage.binary_fill_holes(mask)
    return filled
