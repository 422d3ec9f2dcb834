"""How alike a changed picture is to what it was: PSNR and SSIM."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Num
from numpy import ndarray
from skimage.metrics import structural_similarity

LEAST = 1e-3  # mean squared error in grey levels, so that what is alike has 78 dB and not infinity
WHITE = 255.0


def likeness(
    before: Num[ndarray, "h w"], after: Num[ndarray, "h w"], region: Bool[ndarray, "h w"] | None = None
) -> dict[str, float]:
    """PSNR in dB and SSIM (Wang et al., IEEE TIP 2004: Gaussian of sigma 1.5) of two grey pictures.

    Args:
        before: In 255 grey levels.
        after: The same.
        region: Adds `psnr_region`, `ssim_region`, `psnr_rest` and `ssim_rest`, in it and outside; where
            either is empty its values are left out. SSIM of a part is the mean of the map of the whole.

    Returns:
        `psnr`, at most 78, and `ssim`, with those of the parts.
    """
    before, after = before.astype(np.float64), after.astype(np.float64)
    ssim, every = structural_similarity(
        before,
        after,
        data_range=WHITE,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    error = (before - after) ** 2
    found = {"psnr": _decibels(error), "ssim": float(ssim)}
    if region is not None:
        for part, where in (("region", region), ("rest", ~region)):
            if where.any():
                found |= {f"psnr_{part}": _decibels(error[where]), f"ssim_{part}": float(every[where].mean())}
    return found


def _decibels(error: Num[ndarray, "..."]) -> float:
    return 10 * float(np.log10(WHITE**2 / max(float(error.mean()), LEAST)))
