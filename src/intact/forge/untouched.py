"""No forgery: the file goes through the same reading and writing as forged ones.

Without such a class every detector of forgeries learns who wrote the file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from intact.forge.base import Change, Forger, whole
from intact.forge.place import Mask
from intact.image import Image


@dataclass(eq=False)
class Untouched(Forger):
    """Writes the image anew and changes nothing: the genuine class of a set of forgeries."""

    family = "none"
    source = "the same-writer rule"
    changes = False

    def _forge(self, image: Image, within: Mask, rng: np.random.Generator, donor: Image | None) -> Change:
        return Change(whole(image), image.pixels.astype(np.float64), np.zeros(image.shape, np.uint8))
