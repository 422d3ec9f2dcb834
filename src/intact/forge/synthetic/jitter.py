"""Random changes of brightness, contrast and colour, each up to the same strength, in random order.

What torchvision's `ColorJitter` does. In grey images there is no colour to change.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

Picture = Float[ndarray, "c h w"]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]  # ITU-R BT.601


def jittered(picture: Picture, rng: np.random.Generator, strength: float) -> Picture:
    """A changed copy in [0, 1], of the same type.

    Args:
        picture: Values in [0, 1], 1 or 3 channels.
        rng: Draws the order and the amounts, each uniform in `strength` to either side.
        strength: Share by which brightness, contrast and saturation change, and of the colour circle.
    """
    changes = CHANGES if len(picture) == 3 else CHANGES[:2]
    for k in rng.permutation(len(changes)):
        picture = changes[k](picture, rng.uniform(-strength, strength)).clip(0.0, 1.0).astype(picture.dtype)
    return picture


def _brightness(picture: Picture, amount: float) -> Picture:
    return (1.0 + amount) * picture


def _contrast(picture: Picture, amount: float) -> Picture:
    mean = _grey(picture).mean()
    return mean + (1.0 + amount) * (picture - mean)


def _saturation(picture: Picture, amount: float) -> Picture:
    grey = _grey(picture)
    return grey + (1.0 + amount) * (picture - grey)


def _hue(picture: Picture, amount: float) -> Picture:
    circle = cv2.cvtColor(picture.transpose(1, 2, 0).astype(np.float32), cv2.COLOR_RGB2HSV)
    circle[..., 0] = (circle[..., 0] + 360.0 * amount) % 360.0
    return cv2.cvtColor(circle, cv2.COLOR_HSV2RGB).transpose(2, 0, 1)


def _grey(picture: Picture) -> Picture:
    return (LUMA * picture).sum(axis=0, keepdims=True) if len(picture) == 3 else picture


CHANGES: tuple[Callable[[Picture, float], Picture], ...] = (_brightness, _contrast, _saturation, _hue)
