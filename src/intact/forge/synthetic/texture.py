"""Foreign texture in islands: pieces of other normal images, altered, shine through Perlin masks.

Zavrtanik, Kristan, Skočaj, "DRAEM - A discriminatively trained reconstruction embedding for surface
anomaly detection", ICCV 2021, https://arxiv.org/abs/2108.07610; Chen, Luo, Lv, Zhang, "A Unified
Anomaly Synthesis Strategy with Gradient Ascent for Industrial Anomaly Detection and Localization"
(GLASS), ECCV 2024, https://arxiv.org/abs/2407.09359.

Differs from both: the texture comes from other normal images of the same batch instead of photographs of
surfaces (Describable Textures), and is moved cyclically by a random distance, as otherwise aligned images
would show the same anatomy inside the mask as outside. Changes of hue are left out, mirrored images are
among the changes. As in GLASS, masks keep to the foreground and are not empty; here it is found in the
image itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from intact.filters import smooth_upsample
from intact.forge.synthetic.made import Made
from intact.forge.synthetic.perlin import perlin_masks

Images = Float[Tensor, "n c h w"]
Change = Callable[[Images, torch.Generator], Images]

SMOOTHING = 1.0  # pixels
CHANGES = 3  # of those below, applied one after another to each texture
LEVELS = 256  # of brightness that equalising tells apart


def texture(
    images: Images, rng: torch.Generator, *, opacity: Float[Tensor, "n"], several: bool = False
) -> Made:
    """Every image with altered tissue of another one in islands; labels are 1 there.

    Args:
        images: In [0, 1].
        rng: Decides everything that is not given.
        opacity: Share of the texture in each image, in [0, 1]; where it is 0 the image stays as it is.
        several: Join or intersect two masks in some images; see `perlin_masks`.
    """
    return blended(images, altered(others(images, rng), rng), rng, opacity=opacity, several=several)


def blended(
    images: Images,
    sources: Images,
    rng: torch.Generator,
    *,
    opacity: Float[Tensor, "n"],
    several: bool = False,
) -> Made:
    """Each image with its source in islands within the body: (1 - opacity) image + opacity source."""
    masks = perlin_masks(enclosed(images).cpu(), rng, several=several).to(images.device)
    share = opacity.view(-1, 1, 1).to(images.device) * masks
    labels = (share > 0).float()
    return Made(torch.lerp(images, sources, share[:, None]), labels)


def enclosed(images: Images) -> Bool[Tensor, "n h w"]:
    """Places that lie between two bright ones in their row, and between two in their column.

    Bright is what exceeds half of the image's mean, after smoothing, which noise around the body does
    not. Dark organs inside it, such as lungs, are part of it.
    """
    smooth = smooth_upsample(images.mean(dim=1), (images.shape[2], images.shape[3]), SMOOTHING)
    bright = smooth > smooth.mean(dim=(1, 2), keepdim=True) / 2
    inside = torch.ones_like(bright)
    for axis in (1, 2):
        first = bright.byte().argmax(dim=axis, keepdim=True)
        last = bright.shape[axis] - 1 - bright.flip(axis).byte().argmax(dim=axis, keepdim=True)
        at = torch.arange(bright.shape[axis], device=images.device).view((-1, 1) if axis == 1 else (1, -1))
        inside &= (at >= first) & (at <= last) & bright.any(dim=axis, keepdim=True)
    return inside


def others(images: Images, rng: torch.Generator) -> Images:
    """For every image another one of the batch, moved by a random distance; itself if it is alone."""
    n, _, h, w = images.shape
    step = torch.randint(1, max(n, 2), (n,), generator=rng)
    chosen = images[(torch.arange(n) + step) % n]
    moves = torch.stack([torch.randint(side, (n,), generator=rng) for side in (h, w)], dim=1).tolist()
    return torch.stack([torch.roll(image, move, (1, 2)) for image, move in zip(chosen, moves, strict=True)])


def altered(images: Images, rng: torch.Generator) -> Images:
    """Each image after `CHANGES` different changes drawn at random, in random order; still in [0, 1]."""
    order = torch.rand(len(images), len(ALTERATIONS), generator=rng).argsort(dim=1)[:, :CHANGES]
    images = images.clone()
    for drawn in order.T:
        for number, change in enumerate(ALTERATIONS):
            which = (drawn == number).nonzero()[:, 0]
            if len(which):
                images[which] = change(images[which], rng).clamp(0, 1)
    return images


def _uniform(low: float, high: float, images: Images, rng: torch.Generator) -> Float[Tensor, "n 1 1 1"]:
    """A number for each image."""
    drawn = torch.empty(len(images), 1, 1, 1).uniform_(low, high, generator=rng)
    return drawn.to(images.device)


def gamma(images: Images, rng: torch.Generator) -> Images:
    """Values to the power of 0.5 to 2."""
    return images.pow(_uniform(0.5, 2.0, images, rng))


def brightness(images: Images, rng: torch.Generator) -> Images:
    """Times 0.8 to 1.2, plus up to 30 of 255 either way."""
    return images * _uniform(0.8, 1.2, images, rng) + _uniform(-30 / 255, 30 / 255, images, rng)


def sharpness(images: Images, rng: torch.Generator) -> Images:
    """From smoothed to as much sharper: the difference to a 3 x 3 mean times 0 to 2."""
    smooth = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    return torch.lerp(smooth, images, _uniform(0.0, 2.0, images, rng))


def solarised(images: Images, rng: torch.Generator) -> Images:
    """Values above a level of 32 to 128 of 255 reversed."""
    return torch.where(images >= _uniform(32 / 255, 128 / 255, images, rng), 1.0 - images, images)


def posterised(images: Images, rng: torch.Generator) -> Images:
    """Only 2, 4, 8, ... 128 levels of brightness left."""
    levels = 2.0 ** _uniform(1.0, 8.0, images, rng).floor()
    return (images * levels).floor().clamp(max=levels - 1) / (levels - 1)


def inverted(images: Images, rng: torch.Generator) -> Images:
    """Bright for dark."""
    return 1.0 - images


def stretched(images: Images, rng: torch.Generator) -> Images:
    """Each channel from 0 to 1."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    return (images - low) / (high - low).clamp(min=1e-6)


def equalised(images: Images, rng: torch.Generator) -> Images:
    """Each value of a channel becomes the share of pixels that are no brighter."""
    n, c, h, w = images.shape
    level = (images * (LEVELS - 1)).round().long().view(n * c, h * w)
    counts = torch.zeros(n * c, LEVELS, device=images.device).scatter_add_(
        1, level, torch.ones_like(images).view_as(level)
    )
    return (counts.cumsum(dim=1) / (h * w)).gather(1, level).view_as(images)


def turned(images: Images, rng: torch.Generator) -> Images:
    """Rotated by up to 45 degrees either way, border reflected."""
    angle = _uniform(-math.pi / 4, math.pi / 4, images, rng).view(-1)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    matrix = torch.stack([torch.stack([cos, -sin, zero], dim=1), torch.stack([sin, cos, zero], dim=1)], dim=1)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def mirrored(images: Images, rng: torch.Generator) -> Images:
    """Left for right."""
    return images.flip(3)


ALTERATIONS: tuple[Change, ...] = (
    gamma,
    brightness,
    sharpness,
    solarised,
    posterised,
    inverted,
    stretched,
    equalised,
    turned,
    mirrored,
)
