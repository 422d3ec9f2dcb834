"""Five kinds of synthetic anomalies, the same in images and in volumes.

Baugh, Tan, Müller, Dombrowski, Batten, Kainz, "Many tasks make light work: Learning to localise medical
anomalies from multiple synthetic tasks", MICCAI 2023, https://arxiv.org/abs/2307.00899. Numbers are
those of the authors' code (matt-baugh/many-tasks-make-light-work); the paper was not at hand.

Differs from that code: shapes are not sheared, and patches neither turned nor resized; what is blended
in from another data set there is smooth noise here; a deformation starts in the middle of its shape, not
anywhere in it, and its strength is a power drawn at random, not a length in pixels; holes in labels are not
filled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from torch import Tensor

from intact.forge.synthetic.made import Made
from intact.forge.synthetic.seamless import solve_box

MOST = 4  # anomalies per image: the first always, each other with probability 1/2
SIDES = (0.06, 0.8)  # least and greatest side of an anomaly, as a share of the image's
ATTEMPTS = 50  # at a place where half of an anomaly lies on the body
BODY = 0.02  # what is brighter is body; around it images are filled with 0
POWERS = (0.5, 2.0)  # of 2, the exponent of a deformation
SMOOTH = (0.7, 3.0)  # pixels: standard deviation of the Gaussian that smooths foreign noise

Patch = Float[ndarray, "c *space"]


@dataclass(frozen=True)
class Shape:
    """An ellipsoid or a box, turned and put somewhere into an image.

    Args:
        box: The part of the image that it lies in.
        gauge: How far each pixel of the box is from the middle: 1 on the surface.
        away: Pixels from the middle to each pixel of the box, one row per axis.
    """

    box: tuple[slice, ...]
    gauge: Float[ndarray, "*space"]
    away: Float[ndarray, "axes *space"]

    @property
    def inside(self) -> Bool[ndarray, "*space"]:
        """The pixels of the box that belong to it."""
        return self.gauge < 1


def draw_shape(rng: np.random.Generator, body: Bool[ndarray, "*space"]) -> Shape:
    """A shape at least half of which lies on the body, if such a place is soon found."""
    sides = np.array(body.shape)
    halves = rng.uniform(*SIDES, len(sides)) * sides / 2
    turn = np.linalg.qr(rng.standard_normal((len(sides), len(sides))))[0]
    round_one = rng.random() < 0.5
    reach = np.linalg.norm(turn * halves, axis=1) if round_one else np.abs(turn * halves).sum(axis=1)
    shrink = min(1.0, float((SIDES[1] * sides / 2 / reach).min()))
    halves, reach = halves * shrink, np.maximum(reach * shrink, 1.0)
    lengths = np.minimum(2 * np.ceil(reach).astype(int) + 1, sides)
    away = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in lengths), indexing="ij"))
    own = np.tensordot(turn.T, away, 1) / np.maximum(halves, 1.0).reshape(-1, *[1] * len(sides))
    gauge = np.linalg.norm(own, axis=0) if round_one else np.abs(own).max(axis=0)
    for _ in range(ATTEMPTS):
        corner = rng.integers(0, sides - lengths, endpoint=True)
        box = tuple(slice(c, c + n) for c, n in zip(corner, lengths, strict=True))
        if body[box][gauge < 1].mean() >= 0.5:
            break
    return Shape(box, gauge, away)


def blend(patch: Patch, other: Patch, shape: Shape, rng: np.random.Generator) -> Patch:
    """A piece of another image without a seam: of each two steps between neighbours the stronger counts."""
    return np.stack([seamless(one, two, shape.inside) for one, two in zip(patch, other, strict=True)])


def foreign(patch: Patch, other: Patch, shape: Shape, rng: np.random.Generator) -> Patch:
    """Smooth noise, blended in the same way."""
    noise = gaussian_filter(rng.standard_normal(patch.shape[1:]), rng.uniform(*SMOOTH))
    texture = rng.uniform(0.05, 0.25) * noise / max(float(noise.std()), 1e-6)
    return blend(patch, np.broadcast_to(texture, patch.shape), shape, rng)


def sink(patch: Patch, other: Patch, shape: Shape, rng: np.random.Generator) -> Patch:
    """All in the shape is drawn towards its middle."""
    power = 2 ** rng.uniform(*POWERS)
    return deformed(patch, shape, 1 - (1 - shape.gauge.clip(0, 1)) ** power)


def source(patch: Patch, other: Patch, shape: Shape, rng: np.random.Generator) -> Patch:
    """All in the shape is pushed away from its middle."""
    return deformed(patch, shape, shape.gauge.clip(0, 1) ** (2 ** rng.uniform(*POWERS)))


def intensity(patch: Patch, other: Patch, shape: Shape, rng: np.random.Generator, scale: float) -> Patch:
    """Brighter or darker, fading towards the surface."""
    depth = distance_transform_edt(np.pad(shape.inside, 1))[(slice(1, -1),) * shape.gauge.ndim]
    fade = np.minimum(max(patch.shape[1:]) * (0.02 + rng.gamma(3, 0.01)), depth.max())
    change = (scale / 2 + rng.gamma(3, scale)) * rng.choice([1.0, -1.0])
    return patch + change * np.minimum(depth / fade, 1)


TASKS: dict[str, Callable[..., Patch]] = {
    "blend": blend,
    "foreign": foreign,
    "sink": sink,
    "source": source,
    "intensity": intensity,
}


def make_many(
    images: Float[Tensor, "n c *space"], rng: np.random.Generator, tasks: Sequence[str], scale: float
) -> Made:
    """Images with one to four anomalies of one kind each.

    Args:
        images: float32 in [0, 1]; another one of them is what patches are taken from.
        rng: Decides everything.
        tasks: Keys of `TASKS`, one drawn for each image.
        scale: Change in brightness that counts as large: the label is 1 - exp(-change² / (2 scale²)).
    """
    normal = images.numpy()
    changed = np.stack([_changed(normal, number, rng, tasks, scale) for number in range(len(normal))])
    change = np.abs(changed - normal).mean(axis=1)
    labels = 1 - np.exp(-(change**2) / (2 * scale**2))
    return Made(torch.from_numpy(changed), torch.from_numpy(labels.astype(np.float32)))


def _changed(
    normal: Float[ndarray, "n c *space"],
    number: int,
    rng: np.random.Generator,
    tasks: Sequence[str],
    scale: float,
) -> Patch:
    image = normal[number].copy()
    task = str(rng.choice(list(tasks)))
    own = {"scale": scale} if task == "intensity" else {}
    for _ in range(MOST):
        shape = draw_shape(rng, normal[number].mean(axis=0) > BODY)
        other = normal[(number + rng.integers(1, max(2, len(normal)))) % len(normal)]
        box = (slice(None), *shape.box)
        patch = TASKS[task](image[box], _elsewhere(other, shape, rng), shape, rng, **own)
        image[box] = np.clip(patch, 0, 1)
        if rng.random() > 0.5:
            break
    return image


def _elsewhere(other: Patch, shape: Shape, rng: np.random.Generator) -> Patch:
    """A patch of the shape's size, from anywhere in another image."""
    lengths = np.array(shape.gauge.shape)
    corner = rng.integers(0, np.array(other.shape[1:]) - lengths, endpoint=True)
    return other[(slice(None), *(slice(c, c + n) for c, n in zip(corner, lengths, strict=True)))]


def deformed(patch: Patch, shape: Shape, comes_from: Float[ndarray, "*space"]) -> Patch:
    """The patch with every pixel of the shape taken from where, on its ray, the gauge is `comes_from`."""
    middle = (np.array(shape.gauge.shape).reshape(-1, *[1] * shape.gauge.ndim) - 1) / 2
    longer = np.where(shape.inside, comes_from / np.maximum(shape.gauge, 1e-9), 1.0)
    places = middle + shape.away * longer
    return np.stack([map_coordinates(one, places, order=1, mode="nearest") for one in patch])


def seamless(
    host: Float[ndarray, "*space"], guest: Float[ndarray, "*space"], inside: Bool[ndarray, "*space"]
) -> Float[ndarray, "*space"]:
    """`host` with the steps of `guest` wherever, inside, those are stronger, and as it was around the patch.

    Solves Poisson's equation for what is added, which is 0 just outside the patch, by sine transforms.

    Source: Pérez, Gangnet, Blake, "Poisson image editing", SIGGRAPH 2003, Eq. 12 (mixed gradients).
    """
    divergence = np.zeros(host.shape)
    for axis in range(host.ndim):
        once = [(1, 1) if a == axis else (0, 0) for a in range(host.ndim)]
        within = np.pad(inside, once)
        both = np.minimum(*_neighbours(within, axis))
        ours, theirs = (np.diff(np.pad(one, once, mode="edge"), axis=axis) for one in (host, guest))
        stronger = np.where(both & (np.abs(theirs) > np.abs(ours)), theirs - ours, 0.0)
        divergence += np.diff(stronger, axis=axis)
    return host + solve_box(-divergence, host.ndim)


def _neighbours(mask: Bool[ndarray, "*space"], axis: int) -> tuple[ndarray, ndarray]:
    first = [slice(None)] * mask.ndim
    second = list(first)
    first[axis], second[axis] = slice(None, -1), slice(1, None)
    return mask[tuple(first)], mask[tuple(second)]
