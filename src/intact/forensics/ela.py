"""Error level analysis: how much a picture changes where it is compressed once more.

Krawetz, "A picture's worth: digital image analysis and forensics", Black Hat Briefings 2007. What was
compressed often changes less when it is compressed again at quality 90 than what was compressed once.

Differs from the paper, whose picture of errors is left to the eye: the change is divided by the local
gradient, as it is large at edges and in texture in any image; it is averaged over windows; and windows
are compared with the median of all windows that have some texture, in units of their spread. Pictures
are aligned to the grid that they have. Only images with a JPEG grid are examined: on others the change
measures texture and nothing else. Texture never goes out of it altogether, so there is no p-value: only
genuine images of the same kind tell what a score is worth.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from intact.forensics.base import Evidence, Examiner
from intact.forensics.jpeg.blocks import SIDE
from intact.forensics.jpeg.history import jpeg_history
from intact.image import Image

GROUND = 2.0  # grey levels added to the gradient, so that flat areas do not divide by nothing
SMOOTH = 1.0  # sigma of the blur before the gradient is taken, in pixels
WINDOW = 3 * SIDE  # pixels to a side
FINE, TEXTURE = 2.0, 0.7  # sigma of a blur in pixels; mean difference to it, in grey levels, that is texture
FEWEST = 16  # windows that have texture
LEAST_SPREAD = 0.04  # of changes over gradients: less is the doing of rounding
SHOWN = (3.0, 8.0)  # spreads from the median that are black and white in the map
_MAD = 1.4826  # standard deviation of a normal distribution over its median absolute deviation

Plane = Float[ndarray, "h w"]


@dataclass(eq=False)
class ELA(Examiner):
    """Shows regions that change more, or less, than the rest when they are compressed again.

    Args:
        quality: Of that compression, 1 to 100.
    """

    kind = "compression"
    source = "Krawetz, Black Hat Briefings 2007"
    compares = True

    quality: int = 90

    def _examine(self, plane: Plane, valid: Bool[ndarray, "h w"], image: Image) -> Evidence:
        history = jpeg_history(plane, image)
        if isinstance(history, str):
            return self._abstain(f"{history}; what was not shows its texture as error level")
        luma = history.luma
        level = self._error_level(luma, history.origin)
        textured = _windows(np.abs(luma - cv2.GaussianBlur(luma, (0, 0), FINE))) > TEXTURE
        if np.count_nonzero(textured) < FEWEST * WINDOW**2:
            return self._abstain("hardly anything in the image has texture")
        median = float(np.median(level[textured]))
        spread = max(_MAD * float(np.median(np.abs(level[textured] - median))), LEAST_SPREAD)
        off = np.where(textured, np.abs(level - median) / spread, 0.0)
        row, column = np.unravel_index(int(off.argmax()), off.shape)
        black, white = SHOWN
        shown = np.clip((off - black) / (white - black), 0, 1).astype(np.float32)
        said = (
            f"When the image is compressed at quality {self.quality}, the surroundings of row {row}, column "
            f"{column} change by {level[row, column]:.2f} of their gradient, and the image by {median:.2f}: "
            f"{off.max():.1f} times its spread. Texture alone can do this; it is a hint where to look."
        )
        return Evidence(self.kind, float(off.max()), shown, said)

    def _error_level(self, luma: Plane, origin: tuple[int, int]) -> Plane:
        """Mean change of a window by compression on the image's own grid, over the gradient."""
        height, width = luma.shape
        top, left = (-start % SIDE for start in origin)
        bottom, right = -(height + top) % SIDE, -(width + left) % SIDE
        padded = cv2.copyMakeBorder(
            luma.astype(np.uint8), top, bottom, left, right, borderType=cv2.BORDER_REPLICATE
        )
        _, data = cv2.imencode(".jpg", padded, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        again = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))[top : top + height, left : left + width]
        down, across = np.gradient(cv2.GaussianBlur(luma, (0, 0), SMOOTH))
        return _windows(np.abs(again - luma) / (np.hypot(down, across) + GROUND))


def _windows(values: Plane) -> Plane:
    """The mean of the window around every pixel."""
    return np.asarray(cv2.blur(values, (WINDOW, WINDOW)))
