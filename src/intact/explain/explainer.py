"""`Explainer`: what is added to the regions of a flagged image, in each worker of a screening run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from intact.explain.eyes import see
from intact.explain.reference import Reference
from intact.explain.side import side_of
from intact.explain.variants import Variants
from intact.image import Image
from intact.scores import Region


@dataclass(frozen=True, eq=False)
class Explainer:
    """Says of regions where they are, what normal looks like there, and whether a mark lets them pass.

    Args:
        reference: Normal images, if there are any to look up.
        variants: Marks of this site, if there are any.
    """

    reference: Reference | None = None
    variants: Variants | None = None

    @classmethod
    def open(cls, reference: str, variants: str) -> Explainer:
        """Read both from their folders; empty names for none.

        Raises:
            ModelError: One is missing or damaged.
        """
        return cls(
            Reference.load(Path(reference)) if reference else None, Variants(variants) if variants else None
        )

    def explain(self, image: Image, regions: Sequence[Region]) -> list[Region]:
        """The regions of an image with all that can be said of them."""
        regions = [replace(one, side=side_of(image, *one.center)) for one in regions]
        if self.reference is None and self.variants is None:
            return regions
        planes = sorted({one.plane for one in regions})
        seen = dict(zip(planes, see(image, planes), strict=True))
        explained = []
        for one in regions:
            plane = seen[one.plane]
            if self.reference is not None:
                one = replace(one, nearest=self.reference.nearest(plane, one.box, image.identity.path))
            if self.variants is not None and (mark := self.variants.like(image, plane, one.box)):
                one = replace(one, variant=mark.number)
            explained.append(one)
        return explained


def silenced(regions: Sequence[Region], alpha: float) -> bool:
    """Whether marks of normal variants explain all that an image was flagged for.

    That is every region that is suspicious by itself or, where none is, the most abnormal one.
    """
    suspicious = [one for one in regions if one.p_value <= alpha] or list(regions[:1])
    return bool(suspicious) and all(one.variant is not None for one in suspicious)
