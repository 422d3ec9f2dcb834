"""The noise that the public attack on chest CT copies: from one fixed place into what it made.

Mirsky et al., "CT-GAN", USENIX Security 2019, touch up what their network made with noise cut from a
voxel at 0.5, 0.43 and 0.27 of the scan's planes, rows and columns. Noise never repeats, so what lies
there is like nothing else in a genuine scan, however symmetric. Every place of the scan is compared
with it at once, by Fourier transforms. An attack so near that it changed what it copied is not found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import fft, ndimage, stats

from intact.forensics.base import Evidence, Examiner
from intact.image import Image
from intact.residual import without_structure

NOISE_AT = (0.5, 0.43, 0.27)  # of the scan's planes, rows and columns (the authors' code)
CORE = 7.0  # mm, the side of the cube that is compared: inside of all but the smallest nodules
FEWEST = 200  # voxels that such a cube needs
BLUR = 0.9  # sigma of the blur whose difference to a slice counts as noise, in pixels
COPIED = 0.4  # correlation above which noise was copied
STRUCTURE = 0.1  # of the cube, at most: what is no noise is like other edges, not copied
BESIDE, FALLS_TO = 2, 0.6  # voxels away from a copy its likeness is gone; of an edge, it is not
SURE = 1e-6  # how often chance may give as much, over all places

Cube = Float[ndarray, "d h w"]


@dataclass(eq=False)
class CopiedNoise(Examiner):
    """Finds where a volume repeats the noise of the place that the public CT-GAN code copies from."""

    kind = "noise"
    source = "traces of Mirsky et al., USENIX Security 2019"
    volumes = True

    def _examine(self, plane: Float[ndarray, "..."], valid: Bool[ndarray, "..."], image: Image) -> Evidence:
        if len(image.shape) != 3 or image.spacing is None or len(image.spacing) != 3 or image.colour:
            return self._abstain("the attack is one on volumes of known spacing")
        size = tuple(max(3, round(CORE / step) | 1) for step in image.spacing)
        if math.prod(size) < FEWEST:
            return self._abstain(f"a cube of {CORE:g} mm has only {math.prod(size)} voxels here")
        noise = fine_structure(plane)
        centre = tuple(int(n * share) for n, share in zip(plane.shape, NOISE_AT, strict=True))
        box = tuple(slice(at - n // 2, at + n // 2 + 1) for at, n in zip(centre, size, strict=True))
        if any(part.start < 0 or part.stop > n for part, n in zip(box, plane.shape, strict=True)):
            return self._abstain("the volume is smaller than the cube that would have been copied")
        template = noise[box]
        if not template.std() or not noise.std():
            return self._abstain("there is no noise at the place that would have been copied")
        if (np.abs(template) >= np.abs(noise).max()).mean() > STRUCTURE:
            return self._abstain("vessels or bone lie at the place that would have been copied")
        alike = correlate(noise, template)
        near = tuple(slice(max(at - n, 0), at + n + 1) for at, n in zip(centre, size, strict=True))
        alike[near] = 0.0
        place = tuple(int(at) for at in np.unravel_index(int(alike.argmax()), alike.shape))
        return self._told(alike, place, size)

    def _told(self, alike: Cube, place: tuple[int, ...], size: tuple[int, ...]) -> Evidence:
        best = float(alike[place])
        # All other places show how much chance gives, in noise as it is here.
        spread = 1.4826 * float(np.median(np.abs(alike[alike != 0])))
        p_value = min(1.0, alike.size * float(stats.norm.sf(best / spread)))
        found = np.zeros(alike.shape, np.float32)
        if best < COPIED or p_value > SURE or _beside(alike, place) > FALLS_TO * best:
            said = "Nowhere does the noise repeat that of the place which the CT-GAN attack copies from."
            return Evidence(self.kind, max(best, 0.0), found, said, p_value=p_value)
        box = tuple(slice(max(at - n // 2, 0), at + n // 2 + 1) for at, n in zip(place, size, strict=True))
        found[box] = best
        said = (
            f"Around plane {place[0] + 1}, row {place[1]}, column {place[2]} the noise is that of the place "
            f"which the CT-GAN attack copies from (correlation {best:.2f}, {best / spread:.0f} standard "
            "deviations above chance)."
        )
        return Evidence(self.kind, best, found, said, p_value=p_value)


def _beside(alike: Cube, place: tuple[int, ...]) -> float:
    """The highest correlation some voxels along each axis away from a place."""
    values = []
    for axis, step in np.ndindex(3, 2):
        beside = list(place)
        beside[axis] = int(np.clip(place[axis] + (2 * step - 1) * BESIDE, 0, alike.shape[axis] - 1))
        values.append(float(alike[tuple(beside)]))
    return max(values)


def fine_structure(volume: Cube) -> Cube:
    """A volume less the blur of its slices; anatomy's edges are cut to what noise could be."""
    return without_structure(np.stack([one - cv2.GaussianBlur(one, (0, 0), BLUR) for one in volume]))


def correlate(volume: Cube, template: Cube) -> Cube:
    """The correlation of a template with what is around every voxel, -1 to 1; 0 where it sticks out."""
    size = template.shape
    padded = [fft.next_fast_len(n + m - 1, real=True) for n, m in zip(volume.shape, size, strict=True)]
    centred = template - template.mean()
    product = fft.rfftn(volume, padded) * np.conj(fft.rfftn(centred, padded))
    valid = tuple(slice(0, n - m + 1) for n, m in zip(volume.shape, size, strict=True))
    numerator = fft.irfftn(product, padded)[valid]
    mean, square = (
        ndimage.uniform_filter(values, size, mode="constant") for values in (volume, volume * volume)
    )
    inner = tuple(slice(m // 2, n - m // 2) for n, m in zip(volume.shape, size, strict=True))
    spread = np.sqrt(np.maximum(square - mean * mean, 0)[inner] * template.size)
    alike = np.zeros(volume.shape, np.float32)
    norm = float(np.linalg.norm(centred))
    # Where there is hardly any structure, rounding would be compared.
    floor = 0.05 * float(np.median(spread))
    alike[inner] = np.where(spread > floor, numerator / np.maximum(spread * norm, 1e-12), 0.0)
    return alike
