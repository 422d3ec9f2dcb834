"""Why an image was flagged: what normal looks like there, where it is, and what this site has let pass."""

from intact.explain.reference import Reference
from intact.explain.side import side_of
from intact.explain.variants import Variant, Variants

__all__ = ["Reference", "Variant", "Variants", "side_of"]
