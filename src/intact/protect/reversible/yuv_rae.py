"""The change of the luma, hidden in the two colour differences of a grey image.

Yin et al., "Efficient and transferable reversible adversarial attacks utilizing YUV color space",
and the authors' code, edu-yinzhaoxia on GitHub. The luma is the adversarial example. Bits go into U
and V, half of them into each, by expanding prediction errors on the rhombus.

Differs from the paper:

- Colours are turned by the reversible integer transform of JPEG 2000 (ISO/IEC 15444-1, annex G.2);
  the rounded YUV of the authors' code does not give the original back.
- Images are grey before, so U and V begin as 0 everywhere.
- Only pixels whose luma is far enough from 0 and from 255 carry bits, so that no colour is cut off. The
  decoder finds the same ones, since no bit changes the luma.
- The paper attacks where Grad-CAM says that the network looks; here the caller gives the attack a mask.

As in the paper, nothing is checked, but that U and V become 0 again: an image that was changed since
may come back wrong without an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Int16, UInt8
from numpy import ndarray
from numpy.typing import NDArray

from intact.errors import UsageError
from intact.protect.coding import pack
from intact.protect.hiding import SortedPEE
from intact.protect.reversible.base import Grey, Reversible, bits_of, without_change

Colour = UInt8[ndarray, "h w 3"]
Plane = Int16[ndarray, "h w"]


@dataclass(frozen=True)
class YUVRAE(Reversible):
    """Hides luma - original in the colour of an adversarial example.

    With 4 bits and 4 passes, 224x224 pixels hold about 170,000 bits. Few bits are hidden in the
    same way whatever is allowed.

    Args:
        depth: Bits of U and V, 2 to 7: with 4, both stay in -8 to 7.
        passes: How often bits may be hidden over bits.
    """

    depth: int = 4
    passes: int = 4

    source: ClassVar[str] = "Yin et al., reversible attacks utilizing YUV color space"
    attack: ClassVar[str] = "mifgsm"

    def __post_init__(self) -> None:
        if not 2 <= self.depth <= 7:
            raise UsageError(f"depth={self.depth}: give U and V 2 to 7 bits, or no pixel can carry any")

    def _embed(self, original: Grey, adversarial: Grey) -> Colour:
        luma = adversarial.astype(np.int16)
        bits = bits_of(pack(luma - original))
        hiding, usable, grey = SortedPEE(passes=self.passes), self._usable(luma), np.zeros_like(luma)
        u, v = (hiding.embed(grey, half, usable, depth=self.depth) for half in np.array_split(bits, 2))
        return to_rgb(luma, u, v).astype(np.uint8)

    def _restore(self, marked: Colour) -> Grey:
        """The original: the luma less the change that is hidden in the colour."""
        if marked.ndim != 3 or marked.shape[2] != 3:
            raise ValueError(f"the change is hidden in colour, [h,w,3], and this is of shape {marked.shape}")
        luma, u, v = to_yuv(marked)
        usable = self._usable(luma)
        (u, in_u), (v, in_v) = (SortedPEE().extract(plane, usable) for plane in (u, v))
        if u.any() or v.any():
            raise ValueError("without what is hidden, the image is not grey")
        return without_change(luma, np.concatenate([in_u, in_v]))

    def _usable(self, luma: Plane) -> Bool[ndarray, "h w"]:
        """Where every U and V of `depth` bits stands for a colour.

        With both in -m to m - 1, `to_rgb` goes up to m - 1 below the luma and up to m above it.
        """
        reach = 2 ** (self.depth - 1)
        inside: Bool[ndarray, "h w"] = (luma >= reach - 1) & (luma <= 255 - reach)
        return inside


def to_yuv(rgb: Colour) -> tuple[Plane, Plane, Plane]:
    """Luma in 0 to 255, and U = B - G and V = R - G in -255 to 255."""
    red, green, blue = np.moveaxis(rgb.astype(np.int16), -1, 0)
    return (red + 2 * green + blue) // 4, blue - green, red - green


def to_rgb(luma: Plane, u: Plane, v: Plane) -> NDArray[Any]:
    """The inverse of `to_yuv`, int16 [h,w,3]; beyond 0 to 255 where they stand for no colour."""
    green = luma - (u + v) // 4
    return np.stack([v + green, green, u + green], axis=-1)
