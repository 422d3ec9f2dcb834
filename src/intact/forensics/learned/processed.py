"""Twelve kinds of processing of a patch, each as strong as chance has it: what a forger's tools leave.

They leave the picture as it is and change its traces, so that whoever learns to tell them apart learns
traces, not anatomy. Strengths go by the noise of the patch, as card 0.3 of the forensics reference has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from intact.filters import gaussian_blur, median_blur, upsample
from intact.nets.jpeg_like import SIDE, quantised
from intact.residual import noise_sigma

QUIET = 0.01  # the least noise that is reckoned with, of values from -1 to 1

Patch = Float[Tensor, "1 h w"]


@dataclass(frozen=True)
class Given:
    """What a kind of processing may use.

    Args:
        patch: Prepared values.
        other: Another patch of the same shape.
        strength: 0 to 1.
        noise: Standard deviation of the patch's noise.
        rng: Chance.
    """

    patch: Patch
    other: Patch
    strength: float
    noise: float
    rng: torch.Generator


def _blurred(given: Given) -> Patch:
    return gaussian_blur(given.patch, 0.4 + 1.6 * given.strength)


def _median(given: Given) -> Patch:
    return median_blur(given.patch, 3 if given.strength < 0.5 else 5)


def _sharpened(given: Given) -> Patch:
    return given.patch + (0.5 + given.strength) * (given.patch - gaussian_blur(given.patch, 1.0))


def _noisy(given: Given) -> Patch:
    fresh = torch.randn(given.patch.shape, generator=given.rng)
    return given.patch + (0.3 + 1.2 * given.strength) * given.noise * fresh


def _denoised(given: Given) -> Patch:
    """Detail that noise could be is taken away."""
    detail = given.patch - gaussian_blur(given.patch, 1.0)
    most = (1.0 + 2.0 * given.strength) * given.noise
    return given.patch - detail.clamp(-most, most)


def _resampled(given: Given) -> Patch:
    """Made smaller and larger again."""
    height, width = given.patch.shape[-2:]
    factor = 0.95 - 0.45 * given.strength
    smaller = upsample(given.patch, (round(factor * height), round(factor * width)))
    return upsample(smaller, (height, width))


def _shifted(given: Given) -> Patch:
    """By a part of a pixel."""
    part = 0.2 + 0.3 * given.strength
    padded = F.pad(given.patch[None], (0, 1, 0, 1), mode="replicate")[0]
    down = (1.0 - part) * padded[:, :-1] + part * padded[:, 1:]
    return (1.0 - part) * down[:, :, :-1] + part * down[:, :, 1:]


def _compressed(given: Given) -> Patch:
    """As by JPEG, high frequencies more coarsely."""
    at = torch.arange(SIDE, dtype=torch.float32)
    steps = given.noise * (1.0 + 4.0 * given.strength) * (1.0 + (at[:, None] + at) / SIDE)
    return quantised(given.patch, steps[None])


def _coarse(given: Given) -> Patch:
    """Fewer grey levels."""
    step = given.noise * (0.5 + 2.5 * given.strength)
    return (given.patch / step).round() * step


def _curved(given: Given) -> Patch:
    """A curve of contrast."""
    bend = 0.2 + 0.4 * given.strength
    return given.patch + bend * given.patch * (1.0 - given.patch.clamp(-1, 1).abs())


def _foreign(given: Given) -> Patch:
    """The fine detail of another image."""
    sigma = 1.0 + given.strength
    detail = given.other - gaussian_blur(given.other, sigma)
    return gaussian_blur(given.patch, sigma) + detail


def _redrawn(given: Given) -> Patch:
    """As by a generator: smooth anatomy, with noise that has no relation to it."""
    fresh = torch.randn(given.patch.shape, generator=given.rng)
    return gaussian_blur(given.patch, 2.0) + (0.3 + given.strength) * given.noise * fresh


KINDS: tuple[Callable[[Given], Patch], ...] = (
    _blurred, _median, _sharpened, _noisy, _denoised, _resampled,
    _shifted, _compressed, _coarse, _curved, _foreign, _redrawn,
)  # fmt: skip


def processed(
    patches: Float[Tensor, "n h w"], kinds: list[int], rng: torch.Generator
) -> Float[Tensor, "n h w"]:
    """Each patch after its kind of processing; the next one is the other image.

    Args:
        patches: On the CPU.
        kinds: Numbers in `KINDS`, one for each patch.
        rng: Decides strengths and noise.
    """
    strengths = torch.rand(len(patches), generator=rng).tolist()
    others = patches.roll(1, dims=0)
    done = []
    for patch, other, kind, strength in zip(patches, others, kinds, strengths, strict=True):
        noise = max(QUIET, noise_sigma(patch.numpy()))
        done.append(KINDS[kind](Given(patch[None], other[None], strength, noise, rng)))
    return torch.cat(done)
