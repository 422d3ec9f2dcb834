"""Make the backbone that Intact ships: a small ResNet that learned on made images only.

    INTACT_WEIGHTS=... python tools/pretrain.py OUT.safetensors [--images 5000] [--minutes 22]

The pupil (`narrow_resnet18`: ResNet-18 up to layer3 at half the width) learns to predict, at every
position, what a teacher sees there: the maps of layer2 and layer3 of ResNet-18 trained on
ImageNet. No photograph and no patient is looked at: the images are the phantoms of
`intact.data.phantom` and procedural pictures (overlapping shapes with textures, coloured noise,
contour lines, vessels), varied anew at every step. With four minutes to make
the images, half an hour on two cores; what is shipped took 4,906 steps.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing as mp
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as Raster
from PIL import ImageDraw
from scipy import ndimage
from torch import Tensor, nn

from intact.data.phantom import brain_mr, chest_xray, thorax_ct
from intact.data.transforms import choose_preparation
from intact.nets.features import FrozenFeatures, build_backbone

SIDE = 256  # of the made images
CROP = 176  # of what the networks see
LAYERS = ("layer2", "layer3")
BATCH = 32
Grey = NDArray[np.float32]


# Procedural pictures: float32 (SIDE, SIDE) in [0, 1].


def coloured_noise(rng: np.random.Generator) -> Grey:
    """Gaussian noise with a 1/f^a spectrum, stretched along a random direction."""
    fy, fx = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.rfftfreq(SIDE), indexing="ij")
    angle, stretch = rng.uniform(0, math.pi), 2 ** rng.uniform(0, 2)
    u, v = fx * math.cos(angle) + fy * math.sin(angle), -fx * math.sin(angle) + fy * math.cos(angle)
    frequency = np.hypot(u * stretch, v) + 1 / SIDE
    spectrum = np.fft.rfft2(rng.standard_normal((SIDE, SIDE))) * frequency ** -rng.uniform(0.5, 2.5)
    return _stretched(np.fft.irfft2(spectrum, (SIDE, SIDE)))


def contours(rng: np.random.Generator) -> Grey:
    """Lines of equal height of a smooth landscape."""
    field = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), rng.uniform(6, 24), mode="wrap")
    waves = np.sin(_stretched(field) * rng.uniform(8, 60))
    return _stretched(waves if rng.random() < 0.5 else waves > rng.uniform(-0.7, 0.7))


def vessels(rng: np.random.Generator) -> Grey:
    """Winding branches on a soft ground."""
    canvas = Raster.new("L", (SIDE, SIDE))
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(3, 14)):
        turns = np.cumsum(rng.normal(0, 0.25, 60)) + rng.uniform(0, 2 * math.pi)
        steps = rng.uniform(2, 7) * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        points = rng.uniform(0, SIDE, 2) + np.cumsum(steps, axis=0)
        draw.line([tuple(p) for p in points], fill=int(rng.integers(80, 256)), width=int(rng.integers(1, 10)))
    lines = ndimage.gaussian_filter(np.asarray(canvas, np.float32) / 255, rng.uniform(0.4, 2.5))
    return _stretched(rng.choice([-1, 1]) * lines + rng.uniform(0.2, 1) * coloured_noise(rng))


def dead_leaves(rng: np.random.Generator) -> Grey:
    """Shapes of all sizes covering each other, each with its own grey and texture."""
    canvas = Raster.new("I", (2 * SIDE, 2 * SIDE))
    draw = ImageDraw.Draw(canvas)
    count = int(rng.integers(8, 160))
    for leaf in range(1, count):
        radius = min(12 * (1 - rng.random()) ** -0.7, 220)
        y, x = rng.uniform(0, 2 * SIDE, 2)
        if rng.random() < 0.5:
            a, b = radius * rng.uniform(0.4, 1), radius
            draw.ellipse([x - a, y - b, x + a, y + b], fill=leaf)
        else:
            angles = np.sort(rng.uniform(0, 2 * math.pi, rng.integers(3, 12)))
            corners = [(x + radius * math.cos(t), y + radius * math.sin(t)) for t in angles]
            draw.polygon(corners, fill=leaf)
    label = np.asarray(canvas)
    textures = np.stack([rng.choice([coloured_noise, contours])(rng) for _ in range(3)])
    textures = textures.repeat(2, axis=1).repeat(2, axis=2)
    which, strength = rng.integers(0, 3, count), rng.uniform(0, 0.5, count).astype(np.float32)
    ground = rng.random(count, dtype=np.float32)
    rows, columns = np.indices(label.shape, sparse=True)
    picture = ground[label] + strength[label] * textures[which[label], rows, columns]
    return _stretched(picture.reshape(SIDE, 2, SIDE, 2).mean(axis=(1, 3)))


def blended(rng: np.random.Generator) -> Grey:
    """Two pictures, one shining through the other in places, slightly out of focus."""
    first, second = dead_leaves(rng), vessels(rng)
    share = ndimage.gaussian_filter(contours(rng), 4.0)
    return ndimage.gaussian_filter(first * share + second * (1 - share), rng.uniform(0, 1.5))


PROCEDURAL: tuple[tuple[Callable[[np.random.Generator], Grey], float], ...] = (
    (dead_leaves, 0.45),
    (blended, 0.25),
    (vessels, 0.12),
    (coloured_noise, 0.09),
    (contours, 0.09),
)


# Phantoms, prepared as for a detector; thorax slices bring their windows as channels.


def phantom(rng: np.random.Generator) -> NDArray[np.float32]:
    """Some planes of a made patient, healthy or not: (n, 3, SIDE, SIDE)."""
    seed = int(rng.integers(2**31))
    kind = rng.integers(3)
    if kind == 0:
        image, _ = brain_mr(seed, shape=(1, SIDE, SIDE))
    elif kind == 1:
        image, _ = chest_xray(seed, shape=(SIDE, SIDE))
    else:
        image, _ = thorax_ct(seed, shape=(6, SIDE, SIDE))
    preparation = choose_preparation([image], SIDE)
    limits = preparation.limits(image)
    chosen = rng.choice(image.planes, min(image.planes, 2), replace=False)
    planes = [preparation.prepare(image.plane(i), limits)[0] for i in chosen]
    return torch.stack([plane.expand(3, -1, -1) for plane in planes]).numpy()


def _stretched(x: NDArray[np.floating] | NDArray[np.bool_]) -> Grey:
    x = np.asarray(x, np.float32)
    low, high = np.percentile(x, (0.5, 99.5))
    return np.clip((x - low) / max(high - low, 1e-6), 0, 1)


def make_some(task: tuple[int, int]) -> NDArray[np.uint8]:
    """`count` pictures, 40 % of them phantoms, as uint8 (count, 3, SIDE, SIDE)."""
    seed, count = task
    rng = np.random.default_rng(seed)
    kinds, weights = zip(*PROCEDURAL, strict=True)
    pictures: list[NDArray[np.float32]] = []
    while len(pictures) < count:
        if rng.random() < 0.33:  # a thorax gives two planes
            pictures.extend(phantom(rng))
        else:
            grey = kinds[rng.choice(len(kinds), p=weights)](rng)
            pictures.append(np.repeat(grey[None], 3, axis=0))
    return np.round(np.stack(pictures[:count]) * 255).astype(np.uint8)


def vary(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Turn, zoom, recolour, blur and add noise: (n, 3, SIDE, SIDE) -> (n, 3, CROP, CROP) in [0, 1]."""
    n = len(pictures)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=rng)

    angle, zoom = uniform(-math.pi, math.pi), 2 ** uniform(-1.2, 0.3)
    upright = torch.rand(n, generator=rng) < 0.5  # anatomy mostly stands upright
    angle = torch.where(upright, angle / 12, angle)
    mirror = torch.where(torch.rand(n, generator=rng) < 0.5, 1.0, -1.0)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    room = (1 - zoom).clamp(min=0)
    theta = torch.stack(
        [
            torch.stack([mirror * cos, -sin, room * uniform(-1, 1)], dim=1),
            torch.stack([mirror * sin, cos, room * uniform(-1, 1)], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, [n, 3, CROP, CROP], align_corners=False)
    x = F.grid_sample(
        pictures.float() / 255, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    # In a third of the pictures each channel has its own grey curve, as windows and stains do.
    own = (torch.rand(n, generator=rng) < 0.33).float().view(n, 1, 1, 1)
    gain = uniform(0.6, 1.3, 1, 1, 1) * (1 + own * uniform(-0.4, 0.4, 3, 1, 1))
    shift = uniform(-0.15, 0.15, 1, 1, 1) + own * uniform(-0.2, 0.2, 3, 1, 1)
    curve = 2 ** uniform(-0.8, 0.8, 1, 1, 1)
    x = (gain * x.clamp(min=1e-4) ** curve + shift).clamp(0, 1)
    noise = uniform(0, 1, 1, 1, 1).square() * 0.12 * torch.randn(n, 1, CROP, CROP, generator=rng)
    if torch.rand((), generator=rng) < 0.5:
        noise = F.avg_pool2d(noise, 3, 1, 1) * 2
    return (x + noise).clamp(0, 1)


class Pupil(nn.Module):
    """The narrow ResNet, and what turns its maps into guesses of the teacher's."""

    def __init__(self, teacher_channels: list[int]) -> None:
        super().__init__()
        self.net = build_backbone("narrow_resnet18", LAYERS)
        own = [self.net.channels[name] for name in LAYERS]
        self.heads = nn.ModuleList(nn.Conv2d(i, o, 1) for i, o in zip(own, teacher_channels, strict=True))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Guesses of the teacher's standardised maps."""
        return [head(m) for head, m in zip(self.heads, self.net(images), strict=True)]


def teach(pictures: Tensor, minutes: float, seed: int) -> tuple[Pupil, list[float]]:
    """Train for `minutes`; the learning rate falls with the clock. Returns the losses, too."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    teacher = FrozenFeatures("resnet18", LAYERS, "bfloat16")

    def batch() -> Tensor:
        return vary(pictures[torch.randint(len(pictures), (BATCH,), generator=rng)], rng)

    scale = _statistics([teacher(batch()) for _ in range(20)])
    pupil = Pupil(teacher.channels).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(pupil.parameters(), lr=2e-3, weight_decay=1e-4)
    losses: list[float] = []
    started = time.monotonic()
    while (spent := (time.monotonic() - started) / (60 * minutes)) < 1:
        warm = min(1.0, len(losses) / 200)
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * warm * 0.5 * (1 + math.cos(math.pi * spent))
        images = batch()
        wanted = [(m - mean) / std for m, (mean, std) in zip(teacher(images), scale, strict=True)]
        with torch.autocast("cpu", torch.bfloat16):
            guesses = pupil(images)
        loss = sum(F.mse_loss(g.float(), w) for g, w in zip(guesses, wanted, strict=True)) / len(LAYERS)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if len(losses) % 100 == 0:
            recent = sum(losses[-100:]) / 100
            print(f"step {len(losses)}: loss {recent:.4f}, {100 * spent:.0f} % of the time", flush=True)
    return pupil.eval(), losses


def _statistics(batches: list[list[Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Mean and deviation of each channel of each of the teacher's maps."""
    stacked = [torch.cat(maps) for maps in zip(*batches, strict=True)]
    pairs = [torch.std_mean(m, dim=(0, 2, 3), keepdim=True) for m in stacked]
    return [(mean, std.clamp(min=1e-3)) for std, mean in pairs]


def save(pupil: Pupil, path: Path) -> None:
    """Store the backbone without its heads, as float16."""
    tensors = {k: v.half().contiguous() for k, v in pupil.net.state_dict().items() if "tracked" not in k}
    safetensors.torch.save_file(tensors, path)


def main() -> None:
    """Make the images, teach, store the pupil."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--minutes", type=float, default=22.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    tasks = [(asked.seed * 100_000 + i, 50) for i in range(math.ceil(asked.images / 50))]
    with mp.get_context("spawn").Pool() as pool:
        pictures = torch.from_numpy(np.concatenate(pool.map(make_some, tasks, chunksize=1)))
    print(f"{len(pictures)} pictures", flush=True)
    pupil, losses = teach(pictures, asked.minutes, asked.seed)
    print(f"{len(losses)} steps, loss {sum(losses[-200:]) / len(losses[-200:]):.4f}")
    save(pupil, asked.out)


if __name__ == "__main__":
    main()
