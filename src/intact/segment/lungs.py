"""The lungs: in CT by their air, in radiographs by a small network that comes with Intact.

The network is the U-Net of this package. It learned on made radiographs only, whose lungs are
known exactly (`tools/teach_lungs.py`), so no patient is in it and nobody's licence is.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from scipy import ndimage

from intact.image import Image
from intact.segment.anatomy import body
from intact.segment.morphology import Mask, filled, largest
from intact.segment.unet import UNet
from intact.store import load_folder

SHIPPED: Final = Path(__file__).with_name("pretrained") / "lungs"
AIR_HU: Final = -400.0  # between lung, about -850 HU, and soft tissue, above -100
PART: Final = 0.1  # of the larger lung; what is smaller is bowel gas, the windpipe or a mistake


def lungs(image: Image) -> Mask:
    """True in the lungs, opacities and vessels in them included.

    Args:
        image: A chest CT in HU, or a frontal radiograph of any polarity; planes and volumes. In an
            image of anything else the answer means nothing.

    Returns:
        bool, of the image's shape; empty where no lung is seen.
    """
    if image.modality == "CT" and image.scale.unit in ("HU", ""):
        return _by_air(image)
    return _large_parts(_network().segment(image), planes=True)


def _by_air(image: Image) -> Mask:
    """Air inside the body, closed over vessels and what is as small as them."""
    air = (image.physical() < AIR_HU) & body(image)
    kept = _large_parts(air, planes=False)
    around = np.ones((1,) * (kept.ndim - 2) + (7, 7), bool)
    return filled(ndimage.binary_closing(kept, around) & body(image))


def _large_parts(mask: Mask, *, planes: bool) -> Mask:
    """Without holes, the largest part and those not much smaller; of each plane, or of the whole."""
    if planes and mask.ndim > 2:
        return np.stack([_large_parts(plane, planes=False) for plane in mask])
    return filled(largest(mask, PART))


@cache
def _network() -> UNet:
    tensors, manifest = load_folder(SHIPPED)
    tensors = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
    return UNet(**manifest["fields"]).load(tensors, manifest["learned"])
