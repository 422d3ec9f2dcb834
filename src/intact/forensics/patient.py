"""The patient in an image: several examiners of one image ask for the same mask."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from intact.image import Image
from intact.segment.anatomy import body

LITTLE = 0.05  # of the image: a body that is smaller was not recognised


@lru_cache(maxsize=1)  # images are examined one after the other
def patient(image: Image) -> Bool[ndarray, "..."]:
    """True inside the body, without letters, frames and tables; everywhere where none was recognised.

    Returns:
        bool, of the image's shape, not to be written to.
    """
    found = body(image)
    mask = found if found.mean() > LITTLE else np.ones_like(found)
    mask.flags.writeable = False
    return mask
