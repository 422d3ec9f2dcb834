"""What every maker of synthetic anomalies gives back."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Made(NamedTuple):
    """Images with something in them that does not belong there, and where it is.

    Args:
        images: float32 in [0, 1].
        labels: float32 in [0, 1]: 0 where an image is as it was, larger the more was changed.
    """

    images: Float[Tensor, "n c *d h w"]
    labels: Float[Tensor, "n *d h w"]
