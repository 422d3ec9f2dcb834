"""Zernike moments of the disc around every pixel: their size does not change when the disc is turned.

Teague, "Image analysis via the general theory of moments", JOSA 70(8), 1980. The twelve moments up to
order 5 are correlations with fixed complex filters. Mirroring changes only the sign of their phase.
"""

from __future__ import annotations

from functools import cache, lru_cache
from math import factorial

import numpy as np
from jaxtyping import Bool, Complex, Float
from numpy import ndarray
from scipy import fft

# Order and repetition of the moments up to order 5. The first is the mean, which tells brightness.
ORDERS = ((0, 0), (1, 1), (2, 0), (2, 2), (3, 1), (3, 3), (4, 0), (4, 2), (4, 4), (5, 1), (5, 3), (5, 5))
Spectrum = Complex[ndarray, "h w"]
FINER = 8  # samples along each side of a pixel with which filters are integrated


def zernike(
    plane: Float[ndarray, "h w"], diameter: int, orders: tuple[tuple[int, int], ...] = ORDERS
) -> tuple[Float[ndarray, "k h w"], Float[ndarray, "k h w"]]:
    """Real and imaginary parts of the moments of the disc around every pixel, in the image's unit.

    Args:
        plane: float32.
        diameter: Of the disc in pixels; an even one is taken as one more.
        orders: Which moments.
    """
    radius = diameter // 2
    framed = np.pad(plane, radius, mode="reflect")
    shape = fft.next_fast_len(len(framed), real=True), fft.next_fast_len(framed.shape[1], real=True)
    waves = fft.rfft2(framed, shape)
    rows, columns = plane.shape
    real, imag = np.empty((2, len(orders), rows, columns), np.float32)
    for at, (order, repetition) in enumerate(orders):
        for part, bank in zip((real, imag), _spectra(order, repetition, diameter, shape), strict=True):
            # What goes around the ends is in the frame.
            part[at] = fft.irfft2(waves * bank, shape)[:rows, :columns]
    return real, imag


@lru_cache(maxsize=4 * len(ORDERS))  # images of one size follow each other
def _spectra(order: int, repetition: int, diameter: int, shape: tuple[int, int]) -> tuple[Spectrum, Spectrum]:
    """What waves are multiplied by to correlate, not convolve, with a filter's two parts: hence conj."""
    bank = zernike_filter(order, repetition, diameter)
    real, imag = (fft.rfft2(taps.astype(np.float32), shape).conj() for taps in (bank.real, bank.imag))
    return real, imag


def moments(
    plane: Float[ndarray, "h w"], diameter: int, chosen: Bool[ndarray, "h w"]
) -> Complex[ndarray, "n k"]:
    """All moments but the mean of the discs around chosen pixels, scaled to the same noise each.

    Discs of other diameters that show the same enlarged have moments of the same size.

    Args:
        plane: float32.
        diameter: Of the disc in pixels; an even one is taken as one more.
        chosen: The discs' middles.
    """
    parts = np.stack(zernike(plane, diameter, ORDERS[1:]), axis=-1)
    norms = np.sqrt([order + 1 for order, _ in ORDERS[1:]]).astype(np.float32)
    return np.ascontiguousarray(parts.view(np.complex64)[:, chosen, 0].T) / norms


@cache
def zernike_filter(order: int, repetition: int, diameter: int) -> Complex[ndarray, "s s"]:
    """The filter of one moment: (n+1)/pi R(rho) exp(-i m theta) over the disc; columns run along theta 0."""
    radius = diameter // 2
    side = 2 * radius + 1
    at = (np.arange(side * FINER) + 0.5) / FINER - side / 2
    rows, columns = at[:, None] / (side / 2), at[None, :] / (side / 2)
    rho, theta = np.hypot(rows, columns), np.arctan2(rows, columns)
    inside = (rho <= 1).astype(np.float64)
    values = _radial(order, repetition, rho) * np.exp(-1j * repetition * theta) * inside
    if order:  # what discs of one value give is 0, to the last bit
        values -= values.sum() / inside.sum() * inside
    taps = values.reshape(side, FINER, side, FINER).mean(axis=(1, 3))
    return (order + 1) / np.pi * taps * (2 / side) ** 2


def _radial(order: int, repetition: int, rho: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
    """Zernike's polynomial of the radius."""
    total = np.zeros_like(rho)
    for s in range((order - repetition) // 2 + 1):
        below = (
            factorial(s) * factorial((order + repetition) // 2 - s) * factorial((order - repetition) // 2 - s)
        )
        total += (-1) ** s * factorial(order - s) / below * rho ** (order - 2 * s)
    return total
