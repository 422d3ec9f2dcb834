"""The change in run lengths, hidden by shifting histograms: how NROI-AdvGAN makes its change reversible.

NROI-AdvGAN, J. Univ. Shanghai Sci. Technol. 2025, 47(5), 590-602, equations 15 to 18. The sizes and
the signs of the change are coded as runs (15) and hidden in the whole adversarial example, region of
interest included: what is above the most frequent value moves by one (16), as often as is needed.

Differs from the paper, as its equations do not give the original back:

- Values move towards one that does not occur, where (16) makes 256 of 255. If all occur, they move
  towards a rare one, whose pixels are told apart by flags.
- Everything that was moved is moved back, where (18) leaves what is more than one above the peak.
- The peak, the number of bits and the number of rounds, which the paper keeps nowhere, are hidden too.

As in the paper, nothing is checked: an image that was changed since may come back wrong without an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from intact.protect.coding import pack
from intact.protect.hiding import HistogramShifting
from intact.protect.reversible.base import Grey, Reversible, bits_of, without_change


@dataclass(frozen=True)
class NROIRAE(Reversible):
    """Hides the run lengths of adversarial - original.

    Args:
        passes: Rounds of shifting, at most. Chest X-rays of 224x224 pixels are full after 7 to 56.
    """

    passes: int = 64

    source: ClassVar[str] = "NROI-AdvGAN, J. Univ. Shanghai Sci. Technol. 47(5), 2025"
    attack: ClassVar[str] = "nroi_advgan"

    def _embed(self, original: Grey, adversarial: Grey) -> Grey:
        code = pack(adversarial.astype(np.int16) - original, coder="rle")
        return HistogramShifting(passes=self.passes).embed(adversarial, bits_of(code))

    def _restore(self, marked: Grey) -> Grey:
        """The original: the adversarial example less the change that is hidden in it."""
        return without_change(*HistogramShifting().extract(marked))
