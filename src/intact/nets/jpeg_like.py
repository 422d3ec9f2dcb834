"""What JPEG does to a plane of values: cosine coefficients of 8 x 8 blocks are rounded to steps."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.fft import dct
from torch import Tensor

SIDE = 8  # pixels of a block


def quantised(
    x: Float[Tensor, "n h w"], steps: Float[Tensor, "n 8 8"], origin: tuple[int, int] = (0, 0)
) -> Float[Tensor, "n h w"]:
    """As they come back from JPEG, but for the rounding of values and the cutting off at black and white.

    Whole blocks are needed, so borders are repeated outwards.

    Args:
        x: Planes, 0 being the middle grey.
        steps: Of each plane's coefficients, in the unit of its values; rows are frequencies down.
        origin: Row and column where a first whole block begins, each 0 to 7.
    """
    height, width = x.shape[-2:]
    top, left = (-n % SIDE for n in origin)
    below, right = (-(n + before) % SIDE for n, before in ((height, top), (width, left)))
    padded = F.pad(x[:, None], (left, right, top, below), mode="replicate")[:, 0]
    waves = torch.from_numpy(dct(np.eye(SIDE), norm="ortho", axis=0)).to(x)
    blocks = padded.unflatten(1, (-1, SIDE)).unflatten(3, (-1, SIDE)).transpose(2, 3)
    step = steps[:, None, None]
    rounded = torch.round(waves @ blocks @ waves.T / step) * step
    back = (waves.T @ rounded @ waves).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return back[:, top : top + height, left : left + width]
