"""CutPaste: a piece of an image is cut out and pasted elsewhere in the same image.

Li, Sohn, Yoon, Pfister, "CutPaste: Self-Supervised Learning for Anomaly Detection and Localization",
CVPR 2021, https://arxiv.org/abs/2104.04015. Sizes and jitter are those that an unofficial
implementation took over from the paper (Runinho/pytorch-cutpaste).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage
from torch import Tensor

from intact.forge.synthetic.jitter import Picture, jittered
from intact.forge.synthetic.made import Made

SIDE = 256  # of the paper's images, in whose pixels it gives the sizes of scars


def cut_paste(
    images: Float[Tensor, "n c h w"],
    rng: np.random.Generator,
    *,
    area: tuple[float, float] = (0.02, 0.15),
    aspect: float = 0.3,
    jitter: float = 0.1,
) -> Made:
    """Paste a rectangle over another place of each image.

    Args:
        images: In [0, 1].
        rng: Draws everything.
        area: Least and greatest area, as shares of the image's.
        aspect: Width over height is between this and its inverse, uniform in its logarithm.
        jitter: Strength of the changes of brightness and colour.
    """
    pictures = images.numpy(force=True).copy()
    labels = np.zeros((len(pictures), *pictures.shape[2:]), np.float32)
    for picture, label in zip(pictures, labels, strict=True):
        patch = jittered(cut(picture, patch_sides(label.shape, rng, area, aspect), rng), rng, jitter)
        _paste(picture, label, patch, np.ones(patch.shape[1:], bool), rng)
    return Made(torch.from_numpy(pictures).to(images), torch.from_numpy(labels).to(images))


def cut_paste_scar(
    images: Float[Tensor, "n c h w"],
    rng: np.random.Generator,
    *,
    widths: tuple[float, float] = (2.0, 16.0),
    lengths: tuple[float, float] = (10.0, 25.0),
    turn: float = 45.0,
    jitter: float = 0.1,
) -> Made:
    """Paste a turned, long and thin rectangle over another place of each image.

    Args:
        images: In [0, 1].
        rng: Draws everything.
        widths: Least and greatest width, in pixels of an image with 256 rows.
        lengths: Least and greatest length, likewise.
        turn: The most it is turned to either side, in degrees.
        jitter: Strength of the changes of brightness and colour.
    """
    pictures = images.numpy(force=True).copy()
    labels = np.zeros((len(pictures), *pictures.shape[2:]), np.float32)
    for picture, label in zip(pictures, labels, strict=True):
        scale = len(label) / SIDE
        sides = max(1, round(scale * rng.uniform(*lengths))), max(1, round(scale * rng.uniform(*widths)))
        patch = jittered(cut(picture, sides, rng), rng, jitter)
        angle = rng.uniform(-turn, turn)
        mask = _turned(np.ones((1, *sides), np.float32), angle)[0] > 0
        _paste(picture, label, _turned(patch, angle), mask, rng)
    return Made(torch.from_numpy(pictures).to(images), torch.from_numpy(labels).to(images))


def patch_sides(
    size: tuple[int, ...], rng: np.random.Generator, area: tuple[float, float], aspect: float
) -> tuple[int, int]:
    """Rows and columns of a rectangle of random area and shape that fits into an image."""
    rows, columns = size
    pixels = rng.uniform(*area) * rows * columns
    width_over_height = np.exp(rng.uniform(np.log(aspect), -np.log(aspect)))
    height = round(float(np.sqrt(pixels / width_over_height)))
    width = round(float(np.sqrt(pixels * width_over_height)))
    return min(max(height, 1), rows), min(max(width, 1), columns)


def cut(picture: Picture, sides: tuple[int, int], rng: np.random.Generator) -> Float[ndarray, "c _ _"]:
    """A rectangle with these sides from a random place."""
    top, left = place(picture.shape[1:], sides, rng)
    return picture[:, top : top + sides[0], left : left + sides[1]].copy()


def place(size: tuple[int, ...], sides: tuple[int, ...], rng: np.random.Generator) -> tuple[int, int]:
    """Upper left corner of a rectangle anywhere inside the image."""
    return int(rng.integers(size[0] - sides[0] + 1)), int(rng.integers(size[1] - sides[1] + 1))


def _turned(patch: Float[ndarray, "c _ _"], degrees: float) -> Float[ndarray, "c _ _"]:
    """By the nearest pixel, in a larger box of zeros."""
    return ndimage.rotate(patch, degrees, axes=(1, 2), order=0, mode="grid-constant")


def _paste(picture: Picture, label: ndarray, patch: Picture, mask: ndarray, rng: np.random.Generator) -> None:
    """Put the masked part of the patch somewhere into the picture, and mark it in the label."""
    rows, columns = mask.shape
    top, left = place(label.shape, mask.shape, rng)
    box = (slice(top, top + rows), slice(left, left + columns))
    np.copyto(picture[(slice(None), *box)], patch, where=mask)
    label[box][mask] = 1.0
